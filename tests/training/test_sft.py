"""What SFT's trainer is fed: token ids, and labels on the completion alone."""

from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.training.sft import IGNORED_LABEL, collator, to_dataset
from tests.conftest import build_tokenizer


def test_prompt_tokens_do_not_contribute_to_the_loss():
    rows = to_dataset([Encoded([5, 6, 7, 1], 2), Encoded([8, 1], 1)])
    assert rows["input_ids"] == [[5, 6, 7, 1], [8, 1]]
    assert rows["labels"] == [[IGNORED_LABEL, IGNORED_LABEL, 7, 1], [IGNORED_LABEL, 1]]


def test_rows_are_padded_to_the_longest_and_padding_does_not_contribute():
    tokenizer = build_tokenizer()
    rows = list(to_dataset([Encoded([5, 6, 7, 1], 2), Encoded([8, 1], 1)]))
    batch = collator(tokenizer)(rows)
    assert batch["attention_mask"].sum(1).tolist() == [4, 2]
    for row, attended in zip(batch["labels"], batch["attention_mask"], strict=True):
        assert (row[attended == 0] == IGNORED_LABEL).all()
        assert (row != IGNORED_LABEL).sum() in (1, 2)

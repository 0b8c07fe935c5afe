"""Options of `score`: what is refused before anything is read."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.scoring.options import ScoreOptions


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"samples": 1}, "`--samples` must be at least 2"),
        ({"r": 0}, "`--r` must be at least 1"),
        ({"lora_alpha": 0}, "`--lora-alpha` must be at least 1"),
        ({"init_scale": 0.0}, "`--init-scale` must be above 0"),
        ({"init_scale": float("nan")}, "`--init-scale` is not a finite number"),
        ({"init_scale": float("inf")}, "`--init-scale` is not a finite number"),
        ({"formula": "taylor3"}, "did you mean `taylor"),
        ({"max_length": 1}, "`--max-length` must be at least 2"),
        ({"batch_tokens": -1}, "`--batch-tokens` must be at least 0"),
        ({"dtype": "int8"}, "`--dtype` has no `int8`"),
        ({"quantize": "2bit"}, "`--quantize` has no `2bit`"),
    ],
)
def test_values_out_of_range(changed, words):
    with pytest.raises(UsageError) as raised:
        ScoreOptions(**changed)
    assert words in raised.value.what

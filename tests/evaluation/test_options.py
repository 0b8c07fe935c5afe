"""Options of `eval` that contradict each other, or that a task does not have."""

from typing import get_args

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.evaluation.options import EvalOptions, TaskName


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "gsm9k"}, "`--task` has no `gsm9k`, did you mean `gsm8k`"),
        ({"task": "gsm8k", "style": "harnes"}, "did you mean `harness`"),
        ({"match": "exakt"}, "did you mean `exact`"),
        ({"backend": "vlm"}, "did you mean `vllm`"),
        ({"style": "harness"}, "`--task data` has no `--style`"),
        ({"task": "humaneval", "num_fewshot": 2}, "`--task humaneval` has no `--num-fewshot`"),
        ({"task": "humaneval", "fewshot_data": "x"}, "has no `--fewshot-data`"),
        ({"task": "gsm8k", "match": "exact"}, "`--task gsm8k` has no `--match`"),
        ({"adapter": ()}, "`--adapter` names nothing"),
        ({"name": "../away"}, "plain folder name"),
        ({"name": ".hidden"}, "plain folder name"),
        ({"name": ""}, "plain folder name"),
        ({"samples": 2}, "would repeat the same completion"),
        ({"k": (1, 4), "samples": 2, "temperature": 1.0}, "needs at least that many samples"),
        ({"k": (0,)}, "`--k` must be at least 1"),
        ({"backend": "lm-eval", "temperature": 0.5}, "decodes greedily"),
    ],
)
def test_refused(changed, message):
    with pytest.raises(UsageError) as caught:
        EvalOptions(**changed)
    assert message in caught.value.what


def test_sampling_is_not_checked_where_completions_are_given(tmp_path):
    assert EvalOptions(completions=tmp_path, k=(3,)).k == (3,)


def test_k_is_in_order():
    options = EvalOptions(k=(4, 1), samples=4, temperature=1.0)
    assert options.settings()["k"] == (1, 4)


@pytest.mark.parametrize("task", get_args(TaskName))
def test_defaults_fit_every_task(task):
    assert EvalOptions(task=task).task == task

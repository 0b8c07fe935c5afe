"""What trainers refuse, and what they logged."""

from types import SimpleNamespace

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.training.trainer_arguments import checked_arguments, logged


@pytest.mark.parametrize("cause", [ValueError("no such mode"), ImportError("no such package")])
def test_what_a_trainer_refuses_is_a_usage_error_where_the_user_added_to_it(cause):
    with pytest.raises(UsageError) as caught, checked_arguments({"packing": True}):
        raise cause
    assert caught.value.found == str(cause)
    assert "packing" in caught.value.hint


def test_what_a_trainer_refuses_of_ours_is_a_defect():
    with pytest.raises(ValueError, match="no such mode"), checked_arguments({}):
        raise ValueError("no such mode")


def test_figures_of_all_steps_that_have_them():
    history = [{"loss": 3.0, "step": 1}, {"loss": 1.0, "step": 2}, {"train_loss": 9.0, "step": 2}]
    trainer = SimpleNamespace(state=SimpleNamespace(log_history=history))
    assert logged(trainer, "loss") == [3.0, 1.0]
    assert logged(trainer, "reward") == []

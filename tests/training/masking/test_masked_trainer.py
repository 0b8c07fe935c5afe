"""The masked trainer over TRL's: what its optimizer owns, clips, steps on and leaves alone."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer
from trl import GRPOTrainer, SFTConfig, SFTTrainer

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.base_model import find_base_model, load_tokenizer
from lorapar_cli.models.placement.engines import Engine
from lorapar_cli.models.rendering.encoding import encode
from lorapar_cli.names import Flag, Stage
from lorapar_cli.training.grpo import MaskedGRPOTrainer
from lorapar_cli.training.masking import masked_trainer
from lorapar_cli.training.masking.active_elements import ActiveElements, count_moved
from lorapar_cli.training.masking.masked_adapter import load_masked_model, read_masked_adapter
from lorapar_cli.training.masking.masked_trainer import MaskedTrainer
from lorapar_cli.training.sft import MaskedSFTTrainer, collator, to_dataset


@pytest.fixture
def make_trainer(run_dir, tiny_model_dir, tmp_path, labelled_records):
    """A function from trainer arguments to a masked SFT trainer on the tiny model."""

    def make(**arguments) -> MaskedSFTTrainer:
        base = find_base_model(str(tiny_model_dir))
        mask = run_dir.folder(Stage.PARTITION) / "mask.safetensors"
        start = read_masked_adapter(run_dir.folder(Stage.SCORE) / "adapter", mask, Flag.SFT)
        masked = load_masked_model(
            base,
            start,
            dtype="float32",
            quantize=None,
            dropout=0.0,
            trust=False,
            engine=Engine.WHOLE,
        )
        tokenizer = load_tokenizer(base, False)
        settings = {"learning_rate": 1e-2, "weight_decay": 0.1, "max_steps": 2} | arguments
        config = SFTConfig(
            str(tmp_path / "trainer"),
            use_cpu=True,
            bf16=False,
            max_length=None,
            per_device_train_batch_size=2,
            dataset_kwargs={"skip_prepare_dataset": True},
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            **settings,
        )
        return MaskedSFTTrainer(
            masked,
            args=config,
            train_dataset=to_dataset([encode(tokenizer, each) for each in labelled_records]),
            processing_class=tokenizer,
            data_collator=collator(tokenizer),
        )

    return make


def moved(trainer):
    """Counts (active, frozen) elements that differ from the start."""
    start = trainer.masked.start
    after = {n: p.detach() for n, p in adapter_parameters(trainer.masked.model).items()}
    return count_moved(start.weights, after, start.active)


@pytest.mark.parametrize(
    ("ours", "library"), [(MaskedSFTTrainer, SFTTrainer), (MaskedGRPOTrainer, GRPOTrainer)]
)
def test_ours_come_before_the_library_s(ours, library):
    order = ours.__mro__
    assert order.index(MaskedTrainer) < order.index(library) < order.index(Trainer)


@pytest.mark.parametrize("name", masked_trainer._OVERRIDDEN)
def test_private_methods_that_are_overridden_are_called_as_the_library_calls_them(name):
    theirs = list(inspect.signature(getattr(Trainer, name)).parameters)
    ours = inspect.signature(vars(MaskedTrainer)[name])
    ours.bind(*theirs)


def test_version_without_such_a_method_is_refused(make_trainer, monkeypatch):
    monkeypatch.setattr(masked_trainer, "_OVERRIDDEN", ("_run_epoch", "_gone"))
    with pytest.raises(LoraparError, match="transformers is not supported") as caught:
        make_trainer().create_optimizer()
    assert "`_gone`" in caught.value.found
    assert "`_run_epoch`" not in caught.value.found


def test_optimizer_owns_vectors_of_the_active_elements(make_trainer):
    trainer = make_trainer()
    optimizer = trainer.create_optimizer()
    assert trainer.engine is Engine.WHOLE
    assert isinstance(trainer.elements, ActiveElements)
    owned = [p for group in optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in owned) == trainer.masked.start.active_count
    assert {p.dim() for p in owned} == {1}
    assert trainer.create_optimizer() is optimizer


def test_training_moves_active_elements_and_no_other(make_trainer):
    trainer = make_trainer()
    trainer.train()
    active, frozen = moved(trainer)
    assert frozen == 0
    assert active > 0.9 * trainer.masked.start.active_count


def backward(trainer):
    """Runs one backward pass as a step does; returns the naive norm of the active gradients."""
    trainer.create_optimizer()
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model(**batch).loss.backward()
    trainer.elements.gather()
    active = trainer.masked.start.active
    gradients = {n: p.grad for n, p in adapter_parameters(trainer.masked.model).items()}
    total = sum(
        float((g.double()[active[n]] ** 2).sum()) for n, g in gradients.items() if g is not None
    )
    return total**0.5


def test_norm_and_clipping_are_of_the_active_elements(make_trainer):
    trainer = make_trainer(max_grad_norm=1e-3)
    norm = backward(trainer)
    assert trainer._get_grad_norm(trainer.model) == pytest.approx(norm, rel=1e-5)
    clipped = trainer._clip_grad_norm(trainer.model)
    assert float(clipped) == pytest.approx(norm, rel=1e-5)
    left = sum(float((v.grad**2).sum()) for v in trainer.elements.values if v.grad is not None)
    assert left**0.5 == pytest.approx(1e-3, rel=1e-2)
    assert trainer._get_grad_norm(trainer.model, grad_norm=clipped) == float(clipped)


def test_gradients_that_are_not_finite_stop_a_run_but_for_a_loss_scaler_s(make_trainer):
    trainer = make_trainer()
    backward(trainer)
    trainer.elements.values[0].grad[0] = float("nan")
    with pytest.raises(LoraparError, match="not finite in step 1") as caught:
        trainer._clip_grad_norm(trainer.model)
    assert "--learning-rate" in caught.value.hint
    trainer.args.fp16 = True
    assert not torch.isfinite(torch.as_tensor(trainer._clip_grad_norm(trainer.model)))


def test_adapter_that_was_cast_to_bfloat16_gets_its_stored_bits_again(make_trainer):
    trainer = make_trainer()
    for parameter in adapter_parameters(trainer.masked.model).values():
        parameter.data = parameter.data.bfloat16()
    trainer.keep_float32()
    for name, parameter in adapter_parameters(trainer.masked.model).items():
        stored = trainer.masked.start.weights[name]
        assert parameter.dtype is torch.float32
        assert torch.equal(parameter.detach(), stored)
        assert parameter.data_ptr() != stored.data_ptr()


def test_run_that_is_at_its_last_step_takes_no_other(make_trainer):
    trainer = make_trainer()
    trainer.state = SimpleNamespace(global_step=2, max_steps=2)
    # The library's own would need its arguments.
    trainer._run_epoch()
    assert trainer.control.should_training_stop


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0), (2, 1), (40, 36)])
def test_share_of_warm_up_becomes_steps_and_leaves_the_last_a_rate(make_trainer, steps, warm_up):
    trainer = make_trainer(warmup_steps=0.9, max_steps=steps, logging_steps=1)
    trainer.train()
    assert trainer.args.warmup_steps == warm_up
    rates = [line["learning_rate"] for line in trainer.state.log_history if "loss" in line]
    assert len(rates) == steps
    assert rates[-1] > 0


class Averaging(torch.optim.SGD):
    """SGD that, as schedule-free optimizers do, evaluates at another point than it trains at."""

    def train(self) -> None:
        pass

    @torch.no_grad()
    def eval(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(2)


def test_evaluation_point_of_an_optimizer_reaches_the_adapter(make_trainer, monkeypatch):
    monkeypatch.setattr(
        masked_trainer, "make_optimizer", lambda args, values: Averaging(values, args.learning_rate)
    )
    trainer = make_trainer()
    trainer.train()
    parameters = adapter_parameters(trainer.masked.model)
    trained = {name: p.detach().clone() for name, p in parameters.items()}
    trainer.take_evaluation_point()
    for name, active in trainer.masked.start.active.items():
        wanted = torch.where(active, 2 * trained[name], trained[name])
        assert torch.equal(parameters[name].detach(), wanted)


def test_other_optimizers_are_evaluated_where_they_train(make_trainer):
    trainer = make_trainer()
    trainer.train()
    parameters = adapter_parameters(trainer.masked.model)
    trained = {name: p.detach().clone() for name, p in parameters.items()}
    trainer.take_evaluation_point()
    assert all(torch.equal(p.detach(), trained[name]) for name, p in parameters.items())


def test_model_card_is_not_written(make_trainer, tmp_path):
    make_trainer().create_model_card("name")
    assert not list((tmp_path / "trainer").glob("*"))

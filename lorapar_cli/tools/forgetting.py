"""What was forgotten, as sentences and as rows of tables."""

from collections.abc import Mapping, Sequence

from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.forgetting import Forgetting, StageForgetting
from lorapar_cli.stage_records.training import StageValidation, Watched
from lorapar_cli.tools.markdown import title_of

UNITS = "losses and KL(base || adapter) in nats per token"
_MODEST = 0.005


def stage_sentence(found: StageForgetting) -> str:
    """Returns what a training stage made the model forget, in a sentence with figures."""
    before, after, basis = found["before"], found["after"], found["basis"]
    parts = []
    for system in found["others"]:
        change = _change(before["loss"][system], after["loss"][system])
        records = basis["records"][system]
        parts.append(
            f"the loss on {counted(records, 'held-out record')} of {title_of(system)} {change}"
        )
    if not found["others"]:
        parts += [
            f"the loss on held-out records of {title_of(system)} {_change(loss, after['loss'][system])}"
            for system, loss in before["loss"].items()
        ]
    for system, distance in after.get("kl", {}).items():
        start = before.get("kl", {}).get(system, 0.0)
        # The first stage starts from the base model itself, up to rounding.
        came = f", {start:.4f} before" if start >= 1e-4 else ""
        parts.append(
            f"the distance from the base model on prompts of {title_of(system)} is "
            f"{distance:.4f}{came}"
        )
    change = _change(before["neutral_loss"], after["neutral_loss"])
    parts.append(f"the loss on neutral text {change}")
    return f"forgetting: {'; '.join(parts)} ({UNITS})"


def _change(before: float, after: float) -> str:
    relative = after / before - 1 if before else 0.0
    if abs(relative) < _MODEST:
        return f"stayed at {after:.4f}"
    return (
        f"{'rose' if relative > 0 else 'fell'} from {before:.4f} to {after:.4f} ({relative:+.1%})"
    )


def stage_rows(stages: Sequence[Watched]) -> list[list[str]]:
    """Returns rows of a table of training stages: a label, and a cell for each stage."""
    rows: dict[str, list[str]] = {}
    for place, stage in enumerate(stages):
        cells: dict[str, str] = {}
        if (found := stage.get("forgetting")) is not None:
            cells |= _forgetting_cells(found["before"], found["after"])
        if (validation := stage.get("validation")) is not None:
            cells |= _validation_cells(validation)
        for label, cell in cells.items():
            rows.setdefault(label, [""] * len(stages))[place] = cell
    return [[label, *cells] for label, cells in sorted(rows.items(), key=_row_place)]


def _row_place(row: tuple[str, list[str]]) -> tuple[int, str]:
    order = ("validation", "published", "held-out", "KL", "neutral")
    return next(n for n, start in enumerate(order) if row[0].startswith(start)), row[0]


def _forgetting_cells(before: Forgetting, after: Forgetting) -> dict[str, str]:
    cells = {
        f"held-out loss {title_of(system)}, before and after": f"{value:.4f}, {after['loss'][system]:.4f}"
        for system, value in before["loss"].items()
    }
    for system, value in after.get("kl", {}).items():
        start = before.get("kl", {}).get(system, 0.0)
        cells[f"KL from base {title_of(system)}, before and after"] = f"{start:.4f}, {value:.4f}"
    cells["neutral loss, before and after"] = (
        f"{before['neutral_loss']:.4f}, {after['neutral_loss']:.4f}"
    )
    return cells


def _validation_cells(found: StageValidation) -> dict[str, str]:
    first, last = found["points"][0], found["points"][-1]
    published = next(p for p in found["points"] if p["step"] == found["published_step"])
    cells = {"published step": f"{found['published_step']:,} of {last['step']:,}"}
    for system, value in first["loss"].items():
        label = f"validation loss {title_of(system)}, before and published"
        cells[label] = f"{value:.4f}, {published['loss'][system]:.4f}"
    for system, value in first["accuracy"].items():
        label = f"validation accuracy {title_of(system)}, before and published"
        cells[label] = f"{value:.1%}, {published['accuracy'][system]:.1%}"
    return cells


def model_columns(models: Mapping[str, Forgetting]) -> tuple[list[str], dict[str, list[str]]]:
    """Returns the heads of a table of models, and the cells of each model.

    Args:
        models: Name -> its figures; those of the base model have no distance.
    """
    losses = list(dict.fromkeys(s for each in models.values() for s in each["loss"]))
    distances = list(dict.fromkeys(s for each in models.values() for s in each.get("kl", {})))
    heads = [f"loss {title_of(system)}" for system in losses]
    heads += [f"KL {title_of(system)}" for system in distances]
    cells = {
        name: [
            *(_figure(each["loss"], system) for system in losses),
            *(_figure(each.get("kl", {}), system) for system in distances),
            f"{each['neutral_loss']:.4f}",
        ]
        for name, each in models.items()
    }
    return [*heads, "neutral loss"], cells


def _figure(values: Mapping[str, float], system: str) -> str:
    return f"{values[system]:.4f}" if system in values else "-"

"""Warns where RL starts from an adapter that was initialised from the base weights' own directions.

Source: arXiv 2512.23165, which saw PiSSA and MiLoRA collapse under RL with verifiable rewards.
Differs: LoRA-PAR's Table 4 has PiSSA gain most from RL on GSM8K. Nothing is refused.
"""

from pathlib import Path
from typing import Any

from lorapar_cli.names import ADAPTER_CONFIG, Stage
from lorapar_cli.store.disk.regular_files import exists, read_json
from lorapar_cli.store.manifest import read_manifest, run_root

# Adapters that start on leading or trailing directions of the base weights, or of these times the
# covariance of their inputs.
_DIRECTIONS = ("pissa", "olora", "corda", "mica", "milora")


def rl_init_warning(init: Any) -> str | None:
    """Returns the sentence that warns of RL from an initialisation, None where there is no reason.

    Args:
        init: A name as `score --init` takes it, or PEFT's `init_lora_weights`.
    """
    if not isinstance(init, str) or not init.lower().startswith(_DIRECTIONS):
        return None
    return (
        f"the adapter was initialised by `{init}`, from directions of the base weights: PiSSA and "
        "MiLoRA collapsed in RL with verifiable rewards (arXiv 2512.23165), though the paper's "
        "Table 4 has PiSSA gain from RL; watch reward and evaluation, or score with `--init "
        "orthogonal`"
    )


def init_of(adapter: Path) -> Any:
    """Returns by what an adapter was initialised, as far as its run or PEFT's configuration tells.

    Follows the manifests from the adapter back to the `score` that made it.

    Raises:
        LoraparError: A manifest on the way, or the adapter's configuration, is damaged.
    """
    seen: set[Path] = set()
    while adapter not in seen:
        seen.add(adapter)
        manifest = read_manifest(adapter.parent)
        if manifest is not None and manifest.stage == Stage.SCORE:
            return manifest.settings.get("init")
        if manifest is None or "adapter" not in manifest.inputs:
            return _configured(adapter)
        root = run_root(adapter.parent, manifest.stage)
        adapter = root / Path(manifest.inputs["adapter"]["path"]).parent
    # Each of two stages was trained from an earlier result of the other.
    scored = read_manifest(adapter.parent.parent / Stage.SCORE)
    return None if scored is None else scored.settings.get("init")


def _configured(adapter: Path) -> Any:
    """Returns what PEFT's configuration says; ours says nothing, since values are stored."""
    path = adapter / ADAPTER_CONFIG
    if not exists(path):
        return None
    content = read_json(path)
    return content.get("init_lora_weights") if isinstance(content, dict) else None

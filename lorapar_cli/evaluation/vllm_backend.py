"""Generation by vLLM (extra `vllm`), for GPUs: the same prompts, its own batching.

Greedy completions may differ from those of transformers where two tokens are nearly equally likely.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.libraries import require_libraries
from lorapar_cli.models.adapter import read_lora_config
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.models.generation import Completion, Decoding

# The ranks that vLLM has kernels for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def check_vllm(task: Task) -> None:
    """Checks that vLLM is installed and can run the task.

    Raises:
        LoraparError, UsageError: It is not installed, or the task compares likelihoods.
    """
    if task.match == "likelihood":
        raise UsageError(
            f"`--backend vllm` does not compare likelihoods, as `--task {task.name}` does",
            hint="omit `--backend`",
        )
    try:
        import vllm  # noqa: F401
    except ImportError as cause:
        raise LoraparError(
            "`--backend vllm` needs vLLM", hint="install it with `pip install 'lorapar[vllm]'`"
        ) from cause
    require_libraries(["vllm"], "`--backend vllm`")


class VllmEngine:
    """A base model in vLLM, with room for adapters.

    Args:
        adapters: Every adapter folder that will be used; the largest rank decides the room.
    """

    def __init__(self, base: BaseModel, dtype: str, adapters: list[Path], trust: bool) -> None:
        from vllm import LLM

        ranks = [read_lora_config(folder).r for folder in adapters]
        lora: dict[str, Any] = {"enable_lora": False}
        if ranks:
            fitting = [rank for rank in _RANKS if rank >= max(ranks)]
            if not fitting:
                raise LoraparError(f"vLLM takes adapters up to r {_RANKS[-1]}, not {max(ranks)}")
            lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": fitting[0]}
        self._engine = LLM(model=base.path, dtype=dtype, trust_remote_code=trust, **lora)
        self._numbers = {folder: number for number, folder in enumerate(adapters, 1)}

    def model(self, folder: Path | None) -> "VllmModel":
        """Returns the model with the adapter of that folder, None for the base model."""
        number = self._numbers[folder] if folder is not None else None
        return VllmModel(self._engine, folder, number)


@dataclass(frozen=True)
class VllmModel:
    """A base model in vLLM with one of its engine's adapters, or none.

    Attributes:
        number: Of the adapter in the engine, None for the base model.
    """

    engine: Any
    folder: Path | None
    number: int | None

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int) -> list[Completion]:
        """Returns one completion per prompt, in order."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        sampling = SamplingParams(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            stop=decoding.stop or None,
            repetition_penalty=decoding.repetition_penalty,
            seed=seed % 2**31,
        )
        request = None
        if self.number is not None:
            request = LoRARequest(f"adapter-{self.number}", self.number, str(self.folder))
        tokens = [{"prompt_token_ids": prompt} for prompt in prompts]
        found = self.engine.generate(tokens, sampling, lora_request=request, use_tqdm=False)
        outputs = [one.outputs[0] for one in found]
        return [
            Completion(one.text, len(one.token_ids), one.finish_reason == "stop") for one in outputs
        ]

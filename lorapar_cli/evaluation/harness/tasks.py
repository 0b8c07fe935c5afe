"""Finds and loads tasks of lm-evaluation-harness by name, and what each of them read."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.tasks.examples import others, question_form
from lorapar_cli.libraries import require_libraries
from lorapar_cli.plurals import counted

Doc = dict[str, Any]
_SHOWN_REASON = 300


def require_harness() -> None:
    """Checks that lm-evaluation-harness is installed.

    Raises:
        LoraparError: It is not.
    """
    try:
        import lm_eval  # noqa: F401
    except ImportError as cause:
        raise LoraparError(
            "`--backend lm-eval` needs lm-evaluation-harness",
            hint="install it with `pip install 'lorapar[harness]'`",
        ) from cause
    require_libraries(["lm-eval"], "`--backend lm-eval`")


class HarnessTasks:
    """The tasks of some names, loaded.

    Args:
        names: Of tasks, groups or tags.
        include: A folder with further task files; None for the harness's own alone.

    Attributes:
        tasks: Name -> task, those of groups too.

    Raises:
        LoraparError: A task cannot be loaded, or runs code that the model writes.
        UsageError: A name is unknown.
    """

    def __init__(self, names: Sequence[str], include: Path | None) -> None:
        from lm_eval.tasks import TaskManager

        if include is not None and not include.is_dir():
            raise LoraparError(f"no such folder: `{include}`", hint="see `--lm-eval-include`")
        self._manager = TaskManager(include_path=None if include is None else str(include))
        self._names = list(names)
        known = self._manager.all_tasks
        for name in names:
            if name not in known:
                raise UsageError(
                    f"lm-evaluation-harness has no task `{name}`{nearest(name, known)}",
                    hint="`lm-eval ls tasks` lists its tasks; your own are in the folder that "
                    "`--lm-eval-include` names",
                )
        self.tasks: Mapping[str, Any] = self.load()["tasks"]
        for name, task in self.tasks.items():
            if getattr(task, "UNSAFE_CODE", False):
                raise LoraparError(
                    f"task `{name}` of lm-evaluation-harness runs code that the model writes",
                    "the harness has no sandbox",
                    "use `--task humaneval` without `--backend lm-eval`",
                )

    def load(self) -> dict[str, Any]:
        """Returns the tasks and groups anew, as the harness's `evaluate` takes them.

        Raises:
            LoraparError: One cannot be loaded.
        """
        try:
            loaded: dict[str, Any] = self._manager.load(self._names)
        except Exception as cause:
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise LoraparError(
                f"lm-evaluation-harness cannot load `{', '.join(self._names)}`",
                f"{type(cause).__name__}: {reason[:_SHOWN_REASON]}",
                "most tasks fetch their data from the hub; check the network and the task's file",
            ) from cause
        return loaded

    def describe(self) -> dict[str, dict[str, str]]:
        """Returns the manifest's inputs: a digest of each task's settings, questions, examples."""
        return {f"task/{name}": _describe(task) for name, task in self.tasks.items()}


def _describe(task: Any) -> dict[str, str]:
    digest = hashlib.sha256()
    settings = task.dump_config() if hasattr(task, "dump_config") else {}
    # Where its files lie makes no difference to a task.
    settings = {key: value for key, value in settings.items() if key != "metadata"}
    examples = task.sampler.fewshot_docs() if hasattr(task, "sampler") else []
    for part in (settings, *task.eval_docs, *examples):
        digest.update(json.dumps(part, sort_keys=True, default=_name_of).encode() + b"\n")
    place = str(getattr(task, "DATASET_PATH", None) or "custom")
    return {"path": place, "sha256": digest.hexdigest(), "source": "lm-eval"}


def _name_of(value: Any) -> str:
    """Returns what stands for a value that JSON lacks; the address of a function would change."""
    return getattr(value, "__qualname__", type(value).__name__)


def never_show_the_question(name: str, task: Any) -> None:
    """Has a task choose other examples where the question itself is among those it chose.

    The harness compares rows, and only where questions and examples are from one split.

    Args:
        name: Of the task, for messages.
    """
    if not hasattr(task, "sampler"):
        return
    build: Callable[..., Any] = task.fewshot_context
    own = task.sampler

    def build_context(doc: Doc, *args: Any, **kwargs: Any) -> Any:
        task.sampler = _OtherQuestions(name, task, own, doc)
        try:
            return build(doc, *args, **kwargs)
        finally:
            task.sampler = own

    task.fewshot_context = build_context


class _OtherQuestions:
    """Examples for one question: a task's own choice, unless that has the question itself."""

    def __init__(self, name: str, task: Any, own: Any, doc: Doc) -> None:
        self._name, self._task, self._own, self._doc = name, task, own, doc

    def sample(self, n: int, **details: Any) -> list[Doc]:
        """Returns n examples.

        Raises:
            LoraparError: There are not so many other questions.
        """
        asked = self._form(self._doc)
        pool = list(self._own.fewshot_docs())
        usable = others([self._form(each) for each in pool], asked)
        if len(usable) < n:
            besides = " besides the question itself" if len(usable) < len(pool) else ""
            raise LoraparError(
                f"task `{self._name}` has {counted(len(usable), 'example')}{besides}, not {n}",
                hint="give fewer with `--num-fewshot`",
            )
        # A choice of which none is left: the harness leaves out rows equal to the question.
        chosen: list[Doc] = list(self._own.sample(n=n, **details))
        if all(self._form(each) != asked for each in chosen):
            return chosen
        if type(self._own).__name__ == "FirstNSampler":
            return [pool[number] for number in usable[:n]]
        drawn = random.Random(asked).sample(usable, n)
        return [pool[number] for number in drawn]

    def _form(self, doc: Doc) -> str:
        text = self._task.doc_to_text(doc)
        # Where the choices are whole sentences, the text is the number of one of them.
        asked = text if isinstance(text, str) else json.dumps(doc, sort_keys=True, default=str)
        choices = self._task.doc_to_choice(doc) if self._task.config.doc_to_choice else []
        return question_form(asked, choices)

"""Versions of libraries: those that a command uses are compared with what lorapar requires of them.

Other versions are pretended by metadata that lies before the real one on the path; the libraries
themselves stay as they are.
"""

import importlib
import sys
from pathlib import Path

import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.errors import LoraparError
from lorapar_cli.libraries import (
    TRAINING,
    explain_import,
    read_libraries,
    require_libraries,
)
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.doctor import State, doctor
from tests.tools.finished_runs import write_run

REQUIRES = """
Requires-Dist: torch>=2.8
Requires-Dist: transformers<6,>=5.20
Requires-Dist: peft<0.22,>=0.21
Requires-Dist: trl<1.17,>=1.16
Requires-Dist: datasets<6,>=5
Requires-Dist: typer>=0.27
Requires-Dist: other-system>=1; sys_platform == "no such system"
Provides-Extra: harness
Requires-Dist: lm-eval<0.5,>=0.4.13; extra == "harness"
Provides-Extra: dev
Requires-Dist: ruff==0.0.1; extra == "dev"
"""


def pretend(folder: Path, **versions: str) -> Path:
    """Returns a folder with metadata of lorapar and of libraries in these versions."""
    for name, version in {"lorapar": "0.1.0", **versions}.items():
        place = folder / f"{name}-0.dist-info"
        place.mkdir(parents=True)
        more = REQUIRES if name == "lorapar" else "\n"
        text = f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\nVersion: {version}{more}"
        (place / "METADATA").write_text(text)
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Pretends that libraries are installed in other versions."""

    def pretend_installed(**versions):
        monkeypatch.syspath_prepend(pretend(tmp_path / "metadata", **versions))

    return pretend_installed


@pytest.mark.parametrize(
    ("name", "version", "required"),
    [
        ("trl", "0.29.0", "<1.17,>=1.16"),
        ("trl", "1.17.0", "<1.17,>=1.16"),
        ("peft", "0.20.3", "<0.22,>=0.21"),
        ("transformers", "6.0.0", "<6,>=5.20"),
        ("torch", "2.7.1+cu126", ">=2.8"),
        ("datasets", "4.9", "<6,>=5"),
        ("lm_eval", "0.4.9", "<0.5,>=0.4.13"),
    ],
)
def test_a_version_that_was_never_tried_is_refused(installed, name, version, required):
    installed(**{name: version})
    shown = name.replace("_", "-")
    with pytest.raises(LoraparError) as error:
        require_libraries([shown], "`lorapar something`")
    assert error.value.what == "`lorapar something` cannot work with the installed libraries"
    assert error.value.found == f"{shown} {version} is installed, {required} is required"
    assert f"`pip install '{shown}{required}'`" in error.value.hint


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("torch", "2.8.0+cpu"),
        ("torch", "2.15.0.dev20261101+cu132"),
        ("trl", "1.16.9"),
        ("transformers", "5.24.0.dev0"),
        ("peft", "a build of mine"),
    ],
)
def test_versions_in_range_pass_and_unreadable_ones_are_not_judged(installed, name, version):
    installed(**{name: version})
    require_libraries([name], "`lorapar something`")
    (found,) = read_libraries([name])
    assert found.installed == version


def test_all_that_is_wrong_is_said_at_once(installed):
    installed(trl="0.29.0", peft="0.1")
    with pytest.raises(LoraparError) as error:
        require_libraries(TRAINING, "`lorapar train-sft`")
    assert error.value.found.splitlines() == [
        "peft 0.1 is installed, <0.22,>=0.21 is required",
        "trl 0.29.0 is installed, <1.17,>=1.16 is required",
    ]
    assert "`pip install 'peft<0.22,>=0.21' 'trl<1.17,>=1.16'`" in error.value.hint
    require_libraries(["torch", "transformers"], "`lorapar something`")


def test_only_lorapars_own_must_be_there(installed, monkeypatch):
    installed()
    # The real ones are out of sight now.
    monkeypatch.setattr(sys, "path", sys.path[:1])
    with pytest.raises(LoraparError) as error:
        require_libraries(["trl", "lm-eval", "other-system", "ruff"], "`lorapar something`")
    assert error.value.found == "trl is not installed, trl<1.17,>=1.16 is required"


def test_without_metadata_nothing_is_compared_and_doctor_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    require_libraries(TRAINING, "`lorapar train-sft`")
    found = {finding.topic: finding for finding in doctor(RunDir(tmp_path))}
    assert found["packages"].state is State.NOTE
    assert "versions are not compared" in found["packages"].found


def test_what_is_installed_here_passes():
    assert {library.name for library in read_libraries(TRAINING)} == set(TRAINING)
    require_libraries(TRAINING, "`lorapar train-sft`")


def test_a_failed_import_is_explained_where_libraries_are_not_as_required(installed):
    failure = ImportError("cannot import name `X` from `trl`", name="trl")
    assert explain_import(failure) is None
    installed(trl="0.29.0", torch="2.13.0")
    explained = explain_import(failure)
    assert explained.found.splitlines() == [
        "cannot import name `X` from `trl`",
        "trl 0.29.0 is installed, <1.17,>=1.16 is required",
    ]
    assert explain_import(ImportError("a bug", name="lorapar_cli.store")) is None


@pytest.fixture
def broken(installed, tmp_path, monkeypatch):
    """Makes a library that is as required and whose module holds this source."""

    def make(source):
        installed(trl="1.16.0")
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "trl.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path / "modules")
        monkeypatch.delitem(sys.modules, "trl", raising=False)

    return make


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise ImportError('needs libx.so.3')", "needs libx.so.3"),
    ],
)
def test_a_library_that_fails_in_an_import_of_its_own_is_named_with_a_remedy(broken, source, said):
    broken(source)
    with pytest.raises(ImportError) as failed:
        importlib.import_module("trl")
    explained = explain_import(failed.value)
    assert explained.what == "`trl` 1.16.0 does not find what it imports"
    assert explained.found == said
    assert "pip install --force-reinstall 'trl==1.16.0'" in explained.hint


def test_asking_a_library_for_what_it_does_not_have_is_a_bug_of_ours(broken):
    broken("")
    with pytest.raises(ImportError) as failed:
        exec("from trl import Nothing", {"__name__": "lorapar_cli.training"})
    assert explain_import(failed.value) is None


def test_a_library_whose_files_are_gone_is_named(installed):
    installed(trl="1.16.0")
    gone = ModuleNotFoundError("No module named 'trl'", name="trl")
    assert explain_import(gone).what == "`trl` 1.16.0 does not find what it imports"


def test_the_python_interface_names_the_remedy_of_an_import_that_fails(broken, monkeypatch):
    import lorapar_cli

    broken("import no_such_module")
    monkeypatch.setitem(lorapar_cli.OFFERED, "compare", "trl")
    with pytest.raises(LoraparError) as failed:
        lorapar_cli.compare  # noqa: B018
    assert "pip install --force-reinstall" in failed.value.hint
    assert isinstance(failed.value.__cause__, ImportError)


MORE = {"score": ["--seed", "7"], "train-rl": ["--adapter", "run/score/adapter"]}
"""What a command is given besides."""


def run(capsys, *arguments):
    """Returns a command's exit code, and what it printed to stderr."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name", "version"),
    [
        ("score", "transformers", "4.57.0"),
        ("train-sft", "trl", "0.29.0"),
        ("train-sft", "datasets", "4.0"),
        ("train-rl", "trl", "1.17.0"),
        ("eval", "peft", "0.17.0"),
        ("compare", "trl", "0.29.0"),
        ("doctor --model embedded", "torch", "2.4.0"),
    ],
)
def test_a_command_refuses_what_it_would_use(
    run_dir, installed, capsys, monkeypatch, command, name, version
):
    monkeypatch.chdir(run_dir.root.parent)
    before = sorted(run_dir.root.rglob("*"))
    installed(**{name: version, "unrelated": "1"})
    words = [*command.split(), *MORE.get(command, [])]
    if "doctor" not in command:
        words += ["--run-dir", str(run_dir.root)]
    code, said = run(capsys, *words)
    assert code == 1, said
    assert said.startswith(f"error: `lorapar {' '.join(command.split()[:2])}` cannot work with")
    assert f"{name} {version} is installed" in said
    assert sorted(run_dir.root.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        # As the result was made: it is up to date.
        ["score", "--r", "4", "--lora-alpha", "8", "--dtype", "float32"],
        ["partition", "--theta", "0.5"],
        ["status"],
        ["inspect"],
        ["classify", "data.jsonl", "--teachers", "rules-cues"],
    ],
    ids=" ".join,
)
def test_commands_that_use_no_such_library_are_not_held_up(
    run_dir, installed, capsys, monkeypatch, tmp_path, command
):
    installed(trl="0.1", peft="0.1", datasets="1.0", torch="1.0", transformers="1.0")
    monkeypatch.chdir(tmp_path)
    Path("data.jsonl").write_text('{"question": "What is 2 plus 3?", "answer": "#### 5"}\n')
    words = ["--run-dir", str(run_dir.root if command[0] != "classify" else tmp_path / "new")]
    if command[0] == "inspect":
        words = [str(run_dir.folder("partition") / "mask.safetensors")]
    code, said = run(capsys, *command, *words)
    assert code == 0, said


@pytest.mark.parametrize("command", [["report", "--markdown"], ["report"], ["status"]])
def test_a_finished_run_can_be_read_with_any_libraries(tmp_path, installed, capsys, command):
    finished = write_run(tmp_path / "run")
    installed(trl="0.1", peft="0.1", datasets="1.0", torch="1.0", transformers="1.0")
    code, said = run(capsys, *command, "--run-dir", str(finished.root))
    assert code == 0, said


def test_run_refuses_before_its_first_stage(installed, capsys, tmp_path, monkeypatch):
    installed(trl="0.29.0")
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(
        "model: embedded\nclassify: {data: none.jsonl, teachers: rules-cues}\ntrain-sft:\n"
    )
    code, said = run(capsys, "run", "run.yaml")
    assert code == 1
    assert "trl 0.29.0 is installed, <1.17,>=1.16 is required" in said
    assert [path.name for path in tmp_path.iterdir() if path.name != "metadata"] == ["run.yaml"]


def test_a_missing_library_is_an_expected_error(run_dir, installed, capsys, monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("lorapar_cli.tools.plot.plot", fail)
    code, said = run(capsys, "plot", "--run-dir", str(run_dir.root))
    assert code == 1
    assert said.startswith("error: `matplotlib` ")
    assert " does not find what it imports\n  found: No module named 'matplotlib'" in said
    installed(peft="0.1")
    code, said = run(capsys, "plot", "--run-dir", str(run_dir.root))
    assert code == 1
    assert said.startswith(
        "error: a library cannot be imported\n  found: No module named 'matplotl"
    )

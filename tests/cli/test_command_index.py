"""Commands are listed without being imported, and are those that they are listed as."""

import subprocess
import sys

import pytest

from lorapar_cli.cli.command_index import CALL_OTHERS, COMMANDS
from lorapar_cli.cli.main import app, main, register

# Says which of our modules are imported once the command has ended.
_IMPORTED = """
import sys
from lorapar_cli.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*(name for name in sys.modules if name.startswith("lorapar_cli")), file=sys.stderr)
"""


def run(*words: str, code: str = "from lorapar_cli.cli.main import main; main()"):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


@pytest.fixture
def unloaded():
    """The application as a new process has it, before any command is loaded."""
    app.all_loaded = False
    yield
    app.all_loaded = False
    register()


def test_help_is_the_same_whether_commands_are_loaded(capsys):
    with pytest.raises(SystemExit):
        register()
        app(["--help"], prog_name="lorapar")
    loaded = capsys.readouterr().out
    assert run("--help").stdout == loaded
    assert all(f"\n  {name} " in loaded for name in COMMANDS)


def test_help_imports_no_command_and_a_command_no_other():
    for words in (["--help"], ["--version"]):
        imported = run(*words, code=_IMPORTED).stderr.split()
        assert "lorapar_cli.cli.main" in imported
        assert not [each for each in imported if each.startswith("lorapar_cli.cli.commands.")]
    imported = run("recipes", code=_IMPORTED).stderr.split()
    assert "lorapar_cli.cli.commands.start.recipes" in imported
    assert "lorapar_cli.training" not in imported


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_own_help(unloaded, capsys, name):
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"Usage: lorapar {name} [OPTIONS]" in out
    loaded = {info.name for info in app.registered_commands if info.callback.__name__ != "stand_in"}
    expected = {each for each in COMMANDS if each.split()[0] == name.split()[0]}
    assert loaded == (set(COMMANDS) if name in CALL_OTHERS else expected)


def test_commands_follow_one_another_in_one_process(unloaded, capsys):
    for name in ("recipes", "teachers", "run", "recipes"):
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"Usage: lorapar {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "status"),
        (["eval", "shw"], "did you mean `show`"),
        (["--json", "doctor"], "belongs to `--version`"),
    ],
)
def test_what_is_no_command_is_refused_as_before(words, said):
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr

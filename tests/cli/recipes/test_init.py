"""`lorapar init` and `lorapar recipes`: a configuration from a recipe and a few answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorapar_cli.cli.main import main
from lorapar_cli.cli.recipes.catalog import RECIPES
from lorapar_cli.cli.recipes.fill import SCHEMA, Choices, fill, own_choices
from tests.cli import command_line
from tests.cli.terminal import run_in_terminal

SAMPLES = Path(__file__).parents[3] / "sample_configs"
NAMES = [recipe.name for recipe in RECIPES]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
RULES = "rules-cues,rules-shape"


@pytest.fixture
def lorapar(tmp_path, monkeypatch, capfd):
    """Runs a command line in an empty folder; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return ended.value.code, *capfd.readouterr()

    return call


def test_every_sample_configuration_of_stages_is_a_recipe():
    files = {path.stem for path in SAMPLES.glob("*.yaml") if not path.stem.startswith("accelerate")}
    assert files == set(NAMES)


@each_recipe
def test_the_package_has_the_sample_configurations_as_they_stand(recipe):
    """Mended by `make docs`."""
    assert recipe.text == (SAMPLES / f"{recipe.name}.yaml").read_text(encoding="utf-8")


@each_recipe
def test_the_table_of_configurations_says_the_same(recipe):
    table = (SAMPLES / "README.md").read_text(encoding="utf-8")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", table)
    assert f"| `{recipe.name}.yaml` | {recipe.purpose} | {recipe.hardware} |" in plain


@each_recipe
def test_own_values_take_the_place_of_the_recipes_and_nothing_else_changes(recipe):
    choices = Choices("a: b", "data #1.jsonl", ["one", "2"], "runs/'mine'")
    text = fill(recipe, choices, Path("out.yaml"))
    content, own = yaml.safe_load(text), yaml.safe_load(recipe.text)
    assert content["model"] == "a: b"
    assert content["run_dir"] == "runs/'mine'"
    assert content["classify"] == own["classify"] | {
        "data": "data #1.jsonl",
        "teachers": ["one", "2"],
    }
    for key in own.keys() - {"model", "run_dir", "classify"}:
        assert content[key] == own[key]
    assert "#   lorapar run out.yaml" in text
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA}\n")
    assert yaml.safe_load(fill(recipe, own_choices(recipe), Path("o"))) == own


def test_recipes_are_listed(lorapar):
    code, out, _ = lorapar("recipes", "--json")
    assert code == 0
    assert [each["name"] for each in json.loads(out)["recipes"]] == NAMES
    code, out, _ = lorapar("recipes")
    assert code == 0
    for recipe in RECIPES:
        assert recipe.purpose in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_recipe_becomes_a_file_that_run_takes(lorapar, tmp_path):
    row = {"question": "What is 2 plus 3?", "answer": "#### 5"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    options = ("--model", "embedded", "--data", "mine.jsonl", "--teachers", RULES)
    code, out, err = lorapar("init", "--recipe", "embedded-cpu", *options)
    assert (code, out) == (0, "")
    assert "next: `lorapar run lorapar.yaml --dry-run`" in err
    assert "note:" not in err
    written = yaml.safe_load((tmp_path / "lorapar.yaml").read_text())
    assert written["classify"] == {"data": "mine.jsonl", "teachers": RULES.split(",")}
    assert lorapar("run", "lorapar.yaml", "--dry-run")[0] == 0


def test_nobody_to_ask_needs_a_recipe(lorapar, tmp_path):
    code, _, err = lorapar("init")
    assert code == 2
    assert "needs `--recipe`" in err
    code, _, err = lorapar("init", "--recipe", "own-dta")
    assert code == 2
    assert "did you mean `own-data`" in err
    assert list(tmp_path.iterdir()) == []
    assert lorapar("init", "--yes")[0] == 0
    assert yaml.safe_load((tmp_path / "lorapar.yaml").read_text())["run_dir"] == "lorapar-run"


def test_a_file_is_replaced_only_where_that_was_said(lorapar, tmp_path):
    place = tmp_path / "mine.yaml"
    place.write_text("mine: 1\n")
    for flags in ((), ("--json",)):
        code, out, err = lorapar("init", "--recipe", "own-data", "--out", "mine.yaml", *flags)
        assert (code, out) == (1, "")
        assert "`mine.yaml` is there already" in err
        assert place.read_text() == "mine: 1\n"
    for flag in ("--force", "--yes"):
        place.write_text("mine: 1\n")
        assert lorapar("init", "--recipe", "own-data", "--out", "mine.yaml", flag)[0] == 0
        assert "classify" in place.read_text()
    code, _, err = lorapar("init", "--recipe", "own-data", "--out", ".")
    assert code == 2
    assert "is the folder" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--teachers", "rules-cue"), "did you mean `rules-cues`"),
        (("--teachers", "a,a"), "names something twice"),
        (("--teachers", " , "), "names nothing"),
    ],
)
def test_what_run_would_refuse_is_not_written(lorapar, tmp_path, options, said):
    code, _, err = lorapar("init", "--recipe", "own-data", *options)
    assert code != 0
    assert said in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key", ["sk-proj-Ab12Cd34Ef56Gh78", "9f2Kq7Wd4Zt8Rb1Vn6Xc3Jm5Hg0Lp", "hf_zWqYxKvJpRtBnMcLsDfGh"]
)
@pytest.mark.parametrize("option", ["--model", "--data", "--run-dir", "--teachers"])
def test_a_key_in_the_place_of_a_name_is_not_written(lorapar, tmp_path, option, key):
    code, out, err = lorapar("init", "--recipe", "embedded-cpu", option, key)
    assert (code, out) == (2, "")
    assert "looks like a key" in err or "contains a key" in err
    assert key[3:] not in err
    assert [*tmp_path.iterdir()] == []


def test_a_missing_data_file_is_noted(lorapar):
    _, _, err = lorapar("init", "--recipe", "own-data", "--data", "there-is-no.jsonl")
    assert "note: there is no file `there-is-no.jsonl` yet" in err


def test_a_person_is_asked_and_enter_takes_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lorapar.yaml").write_text("")
    command = ["-m", "lorapar_cli", "init"]
    asked = {
        "recipe [own-data]: ": "embeded-cpu\n",
        "did you mean": "embedded-cpu\n",
        "`embedded` [embedded]: ": "\n",
        "set [train.jsonl]: ": "mine.jsonl\n",
        "rules-shape]: ": f"{RULES}\n",
        "replace `lorapar.yaml`? [no]: ": "y\n",
    }
    screen = run_in_terminal(command, typed=asked)
    assert screen.status == 0, screen.text
    written = yaml.safe_load((tmp_path / "lorapar.yaml").read_text())
    assert written["model"] == "embedded"
    assert written["classify"] == {"data": "mine.jsonl", "teachers": RULES.split(",")}


@pytest.mark.parametrize(("typed", "status"), [("\x03", 130), ("\x04", 130)])
def test_leaving_the_questions_writes_nothing(tmp_path, monkeypatch, typed, status):
    monkeypatch.chdir(tmp_path)
    screen = run_in_terminal(["-m", "lorapar_cli", "init"], typed={"recipe [own-data]: ": typed})
    assert screen.status == status
    assert screen.lines[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", ["embedded-cpu", ""])
def test_answers_come_from_a_pipe_an_empty_one_takes_the_default(tmp_path, recipe):
    typed = f"{recipe}\nembedded\n\n{RULES}\n"
    done = command_line.lorapar(tmp_path, "init", "--json", stdin=typed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipe"] == (recipe or RECIPES[0].name)
    written = yaml.safe_load((tmp_path / "lorapar.yaml").read_text())
    assert written["model"] == "embedded"
    assert written["classify"] == {"data": "train.jsonl", "teachers": RULES.split(",")}
    again = command_line.lorapar(tmp_path, "init", stdin=typed)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "needs `--recipe` where nobody can be asked"),
        ("embeded-cpu\nembedded\n\n\n", "did you mean `embedded-cpu`"),
        ("embedded-cpu\nembedded\n", "stdin has no answer to `training records"),
        ("embedded-cpu\nembedded\n\na,a\n", "names something twice"),
        ("embedded-cpu\nsk-proj-Ab12Cd34Ef56Gh78\n\n\n", "looks like a key"),
    ],
)
def test_what_a_pipe_does_not_answer_is_refused(tmp_path, typed, said):
    done = command_line.lorapar(tmp_path, "init", stdin=typed)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_stdin_is_left_alone_where_a_recipe_is_named(tmp_path):
    loop = "while read -r name; do $0 -m lorapar_cli init --recipe own-data --out $name; done"
    shell = ["sh", "-c", loop, sys.executable]
    subprocess.run(shell, cwd=tmp_path, input="a.yaml\nb.yaml\n", text=True, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "b.yaml"}


def test_a_pipe_that_stays_open_is_not_waited_for(tmp_path):
    command = [sys.executable, "-m", "lorapar_cli", "init"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.wait(60) == 2
        assert "needs `--recipe`" in process.stderr.read()

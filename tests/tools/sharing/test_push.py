"""Uploads to a Hub on loopback, and why there are none."""

import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import constants

from lorapar_cli.cli.main import main
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.tools.export import ExportOptions
from lorapar_cli.tools.sharing.push import push
from tests.tools.sharing.fake_hub import TOKEN, running_hub

FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def no_token(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))


def upload(run, **options):
    return push(run, ExportOptions(push="me/tiny", **options))


def test_the_command_uploads_what_the_environment_allows(run, tmp_path):
    """As a user has it: a process, `HF_ENDPOINT` and `HF_TOKEN`."""
    command = [sys.executable, "-m", "lorapar_cli", "export", "--push", "me/tiny"]
    command += ["--run-dir", str(run.root)]
    with running_hub() as hub:
        env = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}

        def call(*flags):
            return subprocess.run([*command, *flags], env=env, capture_output=True, text=True)

        dry = call()
        assert hub.requests == []
        done = call("--yes", "--license", "mit")
    assert dry.returncode == done.returncode == 0, done.stderr
    assert "would upload 3 files" in dry.stdout
    assert "private repository me/tiny" in dry.stdout
    assert "`--yes`" in dry.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.url}/me/tiny/commit/1"
    private, files = hub.repos["me/tiny"]
    assert private
    assert sorted(files) == FILES
    weights = run.folder(Stage.TRAIN_RL) / "adapter" / "adapter_model.safetensors"
    assert files[weights.name] == weights.read_bytes()
    assert b"license: mit" in files["README.md"]
    assert b"/tmp/" not in files["README.md"] + files["adapter_config.json"]
    sizes = {line.split()[2]: line.split()[0] for line in done.stdout.splitlines()[1:-1]}
    assert sizes == {name: f"{len(content):,}" for name, content in files.items()}
    for output in (dry, done):
        assert TOKEN not in output.stdout + output.stderr


def test_a_dry_run_needs_neither_token_nor_network_and_writes_nothing(run, no_token, tmp_path):
    found = upload(run, out=tmp_path / "out")
    assert sorted(found.files) == FILES
    assert (found.url, found.has_token, found.private) == (None, False, True)
    assert not (tmp_path / "out").exists()


def test_public_only_on_demand(hub, run):
    assert not upload(run, yes=True, public=True).private
    before = dict(hub.repos["me/tiny"][1])
    hub.requests.clear()
    with pytest.raises(LoraparError, match="is public"):
        upload(run, yes=True)
    assert hub.requests == ["GET /api/models/me/tiny"]
    assert hub.repos["me/tiny"] == (False, before)


def test_a_card_that_somebody_has_filled_in_is_kept(hub, run):
    hub.repos["me/tiny"] = (True, {"README.md": b"mine"})
    found = upload(run, yes=True)
    assert found.kept
    assert "README.md" not in found.files
    assert hub.repos["me/tiny"][1]["README.md"] == b"mine"
    assert not upload(run, yes=True, card=True).kept
    assert hub.repos["me/tiny"][1]["README.md"] != b"mine"


def test_without_a_token_nothing_is_done(hub, run, no_token):
    with pytest.raises(LoraparError, match="no token") as caught:
        upload(run, yes=True)
    assert "HF_TOKEN" in caught.value.hint
    assert hub.requests == []


def test_offline_is_said_before_any_work(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LoraparError, match="turned off") as caught:
        upload(run, yes=True)
    assert "HF_HUB_OFFLINE" in caught.value.found


@pytest.mark.parametrize(("status", "hint"), [(403, "write access"), (500, "run the same command")])
def test_a_refusal_keeps_what_was_written_and_shows_no_token(hub, run, tmp_path, status, hint):
    hub.refuse = status
    out = tmp_path / "out"
    with pytest.raises(LoraparError, match="refuses the upload") as caught:
        upload(run, yes=True, out=out)
    assert f"status {status}" in caught.value.found
    assert hint in caught.value.hint
    assert f"`hf upload me/tiny {out}`" in caught.value.hint
    assert TOKEN not in str(caught.value)
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_a_wrong_token_is_said_and_not_repeated(hub, run, monkeypatch):
    wrong = "hf_WrOnGtOkEn9876543210abcdef"
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(LoraparError, match="refuses the upload") as caught:
        upload(run, yes=True)
    assert "not valid" in caught.value.hint
    assert wrong not in str(caught.value)
    assert hub.repos == {}


def test_no_hub_at_the_address_is_an_expected_error(hub, run, monkeypatch, capfd):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as ended:
        main(["export", "--push", "me/tiny", "--yes", "--run-dir", str(run.root)])
    assert ended.value.code == 1
    printed = capfd.readouterr()
    assert "cannot reach the Hugging Face Hub at http://127.0.0.1:9" in printed.err
    assert "Traceback" not in printed.err
    assert TOKEN not in printed.out + printed.err


def test_merged_weights_are_uploaded_with_their_tokenizer(hub, run):
    found = upload(run, yes=True, merge=True)
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= found.files.keys()
    assert json.loads(hub.repos["me/tiny"][1]["config.json"])["model_type"] == "llama"

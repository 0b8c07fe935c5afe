"""`lorapar export` as a command."""

import pytest

from lorapar_cli.cli.main import main


@pytest.mark.parametrize(
    ("flags", "words", "verified"),
    [
        ([], "adapter: ", "its tensors are those that were trained, bit for bit"),
        (["--merge"], "merged model: ", None),
        (["--merge", "--check-logits"], "merged model: ", "logits differ from the trained model's"),
    ],
)
def test_it_names_the_folder_and_what_was_checked(run_dir, tmp_path, capfd, flags, words, verified):
    out = tmp_path / "out"
    arguments = ["export", "--what", "init", "--out", str(out), "--run-dir", str(run_dir.root)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *flags])
    assert ended.value.code == 0
    printed = capfd.readouterr()
    assert printed.out == f"{words}{out}\n"
    assert (f"verified: {verified}" in printed.err) if verified else ("verified" not in printed.err)


def test_a_folder_must_be_named(capfd):
    with pytest.raises(SystemExit) as ended:
        main(["export"])
    assert ended.value.code == 2
    assert "--out" in capfd.readouterr().err

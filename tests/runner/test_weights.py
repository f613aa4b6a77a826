"""The command line that downloads weights."""

import pytest

from affectlib.features.pretrained.weights import WEIGHTS
from affectlib.runner import cli
from affectlib.runner import weights as command


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where files are looked for; nothing of this machine is found."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def test_a_file_that_is_there_is_not_downloaded(folder, capsys):
    (folder / "rgb_imagenet.pt").write_bytes(b"weights")
    assert command.main(["i3d"], None) == 0
    assert "rgb_imagenet.pt (there already)" in capsys.readouterr().out


def test_a_named_file_that_has_to_be_got_by_hand_is_a_failure(capsys):
    assert command.main(["xception"], None) == 1
    assert "got by hand" in capsys.readouterr().out


def test_without_names_everything_is_downloaded_that_has_an_address(monkeypatch, capsys):
    fetched = []

    def fetch(name):
        row = next(w for w in WEIGHTS if w.name == name)
        if row.url is None:
            raise OSError("to be got by hand")
        fetched.append(name)
        return f"{name}.pt"

    monkeypatch.setattr(command, "fetch", fetch)
    assert command.main([], None) == 0
    assert fetched == [w.name for w in WEIGHTS if w.url]
    assert "xception: to be got by hand" in capsys.readouterr().out


def test_a_server_that_does_not_answer_is_a_failure(monkeypatch, capsys):
    def no_answer(name):
        raise OSError("no route")

    monkeypatch.setattr(command, "fetch", no_answer)
    assert command.main([], None) == 1
    assert command.main(["i3d"], None) == 1
    assert "i3d: no route" in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_those_there_are(capsys):
    assert cli.main(["weights", "alexnet"]) == 2
    assert "no weights 'alexnet', there are vggish" in capsys.readouterr().err

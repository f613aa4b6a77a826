"""The network of expressions learns from a folder laid out as RAF-DB; its extractor reads it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from affectlib import kept, paths
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import deep
from affectlib.features.pretrained import networks, weights
from affectlib.runner import cli, expressions
from affectlib.runner import weights as command

TRAIN = 12
TEST = 48
OPTIONS = {"epochs": 1, "batch_size": TRAIN // 2}  # two steps


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Weights and kept states of these tests alone, and smaller faces."""
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("AFFECTLIB_KEEP", "")  # put back afterwards
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setitem(deep.INPUTS, "xception", replace(deep.INPUTS["xception"], side=48))
    return tmp_path


@pytest.fixture
def raf_db(tmp_path):
    """Small pictures in RAF-DB's folders, and its list as its owners write it."""
    rng = np.random.default_rng(0)
    root = tmp_path / "RAF-DB"
    pictures = root / "basic" / "Image" / "aligned"
    pictures.mkdir(parents=True)
    (root / "basic" / "EmoLabel").mkdir()
    lines = []
    for part, count in {"train": TRAIN, "test": TEST}.items():
        for number in range(1, count + 1):
            image = rng.integers(0, 256, (100, 100, 3), np.uint8)
            cv2.imwrite(str(pictures / f"{part}_{number:05d}_aligned.jpg"), image)
            # Happiness (4) is the most frequent, as in the real corpus.
            label = 4 if number % 2 else number % 7 + 1
            lines.append(f"{part}_{number:05d}.jpg {label}")
    list_of(root).write_text("\n".join(lines) + "\n")
    return root


def list_of(root):
    return root / "basic" / "EmoLabel" / "list_patition_label.txt"


def test_two_steps_give_a_file_that_the_extractor_reads(raf_db, places, capsys, monkeypatch):
    path = expressions.train_expressions(raf_db, **OPTIONS)
    assert path == places / "weights" / "xception_raf.pth"
    printed = capsys.readouterr().out
    assert "train: 12 faces, 12271 are published" in printed
    assert "start: random weights" in printed
    # Half of the labels are 4, and 4 comes again among the others.
    share = np.mean(expressions.read_raf_db(raf_db)["test"].labels == 3)
    assert f"always happiness: {share:.3f}" in printed
    trained = weights.load("xception", networks.Xception)
    extractor = deep.xception(detector="hog")
    digest = dict(extractor.options)["digests"][0]
    prepared = deep.prepared_network("xception", "xception", None, digest, "fp32")
    x = torch.rand(2, 3, 48, 48) * 2 - 1
    with torch.inference_mode():
        values = prepared.embed(x)
        assert values.shape == (2, extractor.size)
        torch.testing.assert_close(values, trained.embed(x), rtol=1e-3, atol=1e-3)
    # What is there is not trained again.
    monkeypatch.setattr(expressions, "train_expressions", lambda root: pytest.fail("trained"))
    assert command.main(["xception"], raf_db) == 0
    assert "is there already" in capsys.readouterr().out


def small_network(seed):
    """Some layers in place of Xception, whose states take seconds to write."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))


def test_a_killed_training_goes_on_to_the_same_bytes(raf_db, places, monkeypatch, capsys):
    monkeypatch.setattr(expressions, "_untrained", small_network)
    expected = expressions.train_expressions(raf_db, **OPTIONS).read_bytes()
    monkeypatch.setattr(paths, "CACHE", places / "another cache")
    monkeypatch.setenv("AFFECTLIB_WEIGHTS", str(places / "other weights"))
    monkeypatch.setattr(kept, "EVERY", 0.0)
    steps = []

    def killed_in_the_second_step(prediction, target):
        steps.append(len(target))
        if len(steps) == 2:
            raise KeyboardInterrupt
        return torch.nn.functional.cross_entropy(prediction, target)

    monkeypatch.setattr(expressions, "cross_entropy", killed_in_the_second_step)
    with pytest.raises(KeyboardInterrupt):
        expressions.train_expressions(raf_db, **OPTIONS)
    assert not list((places / "other weights").glob("*.pth"))
    path = expressions.train_expressions(raf_db, **OPTIONS)
    assert "goes on after 1 of 2 steps" in capsys.readouterr().out
    assert steps == [6, 6, 6]
    assert path.read_bytes() == expected


def test_the_weights_of_imagenet_are_the_start_where_they_are_there(places, capsys):
    with torch.random.fork_rng():
        body = networks.Xception().body
    state = body.state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    file = places / "weights" / weights.weights_named("xception_imagenet").file
    file.parent.mkdir()
    torch.save(state, file)
    network = expressions._untrained(seed=0)
    assert torch.equal(network.body.conv4.pointwise.weight, state["conv4.pointwise.weight"])
    assert str(file) in capsys.readouterr().out
    del state["conv1.weight"]
    torch.save(state, file)
    with pytest.raises(FileFormatError, match=r"xception-43020ad28\.pth: .*conv1\.weight"):
        expressions._untrained(seed=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train_00003.jpg", r"label\.txt, row 3: expected a picture train_... or test_..., and 1"),
        ("train_00003.jpg 8", "row 3: .*found 'train_00003.jpg 8'"),
        ("train_00003.jpg joy", "row 3: expected a picture"),
        ("dev_00003.jpg 1", "row 3: expected a picture"),
        ("train_99999.jpg 1", r"row 3: expected train_99999_aligned\.jpg below"),
        ("train_00001.jpg 1", r"row 3: expected train_00001_aligned\.jpg once"),
    ],
)
def test_a_row_that_is_not_as_its_owners_write_it_is_refused(raf_db, row, message):
    lines = list_of(raf_db).read_text().splitlines()
    lines[2] = row
    list_of(raf_db).write_text("\n".join(lines))
    with pytest.raises(FileFormatError, match=message):
        expressions.read_raf_db(raf_db)


def test_a_damaged_picture_and_a_part_without_faces_are_refused(raf_db, capsys):
    picture = next(raf_db.rglob("test_00007_aligned.jpg"))
    whole = picture.read_bytes()
    for share in (0.0, 0.01, 0.5):
        picture.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(FileFormatError, match=r"test_00007_aligned\.jpg: expected a complete"):
            expressions.read_raf_db(raf_db)
    cv2.imwrite(str(picture), np.zeros((2, 2000, 3), np.uint8))
    assert command.main(["xception"], raf_db) == 2
    assert "test_00007_aligned.jpg: expected a face of at most 1024" in capsys.readouterr().err
    lines = list_of(raf_db).read_text().splitlines()
    list_of(raf_db).write_text("\n".join(lines[:TRAIN]))
    with pytest.raises(FileFormatError, match="expected faces to test on, found none"):
        expressions.read_raf_db(raf_db)


def test_another_folder_is_no_raf_db(tmp_path):
    with pytest.raises(NotFoundError, match=r"RAF-DB at .* list_patition_label\.txt.*whdeng\.cn"):
        expressions.read_raf_db(tmp_path)


def test_the_command_says_what_it_can_make(capsys):
    assert cli.main(["weights", "i3d", "--from", "x"]) == 2
    assert "--from serves xception and vgg16_places, not i3d" in capsys.readouterr().err
    for names in ([], ["xception", "vgg16_places"]):
        assert cli.main(["weights", *names, "--from", "x"]) == 2
        assert "--from serves one of xception and vgg16_places" in capsys.readouterr().err

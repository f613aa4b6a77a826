"""Trains the network of expressions that shot_long's authors did not publish, on RAF-DB.

``make weights NAMES=xception FROM=<folder of RAF-DB>`` runs it. The paper says that an Xception
network with fully connected layers was trained on RAF-DB, and nothing of how. Ours in the training:
Adam with a rate that falls to 0 along a cosine, mirrored faces, the number of epochs, and the
weights of ImageNet as a start, where they are there. The test part of RAF-DB chooses nothing.

RAF-DB is given for research by its owners; weights that were learned from it are under their terms.

References:
    Zhang et al. (2019), arXiv:1909.01763, Features: Xception on RAF, faces of 160 x 160.
    Li, Deng and Du (2017), Reliable crowdsourcing and deep locality-preserving learning for
    expression recognition in the wild, CVPR: RAF-DB.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from affectlib import paths
from affectlib.corpora.files import corpus_files, find_file, read_lines
from affectlib.errors import FileFormatError
from affectlib.features.deep import INPUTS, resize_to_input
from affectlib.features.pretrained.networks import Xception
from affectlib.features.pretrained.weights import (
    WeightsNotFoundError,
    digest,
    find,
    folders,
    load_strictly,
    read_tensors,
    weights_named,
    write_tensors,
)
from affectlib.kept import Kept
from affectlib.metrics import accuracy, balanced_accuracy
from affectlib.statistics import majority

LIST = "list_patition_label.txt"  # spelt as its owners do
ASK = "whdeng.cn/RAF/model1.html"
LARGEST_SIDE = 1024  # pixels; RAF-DB's aligned faces have 100
# Segments of a jpg that hold its size: SOF0 to SOF15, without DHT, JPG and DAC.
SIZE_SEGMENTS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
PUBLISHED = {"train": 12271, "test": 3068}  # faces of the basic expressions
START = "xception_imagenet"


@dataclass(frozen=True)
class Faces:
    """The faces of one part of RAF-DB.

    Args:
        files: aligned pictures
        labels: places in ``EXPRESSIONS``
    """

    files: tuple[Path, ...]
    labels: np.ndarray


def read_raf_db(root: Path | str) -> dict[str, Faces]:
    """Reads the list of RAF-DB's basic expressions, and looks at every aligned picture.

    Args:
        root: folder that holds ``list_patition_label.txt`` and the aligned pictures, at any depth

    Returns:
        the parts ``train`` and ``test``

    Raises:
        NotFoundError: if the folder is not this corpus
        FileFormatError: if a row of the list is not as its owners write it, names a picture twice
            or one that is not there, or a picture is damaged; it names file and row
    """
    root = Path(root)
    files = corpus_files(root, [LIST], name="RAF-DB", ask=ASK)
    listed = find_file(files, LIST, root=root)
    pictures = {file.name: file for file in files if file.name.endswith("_aligned.jpg")}
    rows = {"train": {}, "test": {}}
    for row, line in enumerate(read_lines(listed), 1):
        if not line.strip():
            continue
        part, picture, label = _row(listed, row, line)
        if picture not in pictures:
            raise FileFormatError(listed, f"expected {picture} below {root}, found none", row=row)
        if pictures[picture] in rows[part]:
            raise FileFormatError(listed, f"expected {picture} once, found it again", row=row)
        rows[part][pictures[picture]] = label
    parts = {}
    for part, labels in rows.items():
        if not labels:
            raise FileFormatError(listed, f"expected faces to {part} on, found none")
        for file in labels:
            _picture(file)
        parts[part] = Faces(tuple(labels), np.array(list(labels.values())))
    return parts


def _row(path: Path, row: int, line: str) -> tuple[str, str, int]:
    """Part, name of the aligned picture and label of a row such as ``train_00001.jpg 5``."""
    cells = line.split()
    part = cells[0].partition("_")[0]
    numbers = [str(number) for number in range(1, len(EXPRESSIONS) + 1)]
    if len(cells) != 2 or part not in PUBLISHED or cells[1] not in numbers:
        expected = f"expected a picture train_... or test_..., and 1 to {len(EXPRESSIONS)}"
        raise FileFormatError(path, f"{expected}, found {line!r}", row=row)
    return part, f"{Path(cells[0]).stem}_aligned.jpg", int(cells[1]) - 1


def _picture(file: Path) -> np.ndarray:
    """A face as the network takes it.

    Shape:
        result ``(side, side, 3)``, RGB, uint8
    """
    content = np.fromfile(file, np.uint8)
    _check_size(file, content.tobytes())
    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if image is None:
        raise FileFormatError(file, "expected a complete jpg, found damaged bytes")
    return resize_to_input(image[..., ::-1], INPUTS["xception"])


def _check_size(file: Path, content: bytes) -> None:
    """Refuses a picture that is cut short, which OpenCV fills with grey, or too large.

    A jpg is a row of segments. Before the first pixels, one of them (SOF) holds height and width.
    """
    cut = FileFormatError(file, "expected a complete jpg, the file is cut or another format")
    # The end, which cannot stand among the pixels: there, every 255 is followed by a 0.
    if not content.startswith(b"\xff\xd8") or b"\xff\xd9" not in content:
        raise cut
    place = 2
    while content[place : place + 1] == b"\xff" and place + 9 <= len(content):
        marker = content[place + 1]
        if marker in SIZE_SEGMENTS:
            height = int.from_bytes(content[place + 5 : place + 7], "big")
            width = int.from_bytes(content[place + 7 : place + 9], "big")
            if max(width, height) > LARGEST_SIDE:
                expected = f"expected a face of at most {LARGEST_SIDE} pixels a side"
                raise FileFormatError(file, f"{expected}, found {width} x {height}")
            return
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    raise cut


def train_expressions(
    root: Path | str,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    learning_rate: float = 0.0003,
    seed: int = 0,
) -> Path:
    """Trains Xception and shot_long's dense layer on RAF-DB, and writes the file of weights.

    A training that was killed goes on where it was, if it is started again with the same pictures
    and arguments. Its numbers are those of a training that was never killed.

    Args:
        root: see :func:`read_raf_db`
        epochs: number of times that every training face is seen
        batch_size: faces in a step
        learning_rate: of Adam, at the start
        seed: of the first weights, the order of the faces and their mirroring

    Returns:
        the file, where :func:`affectlib.features.pretrained.weights.find` looks for it

    Raises:
        NotFoundError, FileFormatError: as :func:`read_raf_db`; also if the file of the ImageNet
            weights is damaged
        WriteError: if the disk is full, or a folder may not be written
    """
    # Like every other run of hours.
    os.environ["AFFECTLIB_KEEP"] = "1"
    parts = read_raf_db(root)
    for part, faces in parts.items():
        print(f"{part}: {len(faces.labels)} faces, {PUBLISHED[part]} are published")
    destination = folders()[0] / weights_named("xception").file
    paths.make_folder(destination.parent)
    paths.check_writable(destination.parent)
    network = _untrained(seed)
    settings = {
        "epochs": epochs,
        "batch_size": min(batch_size, len(parts["train"].labels)),
        "learning_rate": learning_rate,
        "seed": seed,
    }
    _train(network, parts["train"], settings)
    _report(network, parts)
    write_tensors(destination, network.cpu().state_dict())
    return destination


def _untrained(seed: int) -> Xception:
    """The network before its training on faces: with ImageNet's weights, where they are there."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = Xception()
    try:
        (path,) = find(START)
    except WeightsNotFoundError:
        print(f"start: random weights (ImageNet's are better: make weights NAMES={START})")
        return network
    state = read_tensors(path)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    load_strictly(path, body, network.body)
    print(f"start: {path}")
    return network


def _train(network: Xception, faces: Faces, settings: dict[str, float]) -> None:
    """Trains a network in place, from the last state that was kept on."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = Kept("expressions", network, _content(faces), settings, _train, _batch)
    network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings["learning_rate"])
    steps = len(faces.labels) // settings["batch_size"]  # in an epoch
    total = steps * settings["epochs"]
    first = 0
    state = kept.load()
    if state is not None:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        print(f"goes on after {first} of {total} steps")
    begun = time.monotonic()
    for step in range(first, total):
        for group in optimiser.param_groups:
            falling = 0.5 * (1 + math.cos(math.pi * step / total))
            group["lr"] = settings["learning_rate"] * falling
        x, target = _batch(faces, step, steps, settings)
        loss = cross_entropy(network(x.to(device)), target.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % steps == 0:
            hours = (time.monotonic() - begun) / (step + 1 - first) * (total - step - 1) / 3600
            epoch = (step + 1) // steps
            print(f"epoch {epoch} of {settings['epochs']}: loss {loss.item():.3f}", end=", ")
            print(f"{hours:.1f} hours left", flush=True)
        if kept.is_due() or step + 1 == total:
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step + 1,
            }
            kept.save(state)


def _content(faces: Faces) -> str:
    """Hash of the pictures and labels of a part."""
    content = hashlib.sha256(faces.labels.tobytes())
    for file in faces.files:
        content.update(f"{file.name} {digest(file)}\n".encode())
    return content.hexdigest()


def _batch(
    faces: Faces, step: int, steps: int, settings: dict[str, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Some faces of a step, half of them mirrored; the same for the same seed and step.

    Shape:
        result ``(batch, 3, side, side)`` and ``(batch,)``
    """
    epoch, place = divmod(step, steps)
    size = settings["batch_size"]
    order = np.random.default_rng([settings["seed"], epoch]).permutation(len(faces.labels))
    rows = order[place * size : (place + 1) * size]
    mirrored = np.random.default_rng([settings["seed"], epoch, place]).random(len(rows)) < 0.5
    pictures = []
    for row, mirror in zip(rows, mirrored, strict=True):
        picture = _picture(faces.files[row])
        pictures.append(picture[:, ::-1] if mirror else picture)
    return _input(pictures), torch.from_numpy(faces.labels[rows])


def _input(pictures: list[np.ndarray]) -> torch.Tensor:
    """Pictures as the extractor gives them to the network.

    Shape:
        result ``(pictures, 3, side, side)``, in [-1, 1]
    """
    layout = INPUTS["xception"]
    x = (np.stack(pictures) - np.float32(layout.mean)) / np.float32(layout.deviation)
    return torch.from_numpy(x).movedim(-1, 1)


def _report(network: nn.Module, parts: dict[str, Faces]) -> None:
    """Prints how well the test faces are told, beside what the most frequent expression gets."""
    device = next(network.parameters()).device
    network.eval()
    test = parts["test"]
    predicted = []
    with torch.inference_mode():
        for start in range(0, len(test.files), 32):
            pictures = [_picture(file) for file in test.files[start : start + 32]]
            predicted.append(network(_input(pictures).to(device)).argmax(1).cpu().numpy())
    found = np.concatenate(predicted)
    most_frequent = majority(parts["train"].labels, len(test.labels))
    print(f"test faces: accuracy {accuracy(test.labels, found):.3f}", end=", ")
    print(f"balanced accuracy {balanced_accuracy(test.labels, found):.3f};", end=" ")
    print(f"always {EXPRESSIONS[most_frequent[0]]}: {accuracy(test.labels, most_frequent):.3f}")

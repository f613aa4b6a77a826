"""Masks of faces, from boxes and pictures written by hand."""

import struct

import cv2
import numpy as np
import pandas as pd
import pytest

from affectlib.corpora.afew_va import BOX, FACE_MARGIN
from affectlib.corpora.base import Corpus
from affectlib.errors import FileFormatError
from affectlib.models.mood_change import face_masks


@pytest.fixture
def corpus(tmp_path):
    """Two clips of one frame of 40 x 20 pixels each; the second frame has no landmarks."""
    for clip in ("001", "002"):
        (tmp_path / clip).mkdir()
        cv2.imwrite(str(tmp_path / clip / "00003.png"), np.zeros((20, 40, 3), np.uint8))
    clips = pd.DataFrame(
        {
            "clip": ["001", "002"],
            "path": [str(tmp_path / "001"), str(tmp_path / "002")],
            "group": ["a", "b"],
            "split": "",
            "seconds": 0.04,
        }
    )
    annotations = pd.DataFrame({"clip": ["001", "002"], "time": 0.12, "frame": 3})
    annotations[["valence", "arousal"]] = 0.0
    annotations[list(BOX)] = [[20.0, 5.0, 40.0, 15.0], [np.nan] * 4]
    return Corpus(
        name="afew_va",
        clips=clips,
        annotations=annotations,
        labels=(),
        value_range=(-10, 10),
        hertz=25.0,
        license="",
        citation="",
        simulated=True,
    )


def test_a_box_marks_its_share_of_the_frame(corpus):
    masks = face_masks(corpus, side=4)
    # The box is the right half of the width, and the middle half of the height.
    right_half_of_the_middle = [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert masks.dtype == bool
    assert masks[0].astype(int).tolist() == right_half_of_the_middle


def test_a_frame_without_landmarks_has_no_face(corpus):
    assert not face_masks(corpus, side=4)[1].any()


def test_in_a_crop_the_face_is_the_square_without_the_margin(corpus):
    side = 70
    masks = face_masks(corpus, side=side, crop="face")
    for mask in masks:
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        assert len(rows) == len(columns) == side / FACE_MARGIN
        assert rows[0] == columns[0] == side - 1 - rows[-1]


def test_another_crop_is_refused(corpus):
    with pytest.raises(ValueError, match="'frame' or 'face', not 'mouth'"):
        face_masks(corpus, crop="mouth")


def test_a_picture_that_says_it_is_huge_is_named_and_not_decoded(corpus, tmp_path):
    path = tmp_path / "001" / "00003.png"
    content = path.read_bytes()
    # Width and height follow the name of the first piece.
    size = struct.pack(">II", 40000, 40000)
    path.write_bytes(content[:16] + size + content[24:])
    with pytest.raises(FileFormatError, match=r"00003\.png: expected at most 4096 pixels a side"):
        face_masks(corpus)

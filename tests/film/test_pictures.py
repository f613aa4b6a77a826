"""Figures of what is in a film."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from affectlib.film.base import Contents
from affectlib.film.contents import FACE_COLUMNS, describe
from affectlib.film.pictures import plot_contents, plot_faces, plot_shots


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


@pytest.fixture
def seven_shots(golden):
    """A real film with shots and faces that are made up."""
    path = golden("clips/face_noface.mov")
    starts = np.arange(7) * 0.9
    shots = pd.DataFrame({"start": starts, "end": starts + 0.9, "scene": [1, 1, 2, 2, 2, 3, 3]})
    shots.index = pd.RangeIndex(1, 8, name="shot")
    face = dict.fromkeys(FACE_COLUMNS, 0.0)
    face |= {"time": 1.0, "left": 96.0, "top": 54.0, "right": 192.0, "bottom": 108.0}
    faces = pd.DataFrame([face, face | {"left": 480.0, "right": 576.0}])
    contents = Contents(pd.DataFrame(), shots, faces, (0.0, 1.0, 2.0, 3.0))
    return path, contents


def test_a_contact_sheet_shows_each_shot_or_says_how_many(seven_shots):
    path, contents = seven_shots
    figure = plot_shots(contents, path)
    assert len(titles(figure)) == 7
    assert titles(figure)[2].startswith("shot 3, scene 2\n0:00:01:")
    assert figure.get_suptitle() == "7 shots, 3 scenes"
    plt.close(figure)
    figure = plot_shots(contents, path, most=3)
    assert [title.split(",")[0] for title in titles(figure)] == ["shot 2", "shot 4", "shot 6"]
    assert figure.get_suptitle() == "7 shots, 3 scenes; 3 shots are shown"
    plt.close(figure)


def test_boxes_are_drawn_where_the_faces_are(seven_shots):
    path, contents = seven_shots
    figure = plot_faces(contents, path)
    assert figure.get_suptitle() == "a face was found in 1 of 4 frames that were searched"
    assert [title.split("\n")[1] for title in titles(figure)] == [
        "no face found",
        "2 faces",
        "no face found",
        "no face found",
    ]
    ax = figure.axes[1]
    # The frame is drawn at a third of its 960 pixels; each box is drawn twice.
    assert len(ax.patches) == 4
    assert ax.patches[0].get_bbox().bounds == pytest.approx((32, 18, 32, 18))
    plt.close(figure)


def test_a_rare_kind_of_frame_leaves_room_for_the_other(seven_shots):
    path, contents = seven_shots
    figure = plot_faces(contents, path, most=3)
    assert [title.split("\n")[1] for title in titles(figure)].count("2 faces") == 1
    assert len(titles(figure)) == 3
    plt.close(figure)


def test_what_a_film_lacks_is_said_in_its_place(golden):
    path = golden("clips/bikes.mp4")
    contents = describe(path, [0.0, 1.0], 1.0)
    figure = plot_contents(contents)
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert texts == [["no sound"], ["no sound"], [], [], [], [], []]
    assert len(figure.axes[2].lines) == len(contents.shots)
    assert figure.axes[-1].get_xlabel() == "time in seconds"
    plt.close(figure)
    long = contents.segments.assign(start=[0.0, 600.0], end=[600.0, 1200.0])
    figure = plot_contents(Contents(long, contents.shots, contents.faces, contents.face_times))
    assert figure.axes[-1].get_xlabel() == "time in minutes"
    assert figure.axes[-1].get_xlim() == (0, 20)
    plt.close(figure)

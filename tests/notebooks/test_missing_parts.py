"""A copy of a corpus with missing or damaged parts does not stop a notebook that may go on.

Only the cells that load and describe are run, on small corpora.
"""

import ast
import re

import av
import pytest
import torch

from affectlib import paths, simulate
from affectlib.errors import FileFormatError
from affectlib.runner.notebooks import cells, default_parameters, find_notebooks, notebook_file

GOES_ON = {"missing": "zeros", "on_error": "skip"}
# Notebooks that load corpora of films.
SLUGS = ("shot_long", "attend_affect", "gla", "caan", "comparison")


class Run:
    """A notebook of which some cells were run, in this process."""

    def __init__(self, slug, **parameters):
        self.cells = cells(notebook_file(slug))
        self.names = {}
        self.parameters = {"corpus": "real", **parameters}

    def until(self, last):
        """Runs cells up to one; returns the value of its last line."""
        while True:
            cell = self.cells.pop(0)
            value = self._run("".join(cell["source"]))
            if "parameters" in cell["metadata"]["tags"]:
                self.names |= self.parameters
            if cell["id"] == last:
                return value

    def only(self, name):
        """Runs one more cell, without those before it."""
        (cell,) = [cell for cell in self.cells if cell["id"] == name]
        return self._run("".join(cell["source"]))

    def _run(self, source):
        tree = ast.parse(source)
        last = None
        if isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, "cell", "exec"), self.names)
        return eval(compile(last, "cell", "eval"), self.names) if last else None


@pytest.fixture(autouse=True)
def folders(corpora, monkeypatch):
    monkeypatch.setattr(paths, "DATA", corpora)
    monkeypatch.setattr(paths, "CACHE", corpora / "cache")
    monkeypatch.setattr(paths, "FIGURES", corpora / "figures")
    precision = torch.get_default_dtype()
    yield
    torch.set_default_dtype(precision)


def drop_sound(film):
    """Takes the sound out of a film."""
    silent = film.with_name("silent.mp4")
    with av.open(str(film)) as source, av.open(str(silent), "w") as target:
        pictures = source.streams.video[0]
        copy = target.add_stream_from_template(pictures)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    silent.replace(film)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Corpora of which the first film is damaged and the second has no sound."""
    root = tmp_path_factory.mktemp("corpora")
    simulate.make_mediaeval18(
        root / "mediaeval18", n_films=6, test_films=2, seconds=4.0, features=()
    )
    simulate.make_cognimuse(root / "cognimuse", n_films=3, seconds=6.0)
    simulate.make_heiv(root / "heiv", n_clips=28, seconds=(1.0, 1.0))
    for name in ("mediaeval18", "cognimuse", "heiv"):
        damaged, silent = sorted((root / name).rglob("*.mp4"))[:2]
        damaged.write_bytes(b"this is no film")
        drop_sound(silent)
    return root


@pytest.mark.parametrize("slug", [slug for slug in find_notebooks() if slug in SLUGS])
def test_a_run_that_may_not_go_on_names_the_film(slug):
    with pytest.raises(FileFormatError, match=r"\.mp4"):
        Run(slug).until("left-out")


@pytest.mark.parametrize(
    ("slug", "corpus"), [("gla", "film_corpus"), ("comparison", "mediaeval18")]
)
def test_films_of_mediaeval_that_are_damaged_are_left_out_and_listed(slug, corpus):
    run = Run(slug, **GOES_ON)
    listed = run.until("left-out")
    assert listed["left out"].tolist() == ["not read", "sound: zeros"]
    assert listed["count"].tolist() == [1, 4]
    assert "MEDIAEVAL18_00" in listed["which"][0]
    assert re.fullmatch(r"MEDIAEVAL18_\d\d \(4\)", listed["which"][1])
    assert "MEDIAEVAL18_00" not in set(run.names[corpus].clips["clip"])


def test_shot_long_runs_without_the_organisers_features_and_without_mediaeval_2015(capsys):
    run = Run("shot_long", **GOES_ON)
    listed = run.until("left-out")
    assert listed["left out"].tolist() == ["not read", "sound: zeros"]
    assert "Table 6 is left out. MediaEval 2015 at" in capsys.readouterr().out
    run.until("15")  # the films are split
    assert len(run.names["fold"].train) + len(run.names["fold"].validation) == 3 * 4
    run.only("organisers")
    assert "in the archives MEDIAEVAL18-...-Audio_features" in capsys.readouterr().out
    assert run.names["organiser_table"] is None


def test_gla_runs_without_the_organisers_features(capsys):
    run = Run("gla", **GOES_ON)
    run.until("16")
    assert "features are left out. the organisers' features" in capsys.readouterr().out
    run.until("21")
    sets = run.names["SETS"]
    assert list(sets) == ["image + audio", "image + audio + face"]
    # The same numbers, held once.
    pair, every = sets.values()
    assert all(a is b for a, b in zip(pair.inputs, every.inputs, strict=False))


def test_attend_affect_runs_without_eimt16(capsys):
    run = Run("attend_affect", **GOES_ON)
    listed = run.until("left-out")
    assert listed["left out"].tolist() == ["not read", "sound: zeros", "emobase: zeros"]
    assert listed["count"].tolist() == [1, 1, 1]
    assert "Table II is left out. EIMT16 at" in capsys.readouterr().out
    assert run.names["film_clips"].clips["group"].nunique() == 2


def test_attend_affect_takes_the_labels_of_the_test_from_anywhere(tmp_path, monkeypatch):
    eimt16 = simulate.make_eimt16(tmp_path / "eimt16", n_clips=8, seconds=(2.0, 2.0))
    (labels,) = tmp_path.rglob("MEDIAEVAL16-Global_prediction.txt")
    elsewhere = tmp_path / "labels of mine.txt"
    labels.rename(elsewhere)
    (tmp_path / "cognimuse").symlink_to(paths.DATA / "cognimuse")
    monkeypatch.setattr(paths, "DATA", tmp_path)
    run = Run("attend_affect", test_annotations=str(elsewhere), **GOES_ON)
    run.until("8")
    assert run.names["eimt16"].clips.equals(eimt16.clips)


def test_caan_runs_without_the_two_other_corpora(capsys):
    run = Run("caan", **GOES_ON)
    listed = run.until("left-out")
    assert listed["left out"].tolist() == ["not read"]
    printed = capsys.readouterr().out
    assert "Left out of Table 6 and of the claims: Ekman-6 at" in printed
    assert "Left out of Table 6 and of the claims: VideoEmotion-8 at" in printed
    run.until("42")
    packs = run.names["packs"]
    assert list(packs) == ["heiv"]
    assert len(packs["heiv"].videos) == 27


def test_clips_of_afew_va_that_are_damaged_are_left_out_and_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    afew = simulate.make_afew_va(tmp_path / "afew_va", n_clips=10, frames=(5, 7))
    frame = sorted((tmp_path / "afew_va").rglob("*.png"))[3]
    content = bytearray(frame.read_bytes())
    content[len(content) // 2] ^= 255  # only a look at all of the picture can tell
    frame.write_bytes(content)
    run = Run("mood_change", on_error="skip")
    listed = run.until("left-out")
    assert listed["left out"].tolist() == ["not read"]
    assert frame.name in listed["which"][0]
    assert len(run.names["afew"]) == len(afew) - 1


@pytest.mark.parametrize("slug", [*SLUGS, "mood_change"])
def test_a_run_is_strict_unless_it_is_told_otherwise(slug):
    parameters = default_parameters(notebook_file(slug))
    assert parameters["on_error"] == "raise"
    # mood_change needs no sound, and describes nothing.
    assert parameters.get("missing", "error") == "error"

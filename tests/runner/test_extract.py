"""``make extract`` fills the store that the notebooks read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affectlib import corpora, paths
from affectlib.features import FeatureTable, Store, extract, extractors
from affectlib.features.store import StoreError
from affectlib.runner import cli
from affectlib.runner import extract as module
from affectlib.runner.options import OptionError
from affectlib.simulate import make_mediaeval18


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def silent_film(tmp_path):
    """A film of two seconds without sound."""
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        stream.width = 64
        stream.height = 48
        stream.pix_fmt = "yuv420p"
        image = np.full((48, 64, 3), 120, np.uint8)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_film_goes_into_the_store(cache, silent_film, capsys):
    assert (
        cli.main(["extract", f"--corpus={silent_film}", "--extractors=scene,sound", "--jobs=1"])
        == 0
    )
    printed = capsys.readouterr()
    assert "1 clips, scene 76, sound 162" in printed.out
    assert "sound: 1 clips lack what it needs" in printed.err
    assert len(list((cache / "features" / "scene").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus=nothing"], "no corpus and no film 'nothing'"),
        (["--corpus=heiv", "--extractors=scenes"], "no extractors 'scenes'"),
        (["--corpus=heiv", "--parts=two"], "Invalid value for '--parts'"),
        (["--corpus=heiv", "--seconds=-1"], "seconds: expected a number above 0, not -1"),
        (["--corpus=heiv", "--seconds=0"], "seconds: expected a number above 0, not 0"),
        (["--corpus=heiv", "--seconds=nan"], "seconds: expected a number above 0, not nan"),
        (["--corpus=heiv", "--seconds=inf"], "seconds: expected a number above 0, not inf"),
        (["--corpus=heiv", "--parts=0"], "parts: expected a whole number above 0, not 0"),
        (["--corpus=heiv", "--jobs=-2"], "jobs: expected a whole number above 0, not -2"),
        (
            ["--corpus=heiv", "--features=none"],
            "features is descriptors or pretrained or organisers, or a",
        ),
        (
            ["--corpus=heiv", "--extractors=gla", "--features={ear: descriptors}"],
            "gla has no modality 'ear'",
        ),
        (
            ["--corpus=heiv", "--extractors=gla", "--features={face: descriptors"],
            "features, line 1",
        ),
        (["--corpus=heiv", "--precision=fp8"], "precision is fp32 or bf16 or auto, not 'fp8'"),
        (["--corpus=heiv", "--on-error=stop"], "on_error is raise or skip, not 'stop'"),
        (["--jobs=2"], "Missing option '--corpus'"),
        (["--corpus=heiv", "--speed=2"], "No such option: --speed"),
        (["heiv", "--corpus=heiv"], "unexpected extra argument"),
    ],
)
def test_the_command_reports_errors_in_one_line(cache, capsys, words, message):
    assert cli.main(["extract", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    "name", ["Alien: Covenant.mp4", "1917", "no", "[REC].mp4", "a=b # c.mp4", "--jobs=7", ""]
)
def test_names_are_taken_as_they_are(cache, monkeypatch, name):
    calls = []

    def extract_corpus(*arguments, **options):
        calls.append((arguments, options))
        return FeatureTable((), {}, {}, False)

    monkeypatch.setattr(module, "extract_corpus", extract_corpus)
    words = [f"--corpus={name}", "--seconds=2.5", "--parts=4", "--jobs=1", f"--extractors={name}"]
    assert cli.main(["extract", *words, "--on-error=skip"]) == 0
    ((arguments, options),) = calls
    assert arguments == (name, name)
    given = {"seconds": 2.5, "parts": 4, "jobs": 1, "on_error": "skip"}
    assert options | given == options


def test_the_store_is_the_one_that_the_notebooks_read(cache, tmp_path, monkeypatch):
    make_mediaeval18(tmp_path / "data", n_films=3, seconds=3)
    table = module.extract_corpus(
        "mediaeval18", "gla", features="descriptors", root=tmp_path / "data", jobs=1
    )
    seconds = corpora.segments(corpora.load_mediaeval18(tmp_path / "data"), seconds=1.0)
    assert table.clips == tuple(seconds.clips["clip"])
    assert tuple(table.sizes) == ("scene", "sound", "people")

    monkeypatch.setattr("affectlib.media.clips", lambda *_, **__: pytest.fail("decoded again"))
    extract(seconds, extractors("descriptors", "gla"), store=Store(), jobs=1, progress=False)


def test_features_of_the_organisers_are_left_to_the_notebooks():
    choice = {"image": "organisers", "audio": "descriptors", "face": "descriptors"}
    for features, names in ((choice, ["sound", "people"]), ("organisers", ["people"])):
        chosen = module._chosen_extractors("gla", features, "fp32")
        assert [extractor.name for extractor in chosen] == names


@pytest.fixture
def two_clips():
    """A corpus of two whole clips, the first of 4.5 and the second of 5 seconds."""
    clips = pd.DataFrame(
        {
            "clip": ["a", "b"],
            "path": ["a.mp4", "b.mp4"],
            "group": ["a", "b"],
            "split": "",
            "seconds": [4.5, 5.0],
        }
    )
    return corpora.Corpus(
        name="heiv",
        clips=clips,
        annotations=pd.DataFrame(columns=["clip", "time", "valence", "arousal"]),
        labels=("joy", "fear"),
        value_range=(0.0, 1.0),
        hertz=None,
        license="",
        citation="",
        simulated=True,
    )


@pytest.mark.parametrize("value", ["emotion", "valence"])
def test_seconds_cut_clips_without_annotations_over_time(cache, monkeypatch, two_clips, value):
    clips = two_clips.clips.assign(**{value: ["joy", "fear"]})
    heiv = replace(two_clips, clips=clips)
    monkeypatch.setattr(corpora, "load_heiv", lambda root, on_error: heiv)
    monkeypatch.setattr(module, "extract_features", lambda corpus, *_, **__: corpus)
    uncut = module.extract_corpus("heiv", "scene")
    assert len(uncut) == 2
    cut = module.extract_corpus("heiv", "scene", seconds=2.0)
    assert len(cut) == 4
    assert set(cut.clips["seconds"]) == {2.0}


def test_damaged_clips_are_left_out_and_listed_on_request(cache, monkeypatch, two_clips, capsys):
    def load_heiv(root, on_error):
        if on_error == "raise":
            raise corpora.CorpusFormatError("c.mp4", "expected a film")
        return replace(two_clips, skipped=("c: expected a film",))

    def extract_features(corpus, *_, **__):
        return FeatureTable(tuple(corpus.clips["clip"]), {}, {}, True)

    monkeypatch.setattr(corpora, "load_heiv", load_heiv)
    monkeypatch.setattr(module, "extract_features", extract_features)
    assert cli.main(["extract", "--corpus=heiv", "--extractors=scene"]) == 2
    assert "c.mp4: expected a film" in capsys.readouterr().err
    assert cli.main(["extract", "--corpus=heiv", "--extractors=scene", "--on-error=skip"]) == 1
    assert "skipped: c: expected a film" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [{"seconds": 0.0}, {"seconds": float("nan")}, {"parts": 0}, {"jobs": 0}]
)
def test_numbers_are_checked_from_python_too(cache, monkeypatch, options):
    monkeypatch.setattr(corpora, "load_heiv", lambda *_, **__: pytest.fail("read the corpus"))
    with pytest.raises(OptionError, match="above 0"):
        module.extract_corpus("heiv", **options)


def test_a_store_that_cannot_be_written_ends_in_one_line_with_status_1(cache, monkeypatch, capsys):
    def full(*_, **__):
        raise StoreError("a.npy: this file cannot be written (No space left on device)")

    monkeypatch.setattr(module, "extract_corpus", full)
    assert cli.main(["extract", "--corpus=heiv"]) == 1
    message = "error: a.npy: this file cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == message


def test_the_name_of_a_film_cannot_command_a_terminal(cache, silent_film, capsys):
    words = ["extract", "--extractors=scene,sound", "--jobs=1"]
    film = silent_film.rename(silent_film.with_name("red\x1b[31m\n.mp4"))
    assert cli.main([*words, f"--corpus={film}"]) == 0
    film.write_bytes(b"no film")
    assert cli.main([*words, f"--corpus={film}"]) == 2
    film.unlink()
    assert cli.main([*words, f"--corpus={film}"]) == 2
    told = "".join(capsys.readouterr())
    assert "\x1b" not in told
    assert told.count("red\\x1b[31m\\n") >= 4

"""Extraction as a whole: what is stored, what is refused, and what a kill or a second run does."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from affectlib.corpora import Corpus
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import Extractor, FeatureTable, Store, descriptors, extract, film
from affectlib.features.audio import sound
from affectlib.features.motion import motion
from affectlib.features.visual import scene

PICTURE = (scene(), motion())


def encode(
    path: Path,
    *,
    seconds: float = 2.0,
    seed: int = 0,
    rate: Fraction = Fraction(25, 2),
    size: tuple[int, int] | None = (64, 48),
    hertz: int | None = 16000,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of noise whose light changes, with a tone.

    ``size=None`` leaves the picture out, ``hertz=None`` the sound.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if size:
            video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
        if hertz:
            codec = "aac" if size else "pcm_s16le"
            audio = container.add_stream(codec, rate=hertz, layout="mono")
        if video:
            rng = np.random.default_rng(seed)
            for i in range(max(1, int(seconds * rate))):
                shape = (size[1], size[0], 3)
                image = rng.integers(0, 40 + 10 * (i % 20), shape, dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode(None))
        if audio:
            times = np.arange(round(seconds * hertz)) / hertz
            tone = 0.2 * np.sin(2 * np.pi * 220 * times).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate = hertz
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def joined(corpora: list[Corpus]) -> Corpus:
    """Several films as one corpus, its clips out of order."""
    clips = pd.concat([corpus.clips for corpus in corpora])
    clips = clips.sample(frac=1, random_state=0).reset_index(drop=True)
    return replace(corpora[0], name="films", clips=clips)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    corpora = []
    for i in range(4):
        corpora.append(film(encode(folder / f"f{i}.mp4", seconds=3, seed=i), seconds=1.0))
    return joined(corpora)


@pytest.fixture(scope="module")
def table(films):
    return extract(films, PICTURE, jobs=1, progress=False)


def assert_same(a: FeatureTable, b: FeatureTable) -> None:
    assert a.clips == b.clips
    for name in a.arrays:
        np.testing.assert_array_equal(a[name], b[name])


def wait_for(path: Path, run: subprocess.Popen) -> None:
    """Waits until a run has made a file; fails after two minutes, or when the run has ended."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert run.poll() is None, "the run ended before"
        assert time.monotonic() < deadline, "the file never came"
        time.sleep(0.01)


def test_the_table_follows_the_corpus(films, table):
    assert table.clips == tuple(films.clips["clip"])
    assert table.sizes == {"scene": 76, "motion": 34}
    assert table["scene"].dtype == np.float32
    assert table["scene"].shape == (12, 76)
    assert len(np.unique(table["scene"][:, 4])) == 12
    alone = extract(films.select([5]), PICTURE, jobs=1, progress=False)
    np.testing.assert_array_equal(alone["motion"][0], table["motion"][5])


def test_some_clips_of_a_table_are_selected(table):
    few = table.select(np.arange(12) % 5 == 0)
    assert few.clips == (table.clips[0], table.clips[5], table.clips[10])
    np.testing.assert_array_equal(few["scene"], table["scene"][[0, 5, 10]])
    with pytest.raises(KeyError, match="there are scene, motion"):
        table["face"]


def test_processes_and_dask_give_the_same(films, table):
    from dask.distributed import Client

    assert_same(extract(films, PICTURE, jobs=2, progress=False), table)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as one:
        assert_same(extract(films, PICTURE, client=one, progress=False), table)


def counting(seen: list, version: int = 1, **options) -> Extractor:
    """An extractor that writes down each clip that it describes."""

    def vector(pictures, **_):
        seen.append(len(pictures))
        return [pictures[0].image.mean(), len(pictures)]

    names = ("light", "looks")
    return Extractor("count", version, names, vector, rate=2.0, options=tuple(options.items()))


def test_the_store_serves_until_something_changes(films, tmp_path):
    store = Store(tmp_path)

    def computed(corpus: Corpus, **options) -> int:
        """Number of clips that were not in the store."""
        seen = []
        extract(corpus, [counting(seen, **options)], store=store, jobs=1, progress=False)
        return len(seen)

    assert computed(films) == 12
    assert computed(films) == 0
    assert computed(films, version=2) == 12
    assert computed(films, hop=0.1) == 12
    assert computed(films.select(films.clips["start"] > 0)) == 8  # other segments

    path = encode(tmp_path / "one.mp4", seconds=2)
    assert computed(film(path)) == 1
    path.rename(tmp_path / "other.mp4")
    assert computed(film(tmp_path / "other.mp4")) == 0  # the same content
    encode(path, seconds=2, seed=9)
    assert computed(film(path)) == 1  # the same name


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:200], lambda content: b"\x93NUMPY nonsense"],
    ids=["empty", "cut short", "no array"],
)
def test_a_damaged_file_of_the_store_is_named_and_computed_again(films, table, tmp_path, damage):
    store = Store(tmp_path)
    extract(films, [scene()], store=store, jobs=1, progress=False)
    stored = sorted((tmp_path / "scene").iterdir())
    assert len(stored) == 4
    stored[0].write_bytes(damage(stored[0].read_bytes()))
    with pytest.warns(UserWarning, match=f"{stored[0].name}: stored features are damaged"):
        again = extract(films, [scene()], store=store, jobs=1, progress=False)
    np.testing.assert_array_equal(again["scene"], table["scene"])


SCRIPT = textwrap.dedent("""
    import hashlib, sys, time
    from pathlib import Path
    from dataclasses import replace
    from affectlib.features import Store, extract, film
    from affectlib.features.visual import scene, scene_vector
    store, waiting, *paths = sys.argv[1:]
    stop_at = len(paths) if waiting == "never" else 2
    for number, path in enumerate(paths):
        def stopping(pictures):
            if number == stop_at:
                Path(waiting).touch()
                time.sleep(600)
            return scene_vector(pictures)
        one = replace(scene(), vector=stopping)
        table = extract(film(path, seconds=1.0), [one], store=Store(store), jobs=1, progress=False)
        print(hashlib.sha256(table["scene"].tobytes()).hexdigest())
""")


def run(store: Path, waiting: Path | str, corpus: Corpus) -> subprocess.Popen:
    """Starts extraction in a process of its own.

    Unless ``waiting`` is never, it stops in the third film for ever, and touches this file first.
    """
    paths = sorted(corpus.clips["path"].unique())
    arguments = [sys.executable, "-c", SCRIPT, str(store), str(waiting), *paths]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_killed_run_resumes_and_gives_the_same(films, table, tmp_path):
    process = run(tmp_path, tmp_path / "waiting", films)
    wait_for(tmp_path / "waiting", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("scene/*.npy"))) == 2
    resumed = extract(films, [scene()], store=Store(tmp_path), jobs=1, progress=False)
    np.testing.assert_array_equal(resumed["scene"], table["scene"])
    assert len(list(tmp_path.glob("scene/*.npy"))) == 4


def test_two_runs_at_once_agree(films, tmp_path):
    both = [run(tmp_path, "never", films) for _ in range(2)]
    first, second = (process.communicate(timeout=120)[0] for process in both)
    assert first == second
    assert len(first.split()) == 4
    stored = list((tmp_path / "scene").iterdir())
    assert len(stored) == 4
    assert all(path.suffix == ".npy" for path in stored)  # no temporary file is left


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {"rate": Fraction(24000, 1001)}),
        ("a.mov", {"size": (48, 96)}),
        ("a.mp4", {"hertz": 8000}),
        ("a.mp4", {"seconds": 0.7}),
        ("live.mkv", {"options": {"live": "1"}}),
    ],
    ids=["mkv", "mov", "sound of 8 kHz", "short", "without a duration"],
)
def test_any_film_is_described(tmp_path, name, options):
    corpus = film(encode(tmp_path / name, **options))
    table = extract(corpus, descriptors(), jobs=1, progress=False)
    assert len(table) == 1
    assert not table.simulated
    assert not table.missing
    assert all(np.isfinite(array).all() for array in table.arrays.values())


def test_a_film_without_sound_is_refused_or_gets_zeros(tmp_path):
    silent = film(encode(tmp_path / "silent.mp4", hertz=None))
    extractors = [scene(), sound()]
    message = r"silent\.mp4.*sound needs sound, clip silent:0000 has none"
    with pytest.raises(FileFormatError, match=message):
        extract(silent, extractors, jobs=1, progress=False)
    table = extract(silent, extractors, missing="zeros", jobs=1, progress=False)
    assert table.missing == {"sound": ("silent:0000",)}
    assert not table["sound"].any()
    assert table["scene"].any()


def test_sound_without_a_picture_is_described_by_its_sound(tmp_path):
    wav = film(encode(tmp_path / "only.wav", size=None))
    assert extract(wav, [sound()], jobs=1, progress=False)["sound"].any()
    with pytest.raises(FileFormatError, match=r"only\.wav.*scene needs a frame"):
        extract(wav, [scene()], jobs=1, progress=False)


def test_a_film_of_one_frame_has_no_motion(tmp_path):
    one = film(encode(tmp_path / "one.mp4", seconds=0.08, hertz=None))
    table = extract(one, PICTURE, missing="zeros", jobs=1, progress=False)
    assert table.missing == {"motion": ("one:0000",)}


def length_and_end(signal):
    return len(signal), signal[-1]


HEARD = Extractor(
    "heard", 1, ("samples", "last"), length_and_end, sound=True, shortest=0.975, padded=0.5
)


def clips_of_lengths(path: Path, **lengths: float) -> Corpus:
    """Clips from the start of a film, by their lengths in seconds."""
    clips = pd.concat([film(path).clips[:1]] * len(lengths), ignore_index=True)
    clips = clips.assign(clip=list(lengths), seconds=list(lengths.values()), start=0.0)
    return replace(film(path), clips=clips)


def test_sound_of_half_the_needed_length_is_filled_up_with_silence(tmp_path):
    path = encode(tmp_path / "f.mp4", seconds=3.0)
    corpus = clips_of_lengths(path, enough=1.0, nearly=0.9, half=0.5)
    samples, last = extract(corpus, [HEARD], jobs=1, progress=False)["heard"].T
    assert samples.tolist() == [16000, 15600, 15600]
    assert (last != 0).tolist() == [True, False, False]


def test_sound_that_is_too_short_is_refused_or_gets_zeros(tmp_path):
    path = encode(tmp_path / "f.mp4", seconds=3.0)
    short = clips_of_lengths(path, short=0.4)
    message = r"f\.mp4: .*heard needs 0\.487 s of sound, clip short has 0\.4 s"
    with pytest.raises(FileFormatError, match=message):
        extract(short, [HEARD], jobs=1, progress=False)
    table = extract(short, [HEARD], missing="zeros", jobs=1, progress=False)
    assert table.missing == {"heard": ("short",)}

    never_padded = replace(HEARD, padded=1.0)
    message = r"needs 0\.975 s of sound, clip nearly has 0\.9 s"
    with pytest.raises(FileFormatError, match=message):
        extract(clips_of_lengths(path, nearly=0.9), [never_padded], jobs=1, progress=False)
    store = Store(tmp_path)
    padded = store.path(path, HEARD, [0.0], [1.0])
    assert padded != store.path(path, never_padded, [0.0], [1.0])


def test_the_key_is_the_digest_of_all_that_the_features_depend_on(tmp_path):
    """Written out: with another key, everything that users have stored would be lost."""
    path = tmp_path / "f.mp4"
    path.write_bytes(b"any content")
    content = hashlib.sha256(b"any content").hexdigest()
    store = Store(tmp_path / "store")
    extractors = [scene(rate=2.0), HEARD, replace(HEARD, name="half", half=True)]
    places = store.places(path, extractors, range(2), [1.0, 0.1 + 0.2])
    for e in extractors:
        grid = [[0.0, 1.0], [1.0, 0.3]]
        parts = [content, e.name, e.version, e.options, e.names, e.rate, e.side, grid]
        parts += [e.padded] if e.padded != 1 else []
        parts += ["half"] if e.half else []
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
        assert places[e.name].path == tmp_path / "store" / e.name / f"{key}.npy"
    # Another extractor of the same name is not taken for the one before.
    other = scene(rate=1.0)
    assert store.place(path, other, [0.0], [1.0]) != store.place(path, extractors[0], [0.0], [1.0])


def test_damaged_films_raise_or_are_skipped_and_leave_nothing(films, tmp_path):
    path = encode(tmp_path / "bad.mp4", seconds=3)
    broken = film(path, seconds=1.0)
    path.write_bytes(path.read_bytes()[:3000])
    corpus = joined([films, broken])
    store = Store(tmp_path / "store")
    with pytest.raises(FileFormatError, match=r"bad\.mp4"):
        extract(corpus, PICTURE, store=store, jobs=1, progress=False)
    table = extract(corpus, PICTURE, store=store, on_error="skip", jobs=1, progress=False)
    assert len(table) == len(table["scene"]) == 12
    assert len(table.skipped) == 1
    assert "bad.mp4" in table.skipped[0]
    assert not any(clip.startswith("bad") for clip in table.clips)
    assert len(list(tmp_path.glob("store/scene/*"))) == 4


def test_a_film_that_is_gone_is_named(tmp_path):
    path = encode(tmp_path / "gone.mp4")
    corpus = film(path)
    path.unlink()
    with pytest.raises(NotFoundError, match=r"gone\.mp4"):
        extract(corpus, PICTURE, store=Store(tmp_path / "store"), jobs=1, progress=False)


def overwrite(path: Path) -> None:
    path.write_bytes(path.with_name("other.mp4").read_bytes())


def delete(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [(overwrite, "changed while", FileFormatError), (delete, "deleted while", NotFoundError)],
    ids=["changed", "deleted"],
)
def test_a_film_that_changes_while_it_is_read_is_not_stored(tmp_path, change, message, kind):
    path = tmp_path / "f.mp4"
    other = encode(tmp_path / "other.mp4", seed=5)

    def vector(pictures):
        change(path)
        return [pictures[0].image.mean()]

    extractor = Extractor("light", 1, ("light",), vector, rate=1.0)
    store = Store(tmp_path / "store")
    with pytest.raises(kind, match=rf"f\.mp4: {message}"):
        extract(film(encode(path)), [extractor], store=store, jobs=1, progress=False)

    clips = pd.concat([film(encode(path)).clips, film(other).clips], ignore_index=True)
    both = replace(film(other), clips=clips)
    table = extract(both, [extractor], store=store, on_error="skip", jobs=1, progress=False)
    assert table.clips == ("other:0000",)
    assert len(table.skipped) == 1
    assert message in table.skipped[0]
    assert len(list(store.root.glob("light/*.npy"))) == 1


@pytest.mark.parametrize("options", [{"missing": "nan"}, {"on_error": "ignore"}])
def test_unknown_options_are_refused(films, options):
    with pytest.raises(ValueError, match="expected"):
        extract(films, PICTURE, progress=False, **options)


def test_two_extractors_of_one_name_are_refused(films):
    with pytest.raises(ValueError, match="same name"):
        extract(films, [scene(), scene()], progress=False)


def test_a_film_becomes_segments(tmp_path):
    path = encode(tmp_path / "f.mp4", seconds=2.6, hertz=None)
    assert film(path, seconds=1.0).clips["start"].tolist() == [0, 1]
    assert film(path).clips["seconds"].tolist() == pytest.approx([2.56], abs=0.1)
    assert len(film(path, seconds=None)) == 1


def stored_features(root: Path, extractor: Extractor, films: int, clips: int) -> Corpus:
    """A corpus whose features are in the store already, so that nothing reads its films."""
    tables = []
    for i in range(films):
        path = root / f"film{i}.mp4"
        path.write_text(f"film {i}")
        table = pd.DataFrame({"clip": [f"film{i}:{j}" for j in range(clips)], "path": str(path)})
        tables.append(table.assign(start=np.arange(clips, dtype=float), seconds=1.0))
        place = Store(root / "store").place(path, extractor, range(clips), [1.0] * clips)
        place.save(np.full((clips, extractor.size), i + 0.5))
    table = pd.concat(tables, ignore_index=True).assign(group="", split="")
    annotations = pd.DataFrame(columns=["clip", "time", "valence", "arousal"])
    return Corpus("films", table, annotations, (), (0, 1), None, "", "", True)


@pytest.mark.parametrize("half", [False, True])
def test_features_are_held_once(tmp_path, half):
    extractor = Extractor("maps", 1, tuple(map(str, range(20_000))), vector=None, half=half)
    corpus = stored_features(tmp_path, extractor, films=16, clips=16)
    size = 16 * 16 * 20_000 * (2 if half else 4)
    tracemalloc.start()
    table = extract(corpus, [extractor], store=Store(tmp_path / "store"), progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table["maps"].nbytes == size
    assert table["maps"][:, 0].tolist() == np.repeat(np.arange(16) + 0.5, 16).tolist()
    # Beside the table there are the features of one film, read and checked.
    assert peak < 1.4 * size


def test_half_precision_is_kept_under_a_key_of_its_own_and_refuses_what_does_not_fit(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("a film")
    full = Extractor("maps", 1, ("a", "b"), vector=None)
    half = replace(full, half=True)
    store = Store(tmp_path / "store")
    places = [store.place(path, extractor, [0.0], [1.0]) for extractor in (full, half)]
    assert places[0].path != places[1].path
    for place in places:
        place.save(np.array([[1 / 3, np.nan]]))
    assert [place.load().dtype for place in places] == [np.float32, np.float16]
    assert places[1].load()[0, 0] == np.float16(1 / 3)
    assert np.isnan(places[1].load()[0, 1])
    with pytest.raises(ValueError, match="expected 2 finite values"):
        half._checked([70_000.0, 0.0])

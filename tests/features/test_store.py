"""Extraction as a whole: what is kept, what is refused, and what a kill or a second run does to it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest

from affectlib.corpora.base import CorpusFormatError, CorpusNotFoundError
from affectlib.features import Extractor, Store, descriptors, extract, film
from affectlib.features.audio import sound
from affectlib.features.motion import motion
from affectlib.features.visual import scene

PICTURE = (scene(), motion())


def encode(path, *, seconds=2.0, seed=0, rate=Fraction(25, 2), size=(64, 48), hertz=16000):
    """A film of noise whose light changes, with a tone; ``size=None`` for none, ``hertz=None`` for silence."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        video = (
            container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
            if size
            else None
        )
        audio = (
            container.add_stream("pcm_s16le" if size is None else "aac", rate=hertz)
            if hertz
            else None
        )
        if audio:
            audio.layout = "mono"
        if video:
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            for i in range(max(1, int(seconds * rate))):
                image = rng.integers(0, 40 + 10 * (i % 20), (size[1], size[0], 3), dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode(None))
        if audio:
            tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * hertz)) / hertz)
            frame = av.AudioFrame.from_ndarray(
                tone.astype(np.float32)[None], format="fltp", layout="mono"
            )
            frame.sample_rate = hertz
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def joined(corpora):
    """Several films as one corpus, its clips out of order."""
    clips = (
        pd.concat([c.clips for c in corpora]).sample(frac=1, random_state=0).reset_index(drop=True)
    )
    return replace(corpora[0], name="films", clips=clips)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return joined(
        [film(encode(folder / f"f{i}.mp4", seconds=3, seed=i), seconds=1.0) for i in range(4)]
    )


@pytest.fixture(scope="module")
def table(films):
    return extract(films, PICTURE, jobs=1, progress=False)


def same(a, b):
    return a.clips == b.clips and all(np.array_equal(a[name], b[name]) for name in a.arrays)


def test_the_table_follows_the_corpus(films, table):
    assert table.clips == tuple(films.clips["clip"]) and table.sizes == {"scene": 76, "motion": 34}
    assert table["scene"].dtype == np.float32 and table["scene"].shape == (12, 76)
    assert len(np.unique(table["scene"][:, 4])) == 12
    row = 5
    alone = extract(films.select([row]), PICTURE, jobs=1, progress=False)
    assert np.array_equal(alone["motion"][0], table["motion"][row])
    few = table.select(np.arange(12) % 5 == 0)
    assert few.clips == (table.clips[0], table.clips[5], table.clips[10])
    assert np.array_equal(few["scene"], table["scene"][[0, 5, 10]])
    with pytest.raises(KeyError, match="there are scene, motion"):
        table["face"]


def test_processes_and_dask_give_the_same(films, table):
    from dask.distributed import Client

    assert same(extract(films, PICTURE, jobs=2, progress=False), table)
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as client:
        assert same(extract(films, PICTURE, client=client, progress=False), table)


def counting(name="count", version=1, seen=None, **options):
    def vector(pictures, **_):
        seen.append(len(pictures))
        return [pictures[0].image.mean(), len(pictures)]

    return Extractor(
        name, version, ("light", "looks"), vector, rate=2.0, options=tuple(options.items())
    )


def test_the_store_serves_until_something_changes(films, tmp_path):
    seen, store = [], Store(tmp_path)

    def computed(corpus, *extractors):
        seen.clear()
        extract(corpus, extractors, store=store, jobs=1, progress=False)
        return len(seen)

    assert computed(films, counting(seen=seen)) == 12
    assert computed(films, counting(seen=seen)) == 0
    assert computed(films, counting(seen=seen, version=2)) == 12
    assert computed(films, counting(seen=seen, hop=0.1)) == 12
    assert (
        computed(films.select(films.clips["start"] > 0), counting(seen=seen)) == 8
    )  # other segments
    path = encode(tmp_path / "own.mp4", seconds=2)
    assert computed(film(path), counting(seen=seen)) == 1
    path.rename(tmp_path / "other.mp4")
    assert computed(film(tmp_path / "other.mp4"), counting(seen=seen)) == 0  # same content
    assert computed(film(encode(path, seconds=2, seed=9)), counting(seen=seen)) == 1  # same name


def test_a_damaged_store_says_which_file_to_delete(films, tmp_path):
    store = Store(tmp_path)
    extract(films, [scene()], store=store, jobs=1, progress=False)
    kept = sorted((tmp_path / "scene").iterdir())
    assert len(kept) == 4
    for damage in (b"", kept[0].read_bytes()[:200], b"\x93NUMPY nonsense"):
        kept[0].write_bytes(damage)
        with pytest.raises(CorpusFormatError, match=f"{kept[0].name}.*delete this file"):
            extract(films, [scene()], store=store, jobs=1, progress=False)
    kept[0].unlink()
    assert len(extract(films, [scene()], store=store, jobs=1, progress=False)) == 12


SCRIPT = textwrap.dedent("""
    import hashlib, sys, time
    from pathlib import Path
    from dataclasses import replace
    from affectlib.features import Store, extract, film
    from affectlib.features.visual import scene, scene_vector
    pause, store, *paths = sys.argv[1:]
    def slow(pictures):
        time.sleep(float(pause))
        return scene_vector(pictures)
    one = replace(scene(), vector=slow)
    for path in paths:
        table = extract(film(path, seconds=1.0), [one], store=Store(store), jobs=1, progress=False)
        print(hashlib.sha256(table["scene"].tobytes()).hexdigest())
""")


def run(pause, store, corpus):
    arguments = [
        sys.executable,
        "-c",
        SCRIPT,
        str(pause),
        str(store),
        *sorted(set(corpus.clips["path"])),
    ]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_a_killed_run_resumes_and_gives_the_same(films, table, tmp_path):
    process = run(0.2, tmp_path, films)
    deadline = time.time() + 60
    while len(list(tmp_path.glob("scene/*.npy"))) < 2 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(list(tmp_path.glob("scene/*.npy"))) in (2, 3)  # in the middle
    resumed = extract(films, [scene()], store=Store(tmp_path), jobs=1, progress=False)
    assert np.array_equal(resumed["scene"], table["scene"])
    assert len(list(tmp_path.glob("scene/*.npy"))) == 4


def test_two_runs_at_once_agree(films, tmp_path):
    both = [run(0.0, tmp_path, films) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert printed[0] == printed[1] and len(printed[0].split()) == 4
    assert len(list(tmp_path.glob("scene/*"))) == 4 and not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.mkv", {"rate": Fraction(24000, 1001)}),
        ("a.mov", {"size": (48, 96)}),
        ("a.mp4", {"hertz": 8000}),
        ("a.mp4", {"seconds": 0.7}),
    ],
)
def test_any_film_is_described(tmp_path, name, options):
    corpus = film(encode(tmp_path / name, **options))
    found = extract(corpus, descriptors(), jobs=1, progress=False)
    assert len(found) == 1 and not found.simulated and not found.missing
    assert all(np.isfinite(array).all() for array in found.arrays.values())


def test_what_a_film_lacks_is_said(tmp_path):
    silent = film(encode(tmp_path / "silent.mp4", hertz=None))
    with pytest.raises(
        CorpusFormatError, match=r"silent\.mp4.*sound needs sound, clip silent:0000"
    ):
        extract(silent, [scene(), sound()], jobs=1, progress=False)
    found = extract(silent, [scene(), sound()], missing="zeros", jobs=1, progress=False)
    assert (
        found.missing == {"sound": ("silent:0000",)}
        and not found["sound"].any()
        and found["scene"].any()
    )

    wav = film(encode(tmp_path / "only.wav", size=None))
    assert extract(wav, [sound()], jobs=1, progress=False)["sound"].any()
    with pytest.raises(CorpusFormatError, match=r"only\.wav.*scene needs a frame"):
        extract(wav, [scene()], jobs=1, progress=False)

    one = film(encode(tmp_path / "one.mp4", seconds=0.08, hertz=None))
    assert extract(one, PICTURE, missing="zeros", jobs=1, progress=False).missing == {
        "motion": ("one:0000",)
    }


def test_sound_that_nearly_lasts_is_filled_up_with_silence(tmp_path):
    e = Extractor("heard", 1, ("samples", "last"), heard, sound=True, shortest=0.975, padded=0.5)
    path = encode(tmp_path / "f.mp4", seconds=3.0)
    spans = {"whole": 1.0, "nearly": 0.9, "half": 0.5}
    clips = pd.concat([film(path, seconds=1.0).clips[:1]] * 3, ignore_index=True)
    corpus = replace(film(path), clips=clips.assign(clip=list(spans), seconds=list(spans.values())))
    table = extract(corpus, [e], jobs=1, progress=False)["heard"]
    assert (
        table[:, 0].tolist() == [16000, 15600, 15600]
        and table[0, 1] != 0 == table[1, 1] == table[2, 1]
    )
    short = replace(corpus, clips=corpus.clips[:1].assign(clip="short", seconds=0.4))
    with pytest.raises(
        CorpusFormatError, match=r"f\.mp4: .*heard needs 0\.487 s of sound, clip short has 0\.4 s"
    ):
        extract(short, [e], jobs=1, progress=False)
    assert extract(short, [e], missing="zeros", jobs=1, progress=False).missing == {
        "heard": ("short",)
    }
    with pytest.raises(CorpusFormatError, match=r"needs 0\.975 s of sound, clip nearly has 0\.9 s"):
        extract(corpus, [replace(e, padded=1.0)], jobs=1, progress=False)
    store = Store(tmp_path)
    assert store.path(path, e, [0.0], [1.0]) != store.path(
        path, replace(e, padded=1.0), [0.0], [1.0]
    )


def heard(signal):
    return len(signal), signal[-1]


def test_damaged_films_raise_or_are_skipped_and_leave_nothing(films, tmp_path):
    bad = encode(tmp_path / "bad.mp4", seconds=3)
    broken = film(bad, seconds=1.0)
    bad.write_bytes(bad.read_bytes()[:3000])
    both, store = joined([films, broken]), Store(tmp_path / "store")
    with pytest.raises(CorpusFormatError, match=r"bad\.mp4"):
        extract(both, PICTURE, store=store, jobs=1, progress=False)
    found = extract(both, PICTURE, store=store, on_error="skip", jobs=1, progress=False)
    assert len(found) == 12 and len(found.skipped) == 1 and "bad.mp4" in found.skipped[0]
    assert not any(clip.startswith("bad") for clip in found.clips) and len(found["scene"]) == 12
    assert len(list(tmp_path.glob("store/scene/*"))) == 4
    bad.unlink()
    with pytest.raises(CorpusNotFoundError, match=r"bad\.mp4"):
        extract(broken, PICTURE, store=store, jobs=1, progress=False)


def test_a_film_that_changes_while_it_is_read_is_not_stored(tmp_path):
    path, other, store = (
        tmp_path / "f.mp4",
        encode(tmp_path / "other.mp4", seed=5),
        Store(tmp_path / "store"),
    )

    def one(change):
        def vector(pictures):
            change()
            return [pictures[0].image.mean()]

        return Extractor("light", 1, ("light",), vector, rate=1.0)

    for change, said, kind in (
        (lambda: path.write_bytes(other.read_bytes()), "changed while", CorpusFormatError),
        (lambda: path.unlink(missing_ok=True), "deleted while", CorpusNotFoundError),
    ):
        both = joined([film(encode(path)), film(other)])
        both = both.select(np.argsort(both.clips["group"]))
        with pytest.raises(kind, match=rf"f\.mp4: {said}"):
            extract(
                both.select(both.clips["group"] == "f"),
                [one(change)],
                store=store,
                jobs=1,
                progress=False,
            )
        encode(path)
        found = extract(both, [one(change)], store=store, on_error="skip", jobs=1, progress=False)
        assert (
            found.clips == ("other:0000",) and said in found.skipped[0] and len(found.skipped) == 1
        )
        assert len(list(store.root.glob("light/*.npy"))) == 1
        next(store.root.glob("light/*.npy")).unlink()


def test_options_are_checked(films):
    for options in ({"missing": "nan"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match="expected"):
            extract(films, PICTURE, progress=False, **options)
    with pytest.raises(ValueError, match="same name"):
        extract(films, [scene(), scene()], progress=False)


def test_a_film_becomes_segments(tmp_path):
    path = encode(tmp_path / "f.mp4", seconds=2.6, hertz=None)
    assert film(path, seconds=1.0).clips["start"].tolist() == [0, 1]
    assert film(path).clips["seconds"].tolist() == pytest.approx([2.56], abs=0.1)
    assert len(film(path, seconds=None)) == 1

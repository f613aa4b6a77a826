"""Extraction under load: one pass for all, batches, a long film, films that fail, processes that die."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest

from affectlib import media
from affectlib.features import Extractor, Store, extract, film

MODULE = sys.modules["affectlib.features.work"]
HELPERS = textwrap.dedent("""
    import os, signal, time
    from affectlib.features import Extractor

    def light(pictures, pause=0.0, log=""):
        value = pictures[0].image.mean()
        time.sleep(pause)
        if log:
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {value:.3f}\\n")
        return [value, len(pictures)]

    def deadly(pictures, above=200):
        if pictures[0].image.mean() > above:
            os.kill(os.getpid(), signal.SIGKILL)
        return light(pictures)

    def starve(pictures, above=200):
        if pictures[0].image.mean() > above:
            raise MemoryError("no more")
        return light(pictures)

    def leave(*_):
        os._exit(1)

    def one(vector, **options):
        return Extractor("light", 1, ("light", "looks"), vector, rate=2.0, options=tuple(options.items()))
""")


def encode(path, levels, *, size=(64, 48), rate=2, noise=0):
    """A film whose frames have these grey levels."""
    rng = np.random.default_rng(len(levels))
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=Fraction(rate), options={"preset": "ultrafast"}
        )
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for level in levels:
            image = np.full((size[1], size[0], 3), level, np.uint8)
            if noise:
                image += rng.integers(0, noise, image.shape, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    return path


def joined(corpora):
    clips = pd.concat([c.clips for c in corpora]).reset_index(drop=True)
    return replace(corpora[0], name="films", clips=clips)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six films of two clips, each of a grey of its own; the last is light in its second clip only."""
    folder = tmp_path_factory.mktemp("films")
    levels = [[40 + 40 * i] * 4 for i in range(5)] + [[100, 100, 240, 240]]
    return joined(
        [film(encode(folder / f"f{i}.mp4", grey), seconds=1.0) for i, grey in enumerate(levels)]
    )


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """A module that worker processes can import."""
    (tmp_path / "extract_helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(tmp_path)
    import extract_helpers

    yield extract_helpers
    del sys.modules["extract_helpers"]


def means(pictures):
    following = [p.following.mean() for p in pictures if p.following is not None]
    return [
        pictures[0].image.mean(),
        pictures[0].image.std(),
        pictures[-1].image.shape[1],
        sum(following),
    ]


def test_one_pass_gives_what_a_pass_for_each_gives(tmp_path):
    path = encode(tmp_path / "a.mp4", range(0, 180, 10), size=(160, 96), rate=6, noise=60)
    looks = {
        "small": (2.0, 64, False),
        "odd": (3.0, 100, False),
        "pairs": (2.0, 100, True),
        "whole": (1.0, None, False),
    }
    four = [
        Extractor(name, 1, tuple("abcd"), means, rate=rate, side=side, pairs=pairs)
        for name, (rate, side, pairs) in looks.items()
    ]
    corpus = film(path, seconds=1.0)
    together = extract(corpus, four, jobs=1, progress=False)
    for e in four:
        values = slice(
            4 if e.pairs else 3
        )  # a frame that another extractor asked for may be seen, not used
        assert np.array_equal(
            extract(corpus, [e], jobs=1, progress=False)[e.name][:, values],
            together[e.name][:, values],
        )
    assert [together[e.name][0, 2] for e in four] == [64, 100, 100, 160]
    assert together["pairs"][:, 3].all() and not together["whole"][:, 3].any()


def many(clips):
    calls.append([len(pictures) for pictures in clips])
    return np.stack([means(pictures) for pictures in clips])


calls = []


def test_networks_get_clips_of_several_films_at_once_and_the_numbers_stay(
    films, monkeypatch, tmp_path
):
    alone = Extractor("e", 1, tuple("abcd"), means, rate=2.0)
    batched = replace(alone, many=many)
    calls.clear()
    table = extract(films, [batched], jobs=1, progress=False)
    assert np.array_equal(table["e"], extract(films, [alone], jobs=1, progress=False)["e"])
    assert [sum(map(len, calls)), max(map(len, calls))] == [12, 12]  # one call for all six films
    calls.clear()
    monkeypatch.setattr(MODULE, "BATCH", 64 * 48 * 3 * 2 * 3)  # three clips of two frames
    assert np.array_equal(extract(films, [batched], jobs=1, progress=False)["e"], table["e"])
    assert [len(call) for call in calls] == [3] * 4
    key = [Store(tmp_path).path(films.clips["path"][0], e, [0.0], [1.0]) for e in (alone, batched)]
    assert key[0] == key[1]


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda clips: np.zeros((1, 4)), "expected 12 rows, one per clip, got 1"),
        (lambda clips: np.zeros((len(clips), 3)), r"expected 4 finite values, got shape \(3,\)"),
        (lambda clips: np.full((len(clips), 4), np.nan), "expected 4 finite values"),
    ],
)
def test_what_a_network_gives_is_checked(films, wrong, said):
    e = Extractor("e", 1, tuple("abcd"), means, rate=2.0, many=wrong)
    clips = [
        clip
        for path in dict.fromkeys(films.clips["path"])
        for clip in media.clips(path, [0.0, 1.0], [1.0, 1.0], rates=[2.0])
    ]
    with pytest.raises(ValueError, match=said):
        e.batch(clips)


def first(clips):
    return [[pictures[0].time] for pictures in clips]


def test_a_long_film_is_never_whole_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "BATCH", 2**20)
    size, seconds = (320, 240), 900
    path = encode(tmp_path / "long.mp4", [i % 250 for i in range(seconds)], size=size, rate=1)
    e = Extractor("e", 1, ("time",), lambda p: first([p])[0], rate=1.0, many=first)
    corpus = film(path, seconds=3.0)
    gc.collect()
    tracemalloc.start()
    table = extract(corpus, [e], jobs=1, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["e"][:, 0].tolist() == [3 * i for i in range(300)]
    whole = seconds * size[0] * size[1] * 3
    assert peak < whole / 20, f"{peak / 2**20:.0f} of {whole / 2**20:.0f} MiB"


def refuses(pictures, above=200):
    if pictures[0].image.mean() > above:
        raise MemoryError("no more")
    return means(pictures)


def refuses_many(clips):
    return [refuses(pictures) for pictures in clips]


@pytest.mark.parametrize("together", [None, refuses_many])
def test_a_clip_that_fails_is_named_and_the_rest_goes_on(films, tmp_path, together):
    e = Extractor("e", 1, tuple("abcd"), refuses, rate=2.0, many=together)
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match=r"f5\.mp4, clip at 1 s, e: MemoryError: no more"):
        extract(films, [e], store=store, jobs=1, progress=False)
    assert len(list(tmp_path.glob("e/*.npy"))) == 6
    found = extract(films, [e], store=store, on_error="skip", jobs=1, progress=False)
    assert found.clips == tuple(films.clips["clip"][:11])
    assert (
        len(found.skipped) == 1
        and found.skipped[0].startswith("f5:0001: ")
        and "f5.mp4" in found.skipped[0]
    )
    calls.clear()
    again = extract(
        films, [replace(e, vector=means, many=many)], store=store, jobs=1, progress=False
    )
    assert calls == [[2]] and again.clips == tuple(films.clips["clip"])  # what failed, nothing else
    alone = Extractor("e", 1, tuple("abcd"), means, rate=2.0)
    assert np.array_equal(again["e"], extract(films, [alone], jobs=1, progress=False)["e"])


@pytest.mark.parametrize("some", [slice(None), slice(10, 12)], ids=["films", "one film"])
def test_a_process_that_dies_costs_its_own_clip_only(films, tmp_path, helpers, monkeypatch, some):
    monkeypatch.setattr(MODULE, "_apart", lambda parts: True)
    e, store, films = (
        helpers.one(helpers.deadly),
        Store(tmp_path / "store"),
        films.select(np.arange(12)[some]),
    )
    found = extract(films, [e], store=store, on_error="skip", jobs=2, progress=False)
    assert found.clips == tuple(films.clips["clip"][:-1])
    assert (
        len(found.skipped) == 1 and "f5:0001: " in found.skipped[0] and "killed" in found.skipped[0]
    )
    assert len(list(tmp_path.glob("store/light/*.npy"))) == len(films) // 2
    with pytest.raises(RuntimeError, match=r"f5\.mp4, clip at 1 s.*killed"):
        extract(films, [e], jobs=2, progress=False)


def test_the_clip_that_kills_is_found_among_many(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(MODULE, "_apart", lambda parts: True)
    corpus = film(
        encode(tmp_path / "f.mp4", [[100, 240][i // 2 in (3, 10)] for i in range(24)]), seconds=1.0
    )
    found = extract(corpus, [helpers.one(helpers.deadly)], on_error="skip", jobs=2, progress=False)
    assert [text.split(": ")[0] for text in found.skipped] == ["f:0003", "f:0010"]
    assert found.clips == tuple(c for i, c in enumerate(corpus.clips["clip"]) if i not in (3, 10))
    monkeypatch.setattr(MODULE, "GIVEN_UP", 1)
    assert (
        0
        < len(
            extract(corpus, [helpers.one(helpers.deadly)], on_error="skip", jobs=2, progress=False)
        )
        < 10
    )


def test_what_only_this_process_knows_is_done_in_it(films, helpers):
    here = Extractor("light", 1, ("light", "looks"), lambda pictures: [os.getpid(), 0.0], rate=2.0)
    assert (
        extract(films, [here], jobs=2, progress=False)["light"][:, 0] == np.float32(os.getpid())
    ).all()
    one = helpers.one(helpers.light)
    parts = [MODULE.Part("f.mp4", (e,), [0.0], [1.0], (0,)) for e in (one, here)]
    assert MODULE._apart([parts[0]] * 2) and not MODULE._apart([parts[1]] * 2)


def test_where_no_process_starts_no_film_is_blamed(films, helpers, monkeypatch):
    monkeypatch.setattr(MODULE, "_die_with_parent", helpers.leave)
    with pytest.raises(RuntimeError, match="processes cannot be started here"):
        extract(films, [helpers.one(helpers.light)], on_error="skip", jobs=2, progress=False)


def test_the_bar_tells_clips_rate_and_what_was_there(films, tmp_path, capsys):
    e = Extractor("e", 1, tuple("abcd"), means, rate=2.0)
    extract(films.select(np.arange(12) < 4), [e], store=Store(tmp_path), jobs=1)
    extract(films, [e], store=Store(tmp_path), jobs=1)
    text = capsys.readouterr().err
    assert "12/12" in text and "4/12" in text and "clip/s" in text


SCRIPT = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[1])
    import extract_helpers
    from affectlib.features import Store, extract, film
    from dataclasses import replace
    import pandas as pd
    if __name__ == "__main__":
        corpora = [film(path, seconds=1.0) for path in sys.argv[3:]]
        corpus = replace(corpora[0], clips=pd.concat([c.clips for c in corpora]).reset_index(drop=True))
        e = extract_helpers.one(extract_helpers.light, pause=0.1, log=sys.argv[1] + "/log")
        extract(corpus, [e], store=Store(sys.argv[2]), jobs=2, progress=False)
""")


def test_processes_killed_in_the_middle_go_on_where_they_were(films, tmp_path, helpers):
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [
        sys.executable,
        str(tmp_path / "run.py"),
        str(tmp_path),
        str(tmp_path / "store"),
        *sorted(set(films.clips["path"])),
    ]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.time() + 60
    while len(list(tmp_path.glob("store/light/*.npy"))) < 2 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("store/light/*.npy")}
    assert 2 <= len(kept) < 6
    log = tmp_path / "log"
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
    assert workers and process.pid not in workers
    log.unlink()
    e = helpers.one(helpers.light, pause=0.1, log=str(log))
    table = extract(films, [e], store=Store(tmp_path / "store"), jobs=1, progress=False)
    assert np.array_equal(
        table["light"],
        extract(films, [helpers.one(helpers.light)], jobs=1, progress=False)["light"],
    )
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("store/light/*.npy")}
    assert len(after) == 6 and kept.items() <= after.items()
    assert len(log.read_text().splitlines()) == 2 * (
        6 - len(kept)
    )  # what was there was not done again
    while any(alive(pid) for pid in workers) and time.time() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)  # and the orphans have left


LONG = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[1])
    import extract_helpers
    from affectlib.features import Store, extract, film, work
    work.KEEP = 0.3
    e = extract_helpers.one(extract_helpers.light, pause=0.05, log=sys.argv[1] + "/log")
    extract(film(sys.argv[3], seconds=1.0), [e], store=Store(sys.argv[2]), jobs=1, progress=False)
""")


def test_a_long_film_goes_on_in_the_middle(tmp_path, helpers):
    path, log = encode(tmp_path / "long.mp4", [i % 100 for i in range(160)]), tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-c", LONG, str(tmp_path), str(tmp_path / "store"), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.time() + 60
    while not list(tmp_path.glob("store/light/*.npy")) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = np.load(next(tmp_path.glob("store/light/*.npy")))
    there = int(np.isfinite(stored).all(1).sum())
    assert 0 < there < 80 and np.isfinite(stored[:there]).all()
    log.unlink()
    e, corpus = helpers.one(helpers.light, pause=0.05, log=str(log)), film(path, seconds=1.0)
    table = extract(corpus, [e], store=Store(tmp_path / "store"), jobs=1, progress=False)
    assert len(log.read_text().splitlines()) == 80 - there
    assert np.array_equal(
        table["light"], extract(corpus, [helpers.one(helpers.light)], progress=False)["light"]
    )


def alive(pid):
    """Whether a process runs; one that ended and was not asked for its status does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

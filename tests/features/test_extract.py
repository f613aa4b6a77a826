"""Extraction under load: one pass for all extractors, batches, a long film, failures, kills."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from affectlib import media
from affectlib.corpora import Corpus
from affectlib.features import Extractor, Store, extract, film, processes, work

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
HELPERS = textwrap.dedent("""
    import os, signal, time
    from affectlib.features import Extractor

    def light(pictures, log="", gate="", above=130):
        value = pictures[0].image.mean()
        # Light clips wait until the gate is there; before, they say which process waits.
        if gate and value > above and not os.path.exists(gate):
            with open(gate + ".waiting", "a") as file:
                file.write(f"{os.getpid()}\\n")
            while not os.path.exists(gate):
                time.sleep(0.01)
        if log:
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {value:.3f}\\n")
        return [value, len(pictures)]

    def deadly(pictures, above=200):
        if pictures[0].image.mean() > above:
            os.kill(os.getpid(), signal.SIGKILL)
        return light(pictures)

    def leave(*_):
        os._exit(1)

    def one(vector, **options):
        names = ("light", "looks")
        return Extractor("light", 1, names, vector, rate=2.0, options=tuple(options.items()))
""")


def encode(
    path: Path, levels: list[int], *, size: tuple = (64, 48), rate: int = 2, noise: int = 0
) -> Path:
    """A film whose frames have these grey levels."""
    rng = np.random.default_rng(len(levels))
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast"}
        video = container.add_stream("libx264", rate=Fraction(rate), options=options)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        for level in levels:
            image = np.full((size[1], size[0], 3), level, np.uint8)
            if noise:
                image += rng.integers(0, noise, image.shape, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    return path


def joined(corpora: list[Corpus]) -> Corpus:
    clips = pd.concat([corpus.clips for corpus in corpora]).reset_index(drop=True)
    return replace(corpora[0], name="films", clips=clips)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six films of two clips in six greys; only the second clip of the last is very light."""
    folder = tmp_path_factory.mktemp("films")
    levels = [[level] * 4 for level in (40, 80, 120, 160, 200)]
    levels.append([100, 100, 240, 240])
    corpora = []
    for i, greys in enumerate(levels):
        corpora.append(film(encode(folder / f"f{i}.mp4", greys), seconds=1.0))
    return joined(corpora)


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """A module that worker processes can import."""
    (tmp_path / "extract_helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(tmp_path)
    import extract_helpers

    yield extract_helpers
    del sys.modules["extract_helpers"]


def wait_until(condition: Callable[[], bool], run: subprocess.Popen | None = None) -> None:
    """Waits for a state of other processes; fails after two minutes, or when ``run`` has ended."""
    deadline = time.monotonic() + 120
    while not condition():
        assert run is None or run.poll() is None, "the run ended before"
        assert time.monotonic() < deadline, "the state never came"
        time.sleep(0.01)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def is_alive(pid: int) -> bool:
    """True while a process runs; one that ended and was not waited for does not run."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def means(pictures):
    following = [picture.following for picture in pictures if picture.following is not None]
    return [
        pictures[0].image.mean(),
        pictures[0].image.std(),
        pictures[-1].image.shape[1],
        sum(image.mean() for image in following),
    ]


MEANS = Extractor("e", 1, tuple("abcd"), means, rate=2.0)


def test_one_pass_for_all_gives_the_same_as_a_pass_for_each(tmp_path):
    path = encode(tmp_path / "a.mp4", range(0, 180, 10), size=(160, 96), rate=6, noise=60)
    extractors = [
        replace(MEANS, name="small", side=64),
        replace(MEANS, name="odd", rate=3.0, side=100),
        replace(MEANS, name="pairs", side=100, pairs=True),
        replace(MEANS, name="full size", rate=1.0, side=None),
    ]
    corpus = film(path, seconds=1.0)
    together = extract(corpus, extractors, jobs=1, progress=False)
    for extractor in extractors:
        alone = extract(corpus, [extractor], jobs=1, progress=False)[extractor.name]
        # An extractor without pairs may see the frames that follow for another, in column 3.
        columns = slice(4 if extractor.pairs else 3)
        np.testing.assert_array_equal(alone[:, columns], together[extractor.name][:, columns])
    widths = [together[extractor.name][0, 2] for extractor in extractors]
    assert widths == [64, 100, 100, 160]
    assert together["pairs"][:, 3].all()
    assert not together["full size"][:, 3].any()


calls = []


def many(clips):
    """The batched form of ``means``; writes down how many pictures each clip of a call has."""
    calls.append([len(pictures) for pictures in clips])
    return np.stack([means(pictures) for pictures in clips])


def test_networks_get_clips_of_several_films_in_one_call(films, monkeypatch):
    batched = replace(MEANS, many=many)
    expected = extract(films, [MEANS], jobs=1, progress=False)["e"]
    calls.clear()
    table = extract(films, [batched], jobs=1, progress=False)
    np.testing.assert_array_equal(table["e"], expected)
    assert [len(call) for call in calls] == [12]

    three_clips = 3 * 2 * 64 * 48 * 3  # bytes; each clip has two frames
    monkeypatch.setattr(work, "BATCH", three_clips)
    calls.clear()
    table = extract(films, [batched], jobs=1, progress=False)
    np.testing.assert_array_equal(table["e"], expected)
    assert [len(call) for call in calls] == [3] * 4


def test_the_batched_form_is_no_part_of_the_key(films, tmp_path):
    path = films.clips["path"][0]
    store = Store(tmp_path)
    batched = replace(MEANS, many=many)
    assert store.path(path, MEANS, [0.0], [1.0]) == store.path(path, batched, [0.0], [1.0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda clips: np.zeros((1, 4)), "expected 12 rows, one per clip, got 1"),
        (lambda clips: np.zeros((len(clips), 3)), r"expected 4 finite values, got shape \(3,\)"),
        (lambda clips: np.full((len(clips), 4), np.nan), "expected 4 finite values"),
    ],
    ids=["rows", "size", "nan"],
)
def test_the_values_of_a_network_are_checked(films, wrong, message):
    clips = []
    for path in films.clips["path"].unique():
        clips += media.clips(path, [0.0, 1.0], [1.0, 1.0], rates=[2.0])
    with pytest.raises(ValueError, match=message):
        replace(MEANS, many=wrong).batch(clips)


def first_times(clips):
    return [[pictures[0].time] for pictures in clips]


def first_time(pictures):
    return [pictures[0].time]


def test_a_long_film_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "BATCH", 2**20)
    size = (320, 240)
    seconds = 900
    levels = [i % 250 for i in range(seconds)]
    corpus = film(encode(tmp_path / "long.mp4", levels, size=size, rate=1), seconds=3.0)
    extractor = Extractor("e", 1, ("time",), first_time, rate=1.0, many=first_times)
    gc.collect()
    tracemalloc.start()
    table = extract(corpus, [extractor], jobs=1, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["e"][:, 0].tolist() == [3 * i for i in range(300)]
    pictures = seconds * size[0] * size[1] * 3
    assert peak < pictures / 20


def refuse(pictures, above=200):
    if pictures[0].image.mean() > above:
        raise MemoryError("no more")
    return means(pictures)


def refuse_many(clips):
    return [refuse(pictures) for pictures in clips]


@pytest.mark.parametrize("batched", [None, refuse_many], ids=["one by one", "batched"])
def test_a_clip_that_fails_is_named_and_the_rest_goes_on(films, tmp_path, batched):
    extractor = replace(MEANS, vector=refuse, many=batched)
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match=r"f5\.mp4, clip at 1 s, e: MemoryError: no more"):
        extract(films, [extractor], store=store, jobs=1, progress=False)
    assert len(list(tmp_path.glob("e/*.npy"))) == 6

    table = extract(films, [extractor], store=store, on_error="skip", jobs=1, progress=False)
    assert table.clips == tuple(films.clips["clip"][:11])
    assert len(table.skipped) == 1
    assert table.skipped[0].startswith("f5:0001: ")
    assert "f5.mp4" in table.skipped[0]

    calls.clear()
    better = replace(MEANS, many=many)
    table = extract(films, [better], store=store, jobs=1, progress=False)
    assert calls == [[2]]  # the clip that failed, and no other
    assert table.clips == tuple(films.clips["clip"])
    expected = extract(films, [MEANS], jobs=1, progress=False)["e"]
    np.testing.assert_array_equal(table["e"], expected)


@pytest.mark.parametrize("first", [0, 10], ids=["six films", "one film"])
def test_a_process_that_dies_costs_only_its_clip(films, tmp_path, helpers, monkeypatch, first):
    monkeypatch.setattr(processes, "_apart", lambda parts: True)
    corpus = films.select(np.arange(first, 12))
    extractor = helpers.one(helpers.deadly)
    store = Store(tmp_path / "store")
    table = extract(corpus, [extractor], store=store, on_error="skip", jobs=2, progress=False)
    assert table.clips == tuple(corpus.clips["clip"][:-1])
    assert len(table.skipped) == 1
    assert "f5:0001: " in table.skipped[0]
    assert "killed" in table.skipped[0]
    assert len(list(tmp_path.glob("store/light/*.npy"))) == len(corpus) // 2
    with pytest.raises(RuntimeError, match=r"f5\.mp4, clip at 1 s.*killed"):
        extract(corpus, [extractor], jobs=2, progress=False)


def film_with_two_deadly_clips(folder: Path) -> Corpus:
    """Twelve clips of two frames; the clips 3 and 10 are very light."""
    levels = [100] * 24
    for clip in (3, 10):
        levels[2 * clip : 2 * clip + 2] = [240, 240]
    return film(encode(folder / "f.mp4", levels), seconds=1.0)


def test_the_clips_that_kill_are_found_among_many(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(processes, "_apart", lambda parts: True)
    corpus = film_with_two_deadly_clips(tmp_path)
    extractor = helpers.one(helpers.deadly)
    table = extract(corpus, [extractor], on_error="skip", jobs=2, progress=False)
    assert [message.split(": ")[0] for message in table.skipped] == ["f:0003", "f:0010"]
    others = [clip for i, clip in enumerate(corpus.clips["clip"]) if i not in (3, 10)]
    assert table.clips == tuple(others)


def test_a_film_that_kills_too_often_is_given_up(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(processes, "_apart", lambda parts: True)
    monkeypatch.setattr(processes, "GIVEN_UP", 1)
    corpus = film_with_two_deadly_clips(tmp_path)
    extractor = helpers.one(helpers.deadly)
    table = extract(corpus, [extractor], on_error="skip", jobs=2, progress=False)
    assert 0 < len(table) < 10


def pid(pictures):
    return [os.getpid(), 0.0]


def test_extractors_that_others_cannot_import_run_in_this_process(films, helpers):
    here = Extractor("light", 1, ("light", "looks"), lambda p: pid(p), rate=2.0)
    table = extract(films, [here], jobs=2, progress=False)
    assert (table["light"][:, 0] == np.float32(os.getpid())).all()
    importable = work.Part("f.mp4", (helpers.one(helpers.light),), [0.0], [1.0], (0,))
    local = replace(importable, extractors=(here,))
    assert processes._apart([importable] * 2)
    assert not processes._apart([local] * 2)


def test_no_film_is_blamed_where_no_process_starts(films, helpers, monkeypatch):
    monkeypatch.setattr(processes, "die_with_parent", helpers.leave)
    extractor = helpers.one(helpers.light)
    with pytest.raises(RuntimeError, match="processes cannot be started here"):
        extract(films, [extractor], on_error="skip", jobs=2, progress=False)


def test_the_bar_counts_clips_and_those_in_the_store(films, tmp_path, capsys):
    store = Store(tmp_path)
    extract(films.select(np.arange(12) < 4), [MEANS], store=store, jobs=1)
    extract(films, [MEANS], store=store, jobs=1)
    text = capsys.readouterr().err
    assert "12/12" in text
    assert "4/12" in text
    assert "clip/s" in text


SCRIPT = textwrap.dedent("""
    import sys
    folder, store, *paths = sys.argv[1:]
    sys.path.insert(0, folder)
    import extract_helpers
    from affectlib.features import Store, extract, film
    from dataclasses import replace
    import pandas as pd
    if __name__ == "__main__":
        corpora = [film(path, seconds=1.0) for path in paths]
        clips = pd.concat([corpus.clips for corpus in corpora]).reset_index(drop=True)
        corpus = replace(corpora[0], clips=clips)
        options = {"log": folder + "/log", "gate": folder + "/gate"}
        e = extract_helpers.one(extract_helpers.light, **options)
        extract(corpus, [e], store=Store(store), jobs=2, progress=False)
""")


def test_a_killed_run_goes_on_where_it_was_and_leaves_no_process(films, tmp_path, helpers):
    log = tmp_path / "log"
    gate = tmp_path / "gate"
    waiting = tmp_path / "gate.waiting"
    store = tmp_path / "store"

    def stored() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in store.glob("light/*.npy")}

    (tmp_path / "run.py").write_text(SCRIPT)
    paths = sorted(films.clips["path"].unique())
    arguments = [tmp_path / "run.py", tmp_path, store, *paths]
    run = subprocess.Popen([sys.executable, *map(str, arguments)], env=ONE_THREAD)
    # Three films are dark: they are done. Each of the two workers waits at one of the others.
    wait_until(lambda: len(stored()) == 3 and len(lines_of(waiting)) == 2, run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    workers = {int(line) for line in lines_of(waiting)}
    assert len(workers) == 2
    assert run.pid not in workers
    wait_until(lambda: not any(is_alive(worker) for worker in workers))

    before = stored()
    log.unlink()
    gate.touch()
    extractor = helpers.one(helpers.light, log=str(log), gate=str(gate))
    table = extract(films, [extractor], store=Store(store), jobs=1, progress=False)
    expected = extract(films, [helpers.one(helpers.light)], jobs=1, progress=False)
    np.testing.assert_array_equal(table["light"], expected["light"])
    assert len(stored()) == 6
    assert before.items() <= stored().items()
    assert len(lines_of(log)) == 6  # the clips of the three films that were not done


LONG = textwrap.dedent("""
    import sys
    folder, store, path = sys.argv[1:]
    sys.path.insert(0, folder)
    import extract_helpers
    from affectlib.features import Store, extract, film, work
    work.KEEP = -1  # seconds: after every clip
    options = {"log": folder + "/log", "gate": folder + "/gate"}
    e = extract_helpers.one(extract_helpers.light, **options)
    extract(film(path, seconds=1.0), [e], store=Store(store), jobs=1, progress=False)
""")


def test_a_long_film_goes_on_in_the_middle(tmp_path, helpers):
    log = tmp_path / "log"
    gate = tmp_path / "gate"
    store = tmp_path / "store"
    dark = 30  # clips of two frames; the clips after them are light and wait
    path = encode(tmp_path / "long.mp4", [50] * 2 * dark + [200] * 40)
    arguments = [str(tmp_path), str(store), str(path)]
    run = subprocess.Popen([sys.executable, "-c", LONG, *arguments], env=ONE_THREAD)
    wait_until((tmp_path / "gate.waiting").exists, run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    stored = np.load(next(store.glob("light/*.npy")))
    assert np.isfinite(stored[:dark]).all()
    assert np.isinf(stored[dark:]).all()

    log.unlink()
    gate.touch()
    extractor = helpers.one(helpers.light, log=str(log), gate=str(gate))
    corpus = film(path, seconds=1.0)
    table = extract(corpus, [extractor], store=Store(store), jobs=1, progress=False)
    assert len(lines_of(log)) == 20
    expected = extract(corpus, [helpers.one(helpers.light)], jobs=1, progress=False)
    np.testing.assert_array_equal(table["light"], expected["light"])

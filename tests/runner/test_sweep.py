"""Many machines, played by processes on the loopback: a scheduler, two workers, one of which is killed in the middle.

And sweeps: a grid of parameters over a small notebook, here and on the cluster.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import nbformat
import numpy as np
import pandas as pd
import pytest

from affectlib import corpora, paths
from affectlib.features import Extractor, FeatureTable, Store, extract, extractors, film
from affectlib.runner import reproduce
from affectlib.runner import sweep as module
from affectlib.simulate import make_mediaeval18

N = 12
HELPERS = """
import os, time
from affectlib.features import Extractor

def light(pictures, log=""):
    value = pictures[0].image.mean()
    if log:
        time.sleep(0.2)
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {value:.2f}\\n")
    return [value]

def extractor(log=""):
    return Extractor("light", 1, ("light",), light, rate=1.0, options=(("log", log),))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dask")
    (path / "dask_helpers.py").write_text(HELPERS)
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))


@pytest.fixture(scope="module")
def corpus(folder):
    """Films of one clip, each of a grey of its own."""
    corpora = []
    for i in range(N):
        with av.open(str(folder / f"f{i:02d}.mp4"), "w") as container:
            video = container.add_stream(
                "libx264", rate=Fraction(2), options={"preset": "ultrafast"}
            )
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            image = np.full((48, 64, 3), 20 + 15 * i, np.uint8)
            for _ in range(4):
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode(None))
        corpora.append(film(folder / f"f{i:02d}.mp4"))
    return replace(
        corpora[0], name="films", clips=pd.concat([c.clips for c in corpora]).reset_index(drop=True)
    )


@pytest.fixture(scope="module")
def cluster(folder):
    """Address of a scheduler, and its two workers as processes."""
    from dask.distributed import Client

    environment = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{paths.ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    start = [sys.executable, "-m", "dask"]
    file = folder / "scheduler.json"
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "env": environment,
        "cwd": folder,
    }
    # The workers wait for the scheduler's file: all three start at once.
    processes = [
        subprocess.Popen(
            [
                *start,
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                str(file),
            ],
            **quiet,
        )
    ]
    processes += [
        subprocess.Popen(
            [
                *start,
                "worker",
                "--scheduler-file",
                str(file),
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--memory-limit",
                "0",
                "--host",
                "127.0.0.1",
            ],
            **quiet,
        )
        for _ in range(2)
    ]
    deadline = time.time() + 60
    while not file.is_file() and time.time() < deadline:
        time.sleep(0.05)
    try:
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def notebook(path, body):
    """A notebook with two parameters that writes metrics.json as those of the papers do."""
    cells = [
        nbformat.v4.new_code_cell("a: int = 1\nb: float = 0.5", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import json, os\nfrom pathlib import Path\n"
            + body
            + (
                "\nfolder = Path(os.environ['AFFECTLIB_FIGURES']) / 'tiny'\nfolder.mkdir(parents=True, exist_ok=True)"
                "\nmetrics = {'sum': {'mean': a + b, 'low': a, 'high': a + 2 * b}}"
                "\ntext = json.dumps({'metrics': metrics, 'headline': ['sum']})"
                "\n(folder / 'metrics.json').write_text(text)"
            )
        ),
    ]
    book = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(book, path)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A notebook of its own, in a checkout with no other; it fails for a = 3."""
    monkeypatch.setattr(reproduce, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    notebook(tmp_path / "01_tiny.ipynb", "if a == 3:\n    raise ValueError('three is refused')")
    return tmp_path / "cache" / "sweeps" / "tiny"


def test_a_worker_killed_in_the_middle_loses_no_clip(folder, corpus, cluster):
    import dask_helpers

    address, workers = cluster
    log = folder / "log"
    script = (
        "import sys, time, os, signal\n"
        "log, pid = sys.argv[1], int(sys.argv[2])\n"
        "while not os.path.exists(log) or sum(int(l.split()[0]) == pid for l in open(log)) < 2:\n"
        "    time.sleep(0.02)\n"
        "os.kill(pid, signal.SIGKILL)\n"
    )
    killer = subprocess.Popen([sys.executable, "-c", script, str(log), str(workers[0].pid)])
    try:
        table = extract(
            corpus,
            [dask_helpers.extractor(str(log))],
            store=Store(folder / "store"),
            client=address,
            progress=False,
        )
    finally:
        killer.kill()
        killer.wait()
    assert workers[0].wait(timeout=10) == -signal.SIGKILL and workers[1].poll() is None
    expected = [20 + 15 * i for i in range(N)]
    assert table["light"][:, 0] == pytest.approx(expected, abs=3) and not table.skipped
    assert len(list((folder / "store" / "light").glob("*.npy"))) == N
    done = pd.DataFrame(
        [line.split() for line in log.read_text().splitlines()], columns=["pid", "film"]
    )
    assert set(done["pid"]) == {str(worker.pid) for worker in workers}
    twice = done[done["film"].duplicated(keep=False)]
    assert done["film"].nunique() == N
    # Done twice was only what the lost worker had done and not yet handed over.
    assert len(done) <= N + 2 and set(twice.groupby("film")["pid"].first()) <= {str(workers[0].pid)}
    log.unlink()
    again = extract(
        corpus, [dask_helpers.extractor(str(log))], store=Store(folder / "store"), progress=False
    )
    assert np.array_equal(again["light"], table["light"]) and not log.exists()


def test_a_sweep_on_the_cluster(tiny, cluster):
    table = module.sweep("tiny", {"a": [2]}, client=cluster[0], progress=False)
    assert table["sum"].tolist() == [2.5]


def test_a_film_that_kills_its_workers_is_named(corpus, monkeypatch):
    from dask.distributed import Client, KilledWorker

    extraction = sys.modules["affectlib.features.work"]
    described = extraction._described

    def deadly(films):
        if any("f03" in part.path for part in films):
            raise KilledWorker("describe", SimpleNamespace(address="tcp://elsewhere"), 3)
        return described(films)

    monkeypatch.setattr(extraction, "_described", deadly)
    e = Extractor("light", 1, ("light",), lambda pictures: [pictures[0].image.mean()], rate=1.0)
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as client:
        table = extract(corpus, [e], client=client, on_error="skip", progress=False)
        assert len(table) == N - 1 and len(table.skipped) == 1 and "f03.mp4" in table.skipped[0]
        with pytest.raises(RuntimeError, match=r"f03\.mp4.*killed"):
            extract(corpus, [e], client=client, progress=False)


def test_a_sweep_runs_every_point_once(tiny, monkeypatch):
    grid = {"a": [1, 3], "b": [1]}
    with pytest.raises(
        module.SweepError, match=r"1 of 2 points of tiny failed:\n.*'a': 3.*three is refused"
    ):
        module.sweep("tiny", grid, progress=False)
    table = pd.read_csv(tiny / "sweep.csv")
    assert table[["a", "b", "sum", "sum, low"]].to_numpy().tolist() == [[1, 1, 2, 1]]
    for key in table["key"]:
        names = {
            path.relative_to(tiny / key).as_posix()
            for path in (tiny / key).rglob("*")
            if path.is_file()
        }
        assert names == {"01_tiny.ipynb", "tiny/metrics.json"}
    monkeypatch.setattr(module, "run", lambda job: pytest.fail(f"{job.parameters} ran again"))
    assert module.sweep("tiny", {"a": [1], "b": [1]}, progress=False)["sum"].tolist() == [2]


@pytest.mark.parametrize(
    "grid, said",
    [
        ({"c": [1]}, "no parameter 'c'; it has a, b"),
        ({"a": ["1"]}, "a='1' is str"),
        ({"a": 1}, "list of values"),
        ({"a": []}, "list of values"),
        (None, "no such grid"),
        ("nowhere.yaml", "no such grid"),
    ],
)
def test_a_grid_is_checked_before_anything_runs(tiny, grid, said):
    with pytest.raises(reproduce.ParameterError, match=said):
        module.sweep("tiny", grid, progress=False)
    with pytest.raises(reproduce.ParameterError, match=r"no notebook 'other'; there are tiny"):
        module.sweep("other", {"a": [1]}, progress=False)
    assert not tiny.exists()


@pytest.mark.parametrize(
    "file", sorted((reproduce.NOTEBOOKS / "sweeps").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_papers_grids_fit_their_notebooks(file):
    notebook, points = reproduce.find_notebooks()[file.stem], module._points(file.stem, None)
    given = [reproduce.checked_parameters(notebook, point) for point in points]
    assert len({str(parameters) for parameters in given}) == len(points) > 1


def test_make_gets_plain_errors(capsys):
    assert module.main(["extract", "name=nothing", "root="]) == 2
    assert module.main(["sweep", "slug=nothing", "grid={a: [1]}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "no corpus and no film 'nothing'" in said[0] and "no notebook 'nothing'" in said[1]


def test_make_extracts_a_film_into_the_store(folder, corpus, monkeypatch, capsys):
    monkeypatch.setattr(paths, "CACHE", folder / "cache")
    assert (
        module.main(["extract", f"name={folder / 'f00.mp4'}", "extractors=scene,sound", "jobs=1"])
        == 0
    )
    said = capsys.readouterr()
    assert (
        "1 clips, scene 76, sound 162" in said.out
        and "sound: 1 clips lack what it needs" in said.err
    )
    assert len(list((folder / "cache" / "features" / "scene").iterdir())) == 1
    assert module.main(["extract", f"name={folder / 'f00.mp4'}", "extractors=scenes"]) == 2


@pytest.mark.parametrize("name", ["Alien: Covenant.mp4", "1917", "no", "[REC].mp4", "a=b # c.mp4"])
def test_make_takes_names_as_they_are(tmp_path, monkeypatch, name):
    given = []
    monkeypatch.setattr(
        module,
        "extract_corpus",
        lambda name, **options: given.append((name, options)) or FeatureTable((), {}, {}, False),
    )
    assert (
        module.main(["extract", f"name={name}", "seconds=2.5", "parts=4", "jobs=1", f"root={name}"])
        == 0
    )
    assert given == [(name, {"seconds": 2.5, "parts": 4, "jobs": 1, "root": name})]
    assert module.main(["extract", f"name={name}", "parts=two"]) == 2
    assert module.main(["sweep", "slug=gla", "grid={length: [10"]) == 2
    assert module.main(["sweep", "slug=gla", f"grid={name}"]) == 2


def test_make_extract_fills_the_store_that_the_notebooks_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    make_mediaeval18(tmp_path / "data", n_films=3, seconds=3)
    table = module.extract_corpus(
        "mediaeval18", "gla", features="descriptors", root=tmp_path / "data", jobs=1
    )
    seconds = corpora.segments(corpora.load_mediaeval18(tmp_path / "data"), seconds=1.0)
    assert table.clips == tuple(seconds.clips["clip"]) and tuple(table.sizes) == (
        "scene",
        "sound",
        "people",
    )
    monkeypatch.setattr("affectlib.features.work._fill", lambda *_: pytest.fail("described again"))
    extract(seconds, extractors("descriptors", "gla"), store=Store(), jobs=1, progress=False)


@pytest.mark.parametrize("value", ["emotion", "valence"])
def test_make_extract_honours_seconds_where_nothing_is_annotated(tmp_path, monkeypatch, value):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    clips = pd.DataFrame(
        {
            "clip": ["a", "b"],
            "path": ["a.mp4", "b.mp4"],
            "group": ["a", "b"],
            "split": "",
            "seconds": [4.5, 5.0],
            value: ["joy", "fear"],
        }
    )
    heiv = corpora.Corpus(
        "heiv",
        clips,
        pd.DataFrame(columns=["clip", "time", "valence", "arousal"]),
        ("joy", "fear"),
        (0.0, 1.0),
        None,
        "",
        "",
        True,
    )
    monkeypatch.setattr(corpora, "load_heiv", lambda root: heiv)
    monkeypatch.setattr("affectlib.features.extract", lambda clips, *_, **__: clips)
    whole, cut = (
        module.extract_corpus("heiv", "scene", root=tmp_path / "heiv", seconds=s)
        for s in (None, 2.0)
    )
    assert len(whole) == 2 and len(cut) == 4 and set(cut.clips["seconds"]) == {2.0}

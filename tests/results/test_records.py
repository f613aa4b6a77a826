"""A run's files are complete, the same bytes twice, and say what they were made from."""

import math
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affectlib import paths, results
from affectlib.corpora import Corpus
from affectlib.statistics import Interval


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return tmp_path / "figures"


@pytest.fixture
def corpus():
    clips = pd.DataFrame({"clip": ["a"], "path": "", "group": "a", "split": "", "seconds": 1.0})
    return Corpus(
        name="cognimuse",
        clips=clips,
        annotations=pd.DataFrame(columns=["clip", "time", "valence", "arousal"]),
        labels=(),
        value_range=(-1, 1),
        hertz=25,
        license="",
        citation="Zlatintsi et al., 2017",
        simulated=True,
    )


def write(corpus, parameters=None):
    """Writes the metrics of a small run; returns the path of the file."""
    metrics = {
        "arousal_pcc": Interval(0.5123456789, 0.4, math.nan, 12),
        "films": np.int64(12),
        "curve": np.array([1 / 3, np.inf]),
    }
    return results.write_metrics(
        "attend_affect",
        metrics,
        corpus=corpus,
        kind="simulated",
        parameters=parameters or {"epochs": 5, "rate": 5e-4},
        seeds=(0, 1),
    )


def test_metrics_say_what_they_were_made_from(figures, corpus):
    path = write(corpus)
    assert path == figures / "attend_affect" / "metrics.json"
    content = results.read_metrics("attend_affect")
    assert content["metrics"] == {
        "arousal_pcc": {"mean": 0.512346, "low": 0.4, "high": None, "n": 12},
        "films": 12,
        "curve": [0.333333, None],
    }
    assert content["kind"] == "simulated"
    assert content["corpus"]["simulated"] is True
    assert content["corpus"]["citation"] == corpus.citation
    run = content["run"]
    assert run["seeds"] == [0, 1]
    assert run["threads"] >= 1
    assert run["versions"]["numpy"] == np.__version__
    assert run["commit"] == results.source_commit()


def test_metrics_are_the_same_bytes_twice_and_leave_nothing_beside_them(figures, corpus):
    first = write(corpus).read_bytes()
    assert write(corpus).read_bytes() == first
    assert [path.name for path in (figures / "attend_affect").iterdir()] == ["metrics.json"]


def test_metrics_refuse_what_is_not_a_number(figures, corpus, tmp_path):
    options = {"corpus": corpus, "kind": "simulated", "seeds": ()}
    with pytest.raises(TypeError):
        results.write_metrics("x", {}, parameters={"root": tmp_path}, **options)
    with pytest.raises(ValueError, match="headline names nothing"):
        results.write_metrics("x", {}, parameters={}, headline=["nothing"], **options)
    assert not figures.exists()


def test_recorded_metrics_are_found_by_their_protocol(figures, corpus):
    protocol = {"corpus": corpus, "parameters": {"epochs": 5}, "seeds": range(2)}
    assert results.recorded("attend_affect", **protocol) is None
    write(corpus)
    metrics = results.read_metrics("attend_affect")["metrics"]
    assert results.recorded("attend_affect", **protocol) == metrics


@pytest.mark.parametrize(
    "other",
    [
        lambda corpus: {"parameters": {"epochs": 6}},
        lambda corpus: {"parameters": {"epochs": 5, "layers": 2}},
        lambda corpus: {"seeds": [0]},
        lambda corpus: {"corpus": replace(corpus, simulated=False)},
        lambda corpus: {"corpus": replace(corpus, name="eimt16")},
        lambda corpus: {
            "corpus": replace(
                corpus, clips=pd.concat([corpus.clips, corpus.clips.assign(clip="b")])
            )
        },
    ],
    ids=["parameter", "more parameters", "seeds", "real", "name", "clips"],
)
def test_metrics_recorded_under_another_protocol_are_not_taken(figures, corpus, other):
    write(corpus)
    protocol = {"corpus": corpus, "parameters": {"epochs": 5}, "seeds": range(2)}
    assert results.recorded("attend_affect", **protocol | other(corpus)) is None


def test_commit_is_the_last_that_changed_the_source(tmp_path, monkeypatch):
    def git(*words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        run = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return run.stdout.strip()

    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert results.source_commit() is None
    git("init")
    (tmp_path / "affectlib").mkdir()
    for name in ("affectlib/a.py", "requirements.lock", "results.json"):
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-m", name)
    assert results.source_commit() == git("rev-parse", "HEAD~1")
    (tmp_path / "affectlib" / "a.py").write_text("x = 2\n")
    assert results.source_commit() == git("rev-parse", "HEAD~1") + "+"


def test_tables_say_of_which_kind_they_are(figures):
    frame = pd.DataFrame({"row": ["a"], "value": [1 / 3]})
    path = results.write_table("attend_affect", "table1", frame, kind="simulated")
    assert path.read_text() == "kind,row,value\nsimulated,a,0.333333\n"
    quoted = frame.assign(kind="quoted")
    results.write_table("attend_affect", "table1", quoted, kind="real, descriptors")
    assert path.read_text() == "row,value,kind\na,0.333333,quoted\n"


def test_every_verdict_is_recorded_with_its_numbers():
    verdicts = pd.DataFrame({"claim": ["A beats B"], "column": ["mse"], "verdict": ["holds"]})
    numbers = {"run": 0.1, "low": 0.05, "high": 0.15, "n": 12, "p": 0.001, "adjusted": 0.01}
    verdicts = verdicts.assign(**numbers, over_seeds=0.0)
    assert results.claim_numbers(verdicts) == {"A beats B, mse": {"verdict": "holds", **numbers}}
    with pytest.raises(ValueError, match="two claims are called 'A beats B, mse'"):
        results.claim_numbers(pd.concat([verdicts, verdicts]))


def test_names_of_the_readme_are_still_found_here():
    from affectlib.runner import readme

    with pytest.warns(DeprecationWarning, match=r"moved to affectlib\.runner\.readme"):
        assert results.update_readme is readme.update_readme
    with pytest.raises(AttributeError, match="no attribute 'headlines'"):
        _ = results.headlines

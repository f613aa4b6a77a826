"""The paper's numbers are the paper's; a run's files are whole, the same twice, and say what they were made from."""

import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from affectlib import paths, results
from affectlib.corpora import Corpus, Fold
from affectlib.metrics import ccc, mse, pcc
from affectlib.statistics import Interval

COLUMNS = ["arousal_mse", "arousal_pcc", "valence_mse", "valence_pcc"]


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return tmp_path / "figures"


@pytest.fixture
def corpus():
    clips = pd.DataFrame({"clip": ["a"], "path": "", "group": "a", "split": "", "seconds": 1.0})
    return Corpus(
        "cognimuse",
        clips,
        pd.DataFrame(columns=["clip", "time", "valence", "arousal"]),
        (),
        (-1, 1),
        25,
        "",
        "Zlatintsi et al., 2017",
        simulated=True,
    )


@pytest.mark.parametrize(("table", "rows", "quoted"), [(1, 7, 1), (2, 10, 4)])
def test_published_tables_hold_every_cell(table, rows, quoted):
    cells = results.published("attend_affect", table)
    wide = cells.pivot(index="row", columns="column", values="value")
    assert list(cells.columns) == ["row", "column", "value", "spread", "quoted"]
    assert (
        wide.shape == (rows, 4) and sorted(wide.columns) == COLUMNS and wide.notna().all(axis=None)
    )
    assert cells.groupby("row")["quoted"].first().sum() == quoted
    assert cells["value"].between(0, 1.5).all()


def test_published_tables_agree_with_the_text():
    """Section V-a quotes the best model of Table II; the ranking it concludes is that of both tables."""
    cells = [results.published("attend_affect", number) for number in (1, 2)]
    tables = [each.pivot(index="row", columns="column", values="value") for each in cells]
    two = tables[1]
    assert two.loc["Feature AAN (video and audio)", COLUMNS].tolist() == [
        0.742,
        0.503,
        0.185,
        0.467,
    ]
    assert two.loc["Feature AAN (only audio)", "arousal_mse"] == 1.111
    for kind in ("Feature", "Temporal"):
        best = f"{kind} AAN (video and audio)"
        others = [f"{kind} AAN (only video)", f"{kind} AAN (only audio)"]
        for table in tables:
            error, correlation = (
                table[["arousal_mse", "valence_mse"]],
                table[["arousal_pcc", "valence_pcc"]],
            )
            assert (error.loc[best] < error.loc[others]).all(axis=None)
            assert (correlation.loc[best] > correlation.loc[others]).all(axis=None)


@pytest.mark.parametrize(
    ("figure", "cells"), [(5, [0.111, 0.715, 0.184, 0.507]), (6, [0.054, 0.774, 0.172, 0.646])]
)
def test_published_curves_have_the_numbers_of_the_text(figure, cells):
    table = results.published("attend_affect", f"figure{figure}").set_index("column")["value"]
    assert table[COLUMNS].tolist() == cells


def test_unknown_table():
    with pytest.raises(FileNotFoundError):
        results.published("attend_affect", 9)


@pytest.fixture
def run():
    cells = [("Feature AAN (only audio)", 0.2, 0.1, 0.3), ("Linear", 0.4, math.nan, math.nan)]
    return pd.DataFrame(cells, columns=["row", "mean", "low", "high"]).assign(column="arousal_mse")


def test_against_paper_sets_side_by_side(run):
    baselines = {"train mean": {"arousal_mse": 0.9}}
    table = results.against_paper("attend_affect", 1, run, simulated=True, baselines=baselines)
    assert len(table) == 7 * 4 + 1
    assert list(table["row"][::4])[:2] == ["Feature AAN (only video)", "Feature AAN (only audio)"]
    cells = table.set_index(["row", "column"])
    ours = cells.loc[("Feature AAN (only audio)", "arousal_mse")]
    shown = ours[["paper", "run", "low", "high", "train mean", "corpus"]].tolist()
    assert shown == [0.125, 0.2, 0.1, 0.3, 0.9, "simulated"]
    assert math.isnan(cells.loc[("Linear", "arousal_mse"), "paper"])
    assert cells.loc[("Sivaprasad et al. 2018", "valence_pcc"), "corpus"] == "quoted"
    assert cells.loc[("Temporal AAN (only audio)", "valence_pcc"), "corpus"] == "not run"
    assert cells["train mean"].notna().sum() == 8
    assert "real" in set(results.against_paper("attend_affect", 1, run, simulated=False)["corpus"])


def test_side_by_side_reads_well(run):
    text = results.side_by_side(results.against_paper("attend_affect", 1, run, simulated=True))
    assert text.index.name == "paper | this run (simulated)" and list(text.columns) == COLUMNS
    assert text.loc["Feature AAN (only audio)", "arousal_mse"] == "0.125 | 0.200 [0.100, 0.300]"
    assert (
        text.loc["Linear", "arousal_mse"] == "– | 0.400"
        and text.loc["Linear", "valence_pcc"] == "–"
    )
    assert text.index[-1] == "Linear"
    assert text.loc["Sivaprasad et al. 2018", "valence_pcc"].endswith("| quoted")
    assert text.loc["Temporal AAN (only audio)", "valence_pcc"].endswith("| not run")


def test_an_undefined_metric_of_this_run_is_not_one_that_was_not_run(run):
    run = run.assign(mean=math.nan, low=math.nan, high=math.nan)
    table = results.against_paper("attend_affect", 1, run, simulated=True).set_index(
        ["row", "column"]
    )
    assert set(table.loc[list(zip(run["row"], run["column"], strict=True)), "corpus"]) == {
        "simulated"
    }
    text = results.side_by_side(table.reset_index())
    assert text.loc["Linear", "arousal_mse"] == "– | –"


def test_against_paper_refuses_half_a_run(run):
    with pytest.raises(ValueError, match="high, low"):
        results.against_paper("attend_affect", 1, run.drop(columns=["low", "high"]), simulated=True)
    with pytest.raises(ValueError, match=r"'Linear', 'arousal_mse' twice"):
        results.against_paper("attend_affect", 1, pd.concat([run, run[1:]]), simulated=True)


def write(corpus, **options):
    metrics = {
        "arousal_pcc": Interval(0.5123456789, 0.4, math.nan, 12),
        "films": np.int64(12),
        "curve": np.array([1 / 3, np.inf]),
    }
    options |= {"parameters": {"epochs": 5, "rate": 5e-4}, "seeds": (0, 1)}
    return results.write_metrics("attend_affect", metrics, corpus=corpus, **options)


def test_metrics_say_what_they_were_made_from(figures, corpus):
    path = write(corpus)
    assert path == figures / "attend_affect" / "metrics.json"
    content = results.read_metrics("attend_affect")
    assert content["metrics"] == {
        "arousal_pcc": {"mean": 0.512346, "low": 0.4, "high": None, "n": 12},
        "films": 12,
        "curve": [0.333333, None],
    }
    assert (
        content["corpus"]["simulated"] is True and content["corpus"]["citation"] == corpus.citation
    )
    run = content["run"]
    assert (
        run["seeds"] == [0, 1]
        and run["threads"] >= 1
        and run["versions"]["numpy"] == np.__version__
    )
    assert run["commit"] == results.source_commit()


def test_metrics_are_the_same_bytes_twice_and_leave_nothing_beside_them(figures, corpus):
    first = write(corpus).read_bytes()
    assert write(corpus).read_bytes() == first
    assert [path.name for path in (figures / "attend_affect").iterdir()] == ["metrics.json"]


def test_metrics_refuse_what_is_not_a_number(figures, corpus, tmp_path):
    with pytest.raises(TypeError):
        results.write_metrics("x", {}, corpus=corpus, parameters={"root": tmp_path}, seeds=())
    with pytest.raises(ValueError, match="headline names nothing"):
        results.write_metrics("x", {}, corpus=corpus, parameters={}, seeds=(), headline=["nothing"])
    assert not figures.exists()


def test_recorded_metrics_are_those_of_the_same_protocol_only(figures, corpus):
    same = {"corpus": corpus, "parameters": {"epochs": 5}, "seeds": range(2)}
    assert results.recorded("attend_affect", **same) is None
    write(corpus)
    assert (
        results.recorded("attend_affect", **same)
        == results.read_metrics("attend_affect")["metrics"]
    )
    others = [
        {"parameters": {"epochs": 6}},
        {"parameters": {"epochs": 5, "layers": 2}},
        {"seeds": [0]},
        {"corpus": replace(corpus, simulated=False)},
        {"corpus": replace(corpus, name="eimt16")},
        {"corpus": replace(corpus, clips=pd.concat([corpus.clips, corpus.clips.assign(clip="b")]))},
    ]
    assert [results.recorded("attend_affect", **same | other) for other in others] == [None] * 6


def test_commit_is_the_last_that_changed_the_source(tmp_path, monkeypatch):
    git = lambda *words: subprocess.run(  # noqa: E731
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
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


def test_tables_say_simulated(figures):
    frame = pd.DataFrame({"row": ["a"], "value": [1 / 3]})
    path = results.write_table("attend_affect", "table1", frame, simulated=True)
    assert path.read_text() == "corpus,row,value\nsimulated,a,0.333333\n"
    results.write_table("attend_affect", "table1", frame.assign(corpus="real"), simulated=False)
    assert path.read_text() == "row,value,corpus\na,0.333333,real\n"


def test_report_and_readme(figures, corpus, tmp_path):
    write(corpus, headline=["films", "arousal_pcc"])
    line = "| attend_affect | cognimuse | **simulated** | films 12; arousal_pcc 0.512 [0.400, –] |"
    assert results.report().splitlines()[-1] == line
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    assert results.update_readme(readme) is True and results.update_readme(readme) is False
    assert (
        readme.read_text() == f"before\n{results.BEGIN}\n{results.report()}\n{results.END}\nafter\n"
    )
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="found them 0 times"):
        results.update_readme(readme)
    assert readme.read_text() == "no marks"


def test_report_without_a_headline_shows_all_numbers(figures, corpus):
    write(corpus)
    assert results.report().splitlines()[-1].endswith("| arousal_pcc 0.512 [0.400, –]; films 12 |")


def test_readme_is_up_to_date(tmp_path):
    readme = paths.ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("no README.md in this checkout")
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "figures"], cwd=paths.ROOT)
    if changed.returncode == 1:
        pytest.skip(
            "figures/ was made anew since the last commit: the table is that of the committed ones"
        )
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text(encoding="utf-8"), encoding="utf-8")
    assert not results.update_readme(copy), "run python -m affectlib.results"


def runs():
    rng = np.random.default_rng(0)
    truth, groups = rng.normal(size=30), tuple("abc"[i // 10] for i in range(30))
    prediction = truth + rng.normal(size=(2, 30))
    return {
        ("model", "arousal"): SimpleNamespace(truth=truth, prediction=prediction, groups=groups)
    }


def test_scores_are_pooled_over_films_and_averaged_over_seeds():
    run = runs()["model", "arousal"]
    table = results.scores(runs(), [mse, pcc]).set_index("column")
    assert list(table.index) == ["arousal_mse", "arousal_pcc"]
    assert table.loc["arousal_mse", "mean"] == pytest.approx(
        ((run.prediction - run.truth) ** 2).mean()
    )
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()


def test_scores_by_group_keep_films_and_seeds_apart():
    run, table = runs()["model", "arousal"], results.scores_by_group(runs(), [mse])
    assert list(table["group"]) == ["a", "a", "b", "b", "c", "c"]
    assert table["value"][2] == pytest.approx(((run.prediction[0] - run.truth)[10:20] ** 2).mean())


def test_official_score_is_the_mean_over_films_of_the_mean_over_seeds():
    run, per_film = runs()["model", "arousal"], results.scores_by_group(runs(), [mse, pcc])
    per_film = pd.concat([per_film, per_film.assign(row="other")])
    table = results.official(per_film, ["other", "model"])
    assert [*zip(table["row"], table["column"], strict=True)] == [
        (row, f"arousal_{name}") for row in ("other", "model") for name in ("mse", "pcc")
    ]
    by_film = ((run.prediction - run.truth) ** 2).reshape(2, 3, 10).mean((0, 2))
    half = 4.302653 * by_film.std(ddof=1) / math.sqrt(3)  # the t value of two degrees of freedom
    assert table[["mean", "low", "high", "n"]].values[0].tolist() == pytest.approx(
        [by_film.mean(), by_film.mean() - half, by_film.mean() + half, 3]
    )
    assert list(results.official(per_film)["row"]) == ["model", "model", "other", "other"]
    with pytest.raises(ValueError, match="lacks the rows third"):
        results.official(per_film, ["model", "third"])


def test_intervals_of_the_official_score_end_where_the_metric_does():
    per_film = pd.DataFrame(
        [
            ("model", column, film, value)
            for column, values in (
                ("arousal_mse", (0.01, 0.3)),
                ("arousal_pcc", (0.9, 0.99)),
                ("arousal_ccc", (math.nan, 0.5)),
            )
            for film, value in enumerate(values)
        ],
        columns=["row", "column", "group", "value"],
    )
    error, correlation, undefined = results.official(per_film)[["low", "high"]].values
    assert error[0] == 0 and error[1] > 1 and correlation[0] < 0.9 and correlation[1] == 1
    assert np.isnan(undefined).all() and np.isnan(results.official(per_film)["mean"][2])


def test_floor_learns_its_mean_from_the_training_clips_only():
    clips = pd.DataFrame({"group": list("aabb"), "arousal": [0.0, 2.0, 5.0, 7.0]})
    folds = [
        Fold("a", np.array([2, 3]), np.array([], int), np.array([0, 1])),
        Fold("b", np.array([0]), np.array([1]), np.array([2, 3])),
    ]
    table = results.floor(clips, folds, ["arousal"])
    assert table[["row", "column"]].values.tolist() == [
        ["predict the training mean", "arousal_mse"]
    ]
    assert table["mean"].item() == pytest.approx(np.mean([36, 16, 16, 36]))


def test_floor_correlates_with_the_films_it_leaves_out_and_the_wrong_way_round():
    clips = pd.DataFrame({"group": list("aabb"), "arousal": [0.0, 2.0, 5.0, 7.0]})
    a, b = np.arange(2), np.arange(2, 4)
    folds = [Fold("a", b, b[:0], a), Fold("b", a, a[:0], b)]
    both = results.floor(clips, folds, ["arousal"], [mse, pcc, ccc]).set_index("column")["mean"]
    said, truth = np.array([6.0, 6, 1, 1]), clips["arousal"].to_numpy()
    assert (
        both["arousal_pcc"] == pytest.approx(np.corrcoef(truth, said)[0, 1])
        and both["arousal_pcc"] < -0.9
    )
    assert both["arousal_ccc"] < 0
    one = results.floor(clips, folds[:1], ["arousal"], [pcc, ccc]).set_index("column")
    assert one.loc["arousal_pcc"].isna()[["mean", "low", "high"]].all()

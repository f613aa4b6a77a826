"""The table of benchmarks: its form, what a run may replace in it, and how two ways are timed."""

import ast
import math
import re
import sys
import time
from dataclasses import replace

import pytest

from affectlib.paths import ROOT

sys.path.append(str(ROOT))

from benchmarks import growth, reading, results
from benchmarks.common import Comparison, Missing, Row, Way, cpu_seconds, measure
from benchmarks.registry import RATIOS, WHOLE, find

NAMES = [*RATIOS, *growth.GROWTH, *WHOLE]
MACHINE = ("processor: slow, 2 cores", "graphics card: no GPU was there")


def row(benchmark="sound", reference="librosa", **changes):
    """A measured row of the table."""
    made = Row(benchmark, "5 s", "ours", reference, "1 ms", "2 ms", "2.00 x", "1.90 to 2.10", "5")
    return replace(made, **changes)


def spin(seconds):
    """Keeps the processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


# ---------------------------------------------------------------- the stored table


@pytest.fixture(scope="module")
def stored():
    return results.read(results.RESULTS)


def test_every_row_belongs_to_a_benchmark(stored):
    assert {each.benchmark for each in [*stored.rows, *stored.growth]} <= set(NAMES)


def test_every_benchmark_has_a_row(stored):
    # A graphics card is not always there, and the long ones are run on request.
    expected = set(NAMES) - {"gpu", *WHOLE}
    assert {each.benchmark for each in [*stored.rows, *stored.growth]} >= expected


def test_stored_rows_have_no_twins(stored):
    keys = [each.key for each in stored.rows]
    assert len(keys) == len(set(keys))


def test_stored_ratios_lie_within_their_spread(stored):
    measured = [each for each in stored.rows if each.was_measured]
    assert measured
    for each in measured:
        ratio = float(re.fullmatch(r"([\d.]+) x", each.ratio)[1])
        low, high = map(float, each.spread.split(" to "))
        assert low <= ratio <= high


def test_stored_slopes_are_those_of_the_stored_times(stored):
    for each in stored.growth:
        sizes = [float(size.replace(",", "")) for size in each.sizes.split(" / ")]
        seconds = [float(value) for value in each.seconds.split(" / ")]
        assert len(sizes) == len(seconds) == 3
        assert float(each.slope) == pytest.approx(growth.slope(sizes, seconds), abs=0.05)


def test_the_machine_is_named(stored):
    kinds = [line.split(":")[0] for line in stored.machine]
    assert kinds == ["processor", "system", "versions", "graphics card"]


# ---------------------------------------------------------------- what a run may replace


def test_what_is_written_is_read_again(tmp_path):
    file = tmp_path / "results.md"
    grown = growth.GrowthRow("growth_load", "films", "1 / 2 / 4", "1 / 2 / 4", "1.00", "1 / 1 / 1")
    rows = [row(), row(reference="torchaudio")]
    written = results.Results(MACHINE, rows, [grown], {"torchaudio": "2.11.0", "decord": "0.6.0"})
    results.write(file, written)
    assert results.read(file) == written


def test_rows_of_benchmarks_that_did_not_run_stay():
    before = results.Results(MACHINE, [row("faces", "dlib"), row("sound")])
    new = results.Results(MACHINE, [row("sound", ratio="3.00 x")])
    merged = results.merge(before, new, ["sound"], known=NAMES)
    assert merged.rows == [row("faces", "dlib"), row("sound", ratio="3.00 x")]


def test_a_reference_that_is_missing_now_leaves_its_earlier_row():
    before = results.Results(MACHINE, [row(reference="torchaudio")])
    new = results.Results(MACHINE, [row(reference="torchaudio", ratio="not installed", n="0")])
    assert results.merge(before, new, ["sound"], known=NAMES).rows == before.rows


def test_rows_that_a_benchmark_no_longer_has_go():
    before = results.Results(MACHINE, [row(reference="a straw man"), row("removed")])
    new = results.Results(MACHINE, [row()])
    assert results.merge(before, new, ["sound"], known=NAMES).rows == [row()]


def test_two_machines_do_not_share_a_table():
    before = results.Results(MACHINE, [row("faces")])
    new = results.Results(("processor: fast, 16 cores",), [row("sound")])
    with pytest.raises(results.ResultsError, match="faces did not run"):
        results.merge(before, new, ["sound"], known=NAMES)
    assert results.merge(before, new, ["faces", "sound"], known=NAMES) == new


# ---------------------------------------------------------------- how ways are timed


def test_twice_the_work_gives_a_ratio_of_two():
    ours, theirs = Way("ours", lambda: spin(0.02)), Way("theirs", lambda: spin(0.04))
    (found,) = measure("sound", Comparison("spinning", ours, [theirs], rounds=3))
    assert float(found.ratio.removesuffix(" x")) == pytest.approx(2, rel=0.25)
    assert found.n == "3"


def test_time_is_per_piece_of_work():
    ours, theirs = Way("ours", lambda: spin(0.02)), Way("theirs", lambda: spin(0.04), per=2)
    (found,) = measure("sound", Comparison("spinning", ours, [theirs], rounds=3))
    assert float(found.ratio.removesuffix(" x")) == pytest.approx(1, rel=0.25)


def test_ways_take_turns():
    calls = []
    ways = [
        Way(name, lambda name=name: calls.append(name) or 1.0, tells_seconds=True) for name in "ab"
    ]
    measure("sound", Comparison("counting", ways[0], [ways[1]], rounds=3))
    assert "".join(calls) == "ababab"


def test_references_that_are_missing_or_fail_are_named():
    def fails():
        raise OSError("no library")

    references = [Missing("torchcodec", "not installed"), Way("decord", fails)]
    found = measure("reading", Comparison("film", Way("ours", list), references, rounds=1))
    assert {each.reference: each.ratio for each in found} == {
        "torchcodec": "not installed",
        "decord": "fails: OSError",
    }
    assert not any(each.was_measured for each in found)


def test_waiting_is_not_processor_time():
    begun = cpu_seconds()
    time.sleep(0.2)
    assert cpu_seconds() - begun < 0.1


# ---------------------------------------------------------------- the benchmarks themselves


@pytest.mark.parametrize("name", RATIOS)
def test_every_benchmark_has_its_module(name):
    # Read and not imported: some import every peer that is installed.
    tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    functions = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
    assert "comparisons" in functions


@pytest.mark.parametrize("name", WHOLE)
def test_the_long_ones_are_there(name):
    assert callable(find(name))


def test_a_benchmark_runs():
    comparison = next(find("intervals")())
    (loop, scipy) = measure("intervals", replace(comparison, rounds=1))
    assert loop.was_measured
    assert scipy.was_measured


def test_references_of_reading_give_the_same_frames_and_sound(tmp_path):
    film = reading.encode(tmp_path / "film.mp4", seconds=2)
    ours = reading.ours(film, pictures=True, sound=True)
    theirs = reading.read_by_hand(film)
    images = [each for each in theirs if each.ndim == 3]
    # The sound is a little longer than 2 s, and ours goes on to its end.
    assert len(images) == 2
    for image, picture in zip(images, ours.pictures, strict=False):
        assert (image == picture.image).all()
    # The end of an AAC stream is padded; readers keep a little more or less of it.
    samples = sum(len(each) for each in theirs if each.ndim == 1)
    assert math.isclose(samples, len(ours.sound), rel_tol=0.01)
    assert len(reading.seek_each(film, 2)) == len(reading.grab_and_retrieve(film)) == 2


@pytest.mark.filterwarnings("ignore:mediaeval18")  # a part of the corpus
@pytest.mark.parametrize("name", ["growth_load", "growth_content_key", "growth_paired_difference"])
def test_growth_runs_at_a_tiny_size(name):
    found = growth.one_size(name, 3)
    assert found["seconds"] >= 0
    assert found["memory"] >= 0 or math.isnan(found["memory"])


def test_the_slope_of_a_quadratic_is_two():
    assert growth.slope([10, 20, 40], [1, 4, 16]) == pytest.approx(2)

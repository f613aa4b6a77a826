"""Moods of clips, against the paper's sentence written out slowly."""

import numpy as np
import pytest

from affectlib.corpora import mood_label


def slow_mood(valence):
    """Looks at every run of equal values, one by one."""
    best = None
    for start in range(len(valence)):
        end = start
        while end < len(valence) and valence[end] == valence[start]:
            end += 1
        key = (end - start, valence.count(valence[start]), -start)
        if best is None or key > best[0]:
            best = (key, valence[start])
    value = best[1]
    if value < -3:
        return -1
    return 1 if value > 3 else 0


def test_mood_is_the_longest_run_written_out():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.repeat(rng.integers(-6, 7, 6), rng.integers(1, 4, 6)).tolist()
        assert mood_label(values) == slow_mood(values)


@pytest.mark.parametrize(
    ("values", "rule", "mood"),
    [
        ([5, 5, 0, 0, 5], "longest_run", 1),  # runs of two: 5 has more frames overall
        ([0, 0, 5, 5], "longest_run", 0),  # equal in everything: the earlier
        ([0, 0, 0, 5, 1, 5, 2, 5, 5], "longest_run", 0),
        ([0, 0, 0, 5, 1, 5, 2, 5, 5], "mode", 1),
        ([0, 5, 5, 0], "mode", 0),
        ([4, 5, 6, 0, 0], "longest_run", 0),
        ([4, 5, 6, 0, 0], "class_run", 1),
        ([-3], "longest_run", 0),
        ([-4], "class_run", -1),
        ([3], "mode", 0),
        ([4], "mode", 1),
    ],
)
def test_mood_rules(values, rule, mood):
    assert mood_label(values, rule=rule) == mood


@pytest.mark.parametrize(
    ("values", "rule", "words"),
    [
        ([], "mode", "found 0 frames"),
        ([1, np.nan], "mode", "a valence each"),
        ([1], "loudest", "not 'loudest'"),
    ],
)
def test_moods_refuse_nonsense(values, rule, words):
    with pytest.raises(ValueError, match=words):
        mood_label(values, rule=rule)

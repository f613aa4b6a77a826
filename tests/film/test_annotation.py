"""Annotations of one's own: every form that is read, every fault, and the agreement."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from affectlib.errors import AffectError, FileFormatError
from affectlib.features import FeatureTable
from affectlib.film.annotation import agreement, read_annotation
from affectlib.film.base import Analysis, Contents, Curve
from affectlib.film.export import write_csv, write_eaf
from affectlib.media import Media

MEDIA = Media(seconds=60.0, frame_rate=25.0, width=320, height=240, sampling_rate=48000)


def written(tmp_path, text, name="mine.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(annotation, target):
    """Stretches as tuples."""
    table = annotation.values[target]
    return list(table[["start", "end", "value"]].itertuples(index=False, name=None))


def analysis_of(tmp_path, *, level=0.9, **values):
    """A film of 60 s, cut into segments of 5 s, with these curves and bands of 0.2."""
    curves = {}
    for target, middle in values.items():
        middle = np.array(middle, float)
        curves[target] = Curve(
            target=target,
            models=middle[None],
            middle=middle,
            lower=middle - 0.2,
            upper=middle + 0.2,
            level=level,
            band="made up",
        )
    starts = np.arange(12) * 5.0
    return Analysis(
        path=tmp_path / "film.mp4",
        media=MEDIA,
        segments=pd.DataFrame({"start": starts, "end": starts + 5, "missing": ""}),
        table=FeatureTable((), {}, {}, simulated=True),
        curves=curves,
        likeness=None,
        contents=Contents(
            segments=pd.DataFrame(index=range(12)),
            shots=pd.DataFrame({"start": [0.0], "end": [60.0], "scene": [1]}),
            faces=pd.DataFrame({"time": [], "left": []}),
            face_times=(),
        ),
        model="made up",
        kind="simulated",
        licence="",
    )


# ---------------------------------------------------------------- tables

STRETCHES = [(0.0, 2.5, 0.25), (2.5, 62.52, -1.0)]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("start,end,valence\n0,2.5,0.25\n2.5,62.52,-1\n", "utf-8"),
        ("Start;End;VALENCE\n0;2,5;0,25\n2,5;62,52;-1\n", "utf-8"),
        ("start\tend\tvalence\n0\t2.5\t0,25\n2.5\t62.52\t-1\n", "utf-8-sig"),
        # Windows' line ends, blank lines, blanks, quotes, and columns of no interest.
        (
            'note , start , end, valence\r\n\r\n"a, b",0,2.5,.25\r\n,2.5,"62.52",-1e0\r\n',
            "utf-8-sig",
        ),
        ("start,end,valence\n0:00,0:00:02.5,0.25\n00:00:02.500,1:02.52,-1\n", "utf-8"),
        ("start,end,valence\n0:00:00:00,0:00:02.5,0.25\n2.5,0:01:02:13,-1\n", "utf-8"),
        # Rows need not be in the order of time.
        ("start,end,valence\n2.5,62.52,-1\n0,2.5,0.25\n", "utf-8"),
        # A stretch without a value was not annotated.
        ("start,end,valence\n0,2.5,0.25\n2.5,62.52,-1\n70,80,\n", "utf-8"),
    ],
)
def test_stretches_are_read(tmp_path, text, encoding):
    long_film = replace(MEDIA, seconds=100.0)
    annotation = read_annotation(written(tmp_path, text, encoding=encoding), media=long_film)
    assert list(annotation.values) == ["valence"]
    assert rows_of(annotation, "valence") == STRETCHES


def test_a_row_of_times_holds_until_the_next(tmp_path):
    text = "time,valence,arousal\n0,0.1,0.5\n1,0.2,\n3,0.3,0.6\n"
    annotation = read_annotation(written(tmp_path, text))
    assert rows_of(annotation, "valence") == [(0, 1, 0.1), (1, 3, 0.2), (3, 5, 0.3)]
    assert rows_of(annotation, "arousal") == [(0, 1, 0.5), (3, 5, 0.6)]
    assert list(annotation.values["arousal"].index) == ["row 2", "row 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected names of columns and rows"),
        ("start,end,valence\n", "expected names of columns and rows"),
        ("start,end,mood\n0,1,0.5\n", "row 1: expected the columns time, or start and end"),
        ("start,valence\n0,0.5\n", "row 1: expected the columns time, or start and end"),
        ("time,valence,Valence\n0,1,1\n", "row 1: expected each column once, found 'valence'"),
        ("start,end,valence\n0,1,0.5\n1,2\n", "row 3: expected 3 columns, found 2"),
        ("start,end,valence\n0,1,\n", "expected numbers in the column valence, it is empty"),
        ("start,end,valence\n0,1,good\n", "row 2: expected valence as a number, found 'good'"),
        ("start,end,valence\n0,1,nan\n", "row 2: expected valence as a number, found 'nan'"),
        ("start,end,valence\n0,1,1_0\n", "row 2: expected valence as a number, found '1_0'"),
        ('start,end,valence\n0,1,"0,5"\n', "row 2: expected valence as a number, found '0,5'"),
        ("start;end;valence\n0;1;1.000,5\n", "row 2: expected valence as a number"),
        ("start,end,valence\n,1,0.5\n", "row 2: expected start as a number, found ''"),
        ("start,end,valence\n0,1,1.01\n", r"row 2: expected valence in \[-1, 1\], found 1.01"),
        ("start,end,valence\n0,1,0\n\n1,2,-5\n", r"row 4: expected valence in \[-1, 1\], found -5"),
        ("start,end,valence\n2,1,0\n", "row 2: expected an end after the start, found 2 s to 1 s"),
        ("start,end,valence\n1,1,0\n", "row 2: expected an end after the start"),
        ("start,end,valence\n-1,1,0\n", "row 2: expected a time of 0 s or more"),
        (
            "start,end,valence\n0,5,0\n4,6,0\n",
            "row 3: expected a start after row 2, which ends at 5 s, found 4 s",
        ),
        ("start,end,valence\n50,60.2,0\n", "row 2: expected times within the film, which ends at"),
        ("start,end,valence\n0,1:75,0\n", "row 2: end: expected minutes and seconds below 60"),
        ("start,end,valence\n0,0:00:01:30,0\n", "row 2: end: expected a frame below 25"),
        ("time,valence\n0,0.5\n", "expected two rows or more"),
        ("time,valence\n1,0.5\n1,0.6\n", "row 3: expected a time after 1 s, found 1 s"),
    ],
)
def test_a_fault_is_named(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(FileFormatError, match=message) as refusal:
        read_annotation(path, media=MEDIA)
    assert isinstance(refusal.value, AffectError)
    assert str(refusal.value).startswith(str(path))


def test_other_faults_of_files_are_named(tmp_path):
    with pytest.raises(FileFormatError, match="expected this file, found none"):
        read_annotation(tmp_path / "none.csv")
    with pytest.raises(FileFormatError, match="expected text in UTF-8"):
        read_annotation(written(tmp_path, "time\tvalence\n", encoding="utf-16"))
    # Frames need the rate of the film.
    frames = written(tmp_path, "start,end,valence\n0,0:00:01:10,0\n")
    with pytest.raises(FileFormatError, match=r"row 2: end: .* the frame rate of the film is"):
        read_annotation(frames)


def test_an_end_that_was_rounded_to_a_frame_is_within_the_film(tmp_path):
    path = written(tmp_path, "start,end,valence\n50,60.04,0\n")
    assert rows_of(read_annotation(path, media=MEDIA), "valence") == [(50, 60.04, 0)]


# ---------------------------------------------------------------- ELAN

# Typed in the form in which ELAN writes: a dependent tier, a slot that two annotations share.
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="a" DATE="2024-05-01T10:00:00+01:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="4000"/>
<TIME_SLOT TIME_SLOT_ID="ts4"/>
</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="parts">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>opening</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="included" PARENT_REF="parts" TIER_ID="moments">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="refers" PARENT_REF="parts" TIER_ID="Valence">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>0,5</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a2">
<ANNOTATION_VALUE> -0.25 </ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="refers" PARENT_REF="moments" TIER_ID="arousal">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a3">
<ANNOTATION_VALUE>1</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def test_annotations_of_elan_are_read(tmp_path):
    annotation = read_annotation(written(tmp_path, ELAN, "mine.EAF"))
    assert rows_of(annotation, "valence") == [(0, 1.5, 0.5), (1.5, 4, -0.25)]
    # It refers to a tier that is dependent itself, and has times of its own.
    assert rows_of(annotation, "arousal") == [(1.5, 4, 1)]
    assert annotation.values["arousal"].index[0] == "annotation a6 of tier arousal"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<HEADER", "<HEADER>", "expected an ELAN file, in XML"),
        ('encoding="UTF-8"', 'encoding="mine"', "expected an ELAN file, in XML: unknown encoding"),
        ('encoding="UTF-8"', 'encoding="EUC-JP"', "expected an ELAN file, in XML"),
        ("ANNOTATION_DOCUMENT", "MOODS", "expected ANNOTATION_DOCUMENT, as in an ELAN file"),
        (
            'TIER_ID="arousal"',
            'TIER_ID="valence"',
            "expected one tier valence, found 'Valence' and",
        ),
        (">0,5<", ">good<", "annotation a4 of tier Valence: expected valence as a number"),
        (">0,5<", "><", "annotation a4 of tier Valence: expected valence as a number, found ''"),
        (">0,5<", ">5<", r"annotation a4 of tier Valence: expected valence in \[-1, 1\], found 5"),
        (
            'ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3"',
            'ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts4"',
            "annotation a6 of tier arousal: expected a time in time slot ts4, found none",
        ),
        ('TIME_VALUE="4000"', 'TIME_VALUE="1000"', "expected an end after the start"),
        (
            'TIME_VALUE="4000"',
            'TIME_VALUE="61000"',
            "within the film, which ends at 60 s, found 61",
        ),
        ('ANNOTATION_REF="a2"', 'ANNOTATION_REF="a1"', "expected a start after annotation a4"),
        ('ANNOTATION_REF="a3"', 'ANNOTATION_REF="a9"', "annotation 'a9' to refer to, found none"),
        ('ANNOTATION_REF="a3"', 'ANNOTATION_REF="a6"', "it refers to itself"),
        (
            'ANNOTATION_REF="a2"',
            'ANNOTATION_REF="a2" PREVIOUS_ANNOTATION="a4"',
            "annotation a5 of tier Valence: .* a part of a symbolic subdivision",
        ),
        ('TIME_VALUE="4000"', 'TIME_VALUE="soon"', "an ELAN file that is whole, ValueError"),
        (' TIME_SLOT_REF1="ts1"', "", "an ELAN file that is whole, KeyError: 'TIME_SLOT_REF1'"),
    ],
)
def test_a_fault_of_an_elan_file_is_named(tmp_path, old, new, message):
    assert old in ELAN
    path = written(tmp_path, ELAN.replace(old, new), "mine.eaf")
    with pytest.raises(FileFormatError, match=message) as refusal:
        read_annotation(path, media=MEDIA)
    assert str(refusal.value).startswith(str(path))


def test_an_elan_file_without_such_tiers_or_values_is_refused(tmp_path):
    for target in ("Valence", "arousal"):
        assert f'TIER_ID="{target}"' in ELAN
    other = ELAN.replace('"Valence"', '"mood"').replace('"arousal"', '"stir"')
    with pytest.raises(
        FileFormatError, match="tier valence or arousal, found parts, moments, mood"
    ):
        read_annotation(written(tmp_path, other, "mine.eaf"))
    root = ElementTree.fromstring(ELAN)
    for tier in root.findall("TIER"):
        if tier.get("TIER_ID") == "arousal":
            tier.clear()
            tier.attrib.update(TIER_ID="arousal", LINGUISTIC_TYPE_REF="default-lt")
    empty = ElementTree.tostring(root, encoding="unicode")
    with pytest.raises(FileFormatError, match="expected annotations on the tier arousal, it is"):
        read_annotation(written(tmp_path, empty, "mine.eaf"))


# ---------------------------------------------------------------- agreement


def planted(seed=0):
    """A curve that changes slowly, and the annotation from which it differs by a little noise."""
    rng = np.random.default_rng(seed)
    truth = np.sin(np.arange(12) / 2) * 0.6
    return truth, truth + rng.normal(scale=0.05, size=12)


def annotate(tmp_path, values, name="mine.csv"):
    """An annotation of one value per segment of 5 s."""
    lines = [f"{5 * i},{5 * i + 5},{value}" for i, value in enumerate(values)]
    return read_annotation(written(tmp_path, "\n".join(["start,end,valence", *lines]), name))


def test_segments_get_the_mean_over_time(tmp_path):
    text = "start,end,valence\n0,1,1\n1,4,0\n7,8,-1\n8.5,20,0.5\n"
    annotation = read_annotation(written(tmp_path, text))
    starts = np.array([0.0, 5.0, 10.0, 15.0, 20.0])
    means = annotation.over("valence", starts, starts + 5)
    # 4 of 5 s; 1 s of -1 and 1.5 s of 0.5, which is just half; all; all; nothing.
    np.testing.assert_allclose(means, [1 / 4, -0.25 / 2.5, 0.5, 0.5, np.nan])
    # A little less than half.
    short = read_annotation(written(tmp_path, "start,end,valence\n0,2.49,1\n"))
    assert math.isnan(short.over("valence", np.array([0.0]), np.array([5.0]))[0])


def test_agreement_is_what_the_formulas_say(tmp_path):
    truth, predicted = planted()
    predicted[3] += 0.5
    table = agreement(annotate(tmp_path, truth), analysis_of(tmp_path, valence=predicted))
    row = table.loc["valence"]
    n = len(truth)
    mean_t, mean_p = sum(truth) / n, sum(predicted) / n
    cov = sum((t - mean_t) * (p - mean_p) for t, p in zip(truth, predicted, strict=True)) / n
    var_t = sum((t - mean_t) ** 2 for t in truth) / n
    var_p = sum((p - mean_p) ** 2 for p in predicted) / n
    errors = [(t - p) ** 2 for t, p in zip(truth, predicted, strict=True)]
    assert row["n"] == 12
    assert row["PCC"] == pytest.approx(cov / math.sqrt(var_t * var_p))
    assert row["CCC"] == pytest.approx(2 * cov / (var_t + var_p + (mean_t - mean_p) ** 2))
    assert row["MSE"] == pytest.approx(sum(errors) / n)
    assert row["MSE of the mean"] == pytest.approx(var_t)
    # Only the segment that was moved lies outside a band of 0.2.
    assert row["inside"] == pytest.approx(11 / 12)
    assert row["level"] == 0.9
    assert row["reason"] == ""


def test_a_planted_annotation_is_found_and_a_shuffled_one_is_not(tmp_path):
    truth, predicted = planted()
    film = analysis_of(tmp_path, valence=predicted)
    found = agreement(annotate(tmp_path, truth), film).loc["valence"]
    assert found["CCC"] > 0.95
    assert found["MSE"] < 0.1 * found["MSE of the mean"]
    shuffled = np.random.default_rng(1).permutation(truth)
    control = agreement(annotate(tmp_path, shuffled), film).loc["valence"]
    assert abs(control["CCC"]) < 0.5
    assert control["MSE"] > control["MSE of the mean"]


def test_what_is_not_defined_has_a_reason(tmp_path):
    truth, predicted = planted()
    film = analysis_of(tmp_path, valence=predicted, level=None)
    few = agreement(annotate(tmp_path, truth[:2]), film).loc["valence"]
    assert few["n"] == 2 and few["reason"] == "fewer than 3 segments are annotated"
    assert few[["PCC", "CCC", "MSE", "MSE of the mean", "inside", "level"]].isna().all()
    constant = agreement(annotate(tmp_path, [0.5] * 12), film).loc["valence"]
    assert constant["reason"] == "the annotation does not change: no correlation"
    assert np.isnan(constant["PCC"]) and np.isnan(constant["CCC"])
    assert constant["MSE of the mean"] == 0 < constant["MSE"]
    flat = analysis_of(tmp_path, valence=[0.1] * 12)
    flat_row = agreement(annotate(tmp_path, truth), flat).loc["valence"]
    assert flat_row["reason"] == "the curve does not change: no correlation"
    assert np.isnan(flat_row["CCC"]) and flat_row["MSE"] > 0
    other = agreement(annotate(tmp_path, truth), analysis_of(tmp_path, arousal=predicted))
    assert other.loc["valence", "reason"] == "no model drew this curve"
    assert other.loc["valence", "n"] == 12


def test_an_annotation_of_a_longer_film_is_refused(tmp_path):
    annotation = annotate(tmp_path, [0.1, 0.2] * 7)
    with pytest.raises(FileFormatError, match="row 14: expected times within the film"):
        agreement(annotation, analysis_of(tmp_path, valence=[0.0] * 12))


@pytest.mark.parametrize(
    ("write", "ending", "step"), [(write_eaf, "eaf", 5e-4), (write_csv, "csv", 5e-7)]
)
def test_a_curve_that_was_exported_comes_back(tmp_path, write, ending, step):
    truth, predicted = planted()
    film = analysis_of(tmp_path, valence=truth, arousal=predicted)
    path = tmp_path / f"film.{ending}"
    write(film, path)
    annotation = read_annotation(path, media=MEDIA)
    starts = film.segments["start"].to_numpy()
    for target, curve in film.curves.items():
        back = annotation.over(target, starts, starts + 5)
        np.testing.assert_allclose(back, curve.middle, atol=step * 1.001)
    assert agreement(annotation, film)["CCC"].min() > 0.999

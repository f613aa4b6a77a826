"""What a film's files hold: read back by other libraries, and by readers written out here."""

import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pysubs2
import pytest

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.features import FeatureTable
from affectlib.film.base import Analysis, Contents, Curve, Likeness
from affectlib.film.export import (
    ExportError,
    write_contents,
    write_csv,
    write_eaf,
    write_features,
    write_srt,
    write_vtt,
)
from affectlib.media import Media

SCHEMA = paths.GOLDEN / "elan" / "EAFv3.0.xsd"
HARD_NAME = 'Über "grüne" Wälder & <Wiesen> 100% #1 it\'s.mp4'


def curve(target, values, **changes):
    middle = np.array(values)
    settings = {
        "target": target,
        "models": middle[None],
        "middle": middle,
        "lower": middle - 0.33,
        "upper": middle + 0.31,
        "level": 0.9,
        "band": "two typical misses",
        "modalities": {"sound": middle / 2},
    }
    return Curve(**(settings | changes))


def feature_table(n, *, simulated=False):
    """Two values of each segment; the last segment has no sound."""
    clips = tuple(f"film:{i:04d}" for i in range(n))
    values = np.arange(n, dtype=np.float32)[:, None]
    return FeatureTable(
        clips=clips,
        arrays={"scene": values + np.float32(0.1), "sound": values},
        names={"scene": ("light",), "sound": ("loudness",)},
        simulated=simulated,
        missing={"sound": clips[-1:]},
    )


@pytest.fixture
def analysis(tmp_path):
    """Four segments at 25 frames per second, the third unlike the training films."""
    starts = np.arange(4) * 5.0
    contents = Contents(
        segments=pd.DataFrame({"loudness LUFS": [-20.0, -21.5, np.nan, -30.0]}),
        shots=pd.DataFrame(
            {"start": [0, 1.28, 12.0], "end": [1.28, 12.0, 20.4], "scene": [1, 1, 2]}
        ),
        faces=pd.DataFrame(
            {"time": [2.0, 2.0, 4.0], "left": 1, "top": 2, "right": 30, "bottom": 40}
        ),
        face_times=(0.0, 2.0, 4.0, 6.0),
    )
    likeness = Likeness(
        distance=np.array([1.0, 2.0, 9.0, 1.5]),
        rank=np.array([0.9, 0.5, 0.001, 0.8]),
        limit=4.0,
        level=0.05,
        sentence="1 of 4 segments is unlike the training films.",
    )
    return Analysis(
        path=tmp_path / HARD_NAME,
        media=Media(seconds=20.4, frame_rate=25.0, width=320, height=240, sampling_rate=48000),
        segments=pd.DataFrame(
            {"start": starts, "end": starts + 5, "missing": ["", "", "", "sound emobase"]}
        ),
        table=feature_table(4),
        curves={
            "valence": curve("valence", [0.3125, -0.004, -1.2, 0.5]),
            "arousal": curve("arousal", [0.1, 0.2, 0.3, 0.4]),
        },
        likeness=likeness,
        contents=contents,
        model="Twelve models --> of simulated films & <none> of real ones.",
        kind="simulated",
        licence="for research only",
        caveats=("It is silent at the end.",),
    )


@pytest.fixture
def without_models(analysis):
    """The same film, about which no model was asked."""
    return replace(analysis, curves={}, likeness=None, model="No model was asked.")


# ---------------------------------------------------------------- tables


def test_a_csv_has_a_row_per_segment(analysis, tmp_path):
    path = tmp_path / "curve.csv"
    write_csv(analysis, path)
    table = pd.read_csv(path, keep_default_na=False)
    expected = ["kind", "start", "end", "start timecode", "end timecode"]
    for target in ("valence", "arousal"):
        expected += [target, f"{target} lowest", f"{target} highest", f"{target} sound"]
    expected += ["likeness distance", "likeness rank", "unlike", "missing"]
    assert list(table.columns) == expected
    assert table["kind"].tolist() == ["simulated"] * 4
    assert table["start timecode"].tolist()[:2] == ["0:00:00:00", "0:00:05:00"]
    # A value beyond the scale of the labels is not cut off.
    assert table["valence"].tolist() == [0.3125, -0.004, -1.2, 0.5]
    np.testing.assert_allclose(table["valence lowest"], table["valence"] - 0.33, atol=1e-6)
    np.testing.assert_allclose(table["arousal sound"], [0.05, 0.1, 0.15, 0.2], atol=1e-6)
    assert table["unlike"].tolist() == [False, False, True, False]
    assert table["missing"].tolist() == ["", "", "", "sound emobase"]


def test_a_csv_keeps_milliseconds_after_hours(analysis, tmp_path):
    segments = analysis.segments.assign(start=10800.125 + np.arange(4), end=10801.125)
    write_csv(replace(analysis, segments=segments), tmp_path / "curve.csv")
    assert "\nsimulated,10800.125,10801.125,3:00:00:03," in (tmp_path / "curve.csv").read_text()


def test_a_csv_without_models_has_no_empty_columns(without_models, tmp_path):
    write_csv(without_models, tmp_path / "curve.csv")
    table = pd.read_csv(tmp_path / "curve.csv")
    times = ["start", "end", "start timecode", "end timecode"]
    assert list(table.columns) == ["kind", *times, "missing"]


def test_contents_are_three_tables(analysis, tmp_path):
    written = write_contents(analysis, tmp_path / "new" / "contents")
    assert [path.name for path in written] == ["segments.csv", "shots.csv", "faces.csv"]
    segments, shots, faces = map(pd.read_csv, written)
    assert segments["loudness LUFS"].isna().tolist() == [False, False, True, False]
    assert segments["end timecode"].tolist()[-1] == "0:00:20:00"
    columns = ["film", "shot", "start", "end", "start timecode", "end timecode", "scene"]
    assert list(shots.columns) == columns
    assert shots["shot"].tolist() == [1, 2, 3]
    # 0.28 s are 7 frames of 1/25 s.
    assert shots["end timecode"].tolist()[0] == "0:00:01:07"
    assert faces["timecode"].tolist() == ["0:00:02:00", "0:00:02:00", "0:00:04:00"]
    for table in (segments, shots, faces):
        # The film is real, whatever the models learned from.
        assert table.columns[0] == "film" and set(table["film"]) == {"real"}


def test_contents_keep_the_times_of_the_segments_once(analysis, tmp_path):
    doubled = analysis.contents.segments.assign(start=analysis.segments["start"], end=0.0)
    contents = replace(analysis.contents, segments=doubled)
    segments, *_ = write_contents(replace(analysis, contents=contents), tmp_path)
    table = pd.read_csv(segments)
    assert table["end"].tolist() == [5, 10, 15, 20]
    assert table.columns.is_unique


def test_a_film_without_a_face_keeps_its_columns_and_has_no_tier(analysis, tmp_path):
    empty = analysis.contents.faces.iloc[:0]
    contents = replace(analysis.contents, faces=empty, face_times=())
    *_, faces = write_contents(replace(analysis, contents=contents), tmp_path)
    assert faces.read_text() == "film,time,timecode,left,top,right,bottom\n"
    write_eaf(replace(analysis, contents=contents), tmp_path / "film.eaf")
    assert "faces" not in tiers_of(check_elan(tmp_path / "film.eaf"))


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".NPZ"])
def test_features_are_read_back_by_name(analysis, tmp_path, ending):
    path = tmp_path / f"features{ending}"
    write_features(analysis.table, analysis.segments, path, frame_rate=25)
    if ending == ".NPZ":
        with np.load(path, allow_pickle=False) as arrays:
            names = ["clip", "film", "start", "end", "start timecode", "end timecode"]
            table = pd.DataFrame({name: arrays[name] for name in names})
            table[arrays["names"].tolist()] = arrays["values"]
    else:
        table = (pd.read_csv if ending == ".csv" else pd.read_parquet)(path)
    assert table["clip"].tolist() == list(analysis.table.clips)
    assert set(table["film"]) == {"real"}
    assert table["end"].tolist() == [5, 10, 15, 20]
    assert table["end timecode"].tolist()[0] == "0:00:05:00"
    # The very numbers, not rounded ones.
    exact = analysis.table["scene"][:, 0]
    np.testing.assert_array_equal(table["scene.light"].to_numpy(np.float32), exact)
    # No sound is no number, and not silence.
    np.testing.assert_array_equal(table["sound.loudness"], [0, 1, 2, np.nan])


def test_features_of_a_simulated_film_say_so(analysis, tmp_path):
    path = tmp_path / "features.csv"
    write_features(feature_table(4, simulated=True), analysis.segments, path)
    table = pd.read_csv(path)
    assert set(table["film"]) == {"simulated"}
    assert table["start timecode"].tolist()[1] == "0:00:05.000"


def test_other_endings_are_refused(analysis, tmp_path):
    with pytest.raises(ExportError, match=r"features\.xlsx: expected a name that ends in \.csv"):
        write_features(analysis.table, analysis.segments, tmp_path / "features.xlsx")
    assert issubclass(ExportError, AffectError)
    with pytest.raises(ValueError, match="4 rows of features, 3 segments"):
        write_features(analysis.table, analysis.segments.iloc[:3], tmp_path / "features.csv")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- subtitles


def cues_of(text):
    """Cues of SRT or WebVTT as (start, end, lines), read line by line."""
    cues = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        if len(lines) < 2 or "-->" not in lines[1]:
            continue
        times = re.fullmatch(r"(\S+) --> (\S+)", lines[1])
        cues.append((times.group(1), times.group(2), lines[2:]))
    return cues


def test_srt_says_what_the_curves_say(analysis, tmp_path):
    write_srt(analysis, tmp_path / "curve.srt")
    text = (tmp_path / "curve.srt").read_text(encoding="utf-8")
    cues = cues_of(text)
    assert len(cues) == 4
    assert cues[0] == (
        "00:00:00,000",
        "00:00:05,000",
        [
            "kind of result: simulated",
            "valence +0.31 (−0.02 to +0.62)",
            "arousal +0.10 (−0.23 to +0.41)",
        ],
    )
    # A value that rounds to 0 has no sign.
    assert cues[1][2][0] == "valence 0.00 (−0.33 to +0.31)"
    assert cues[2][2][-1] == "unlike the training films"
    assert cues[3][2][-1] == "zeros in place of sound emobase"
    assert text.startswith("1\n")


def test_vtt_has_notes_and_the_same_cues(analysis, tmp_path):
    write_vtt(analysis, tmp_path / "curve.vtt")
    text = (tmp_path / "curve.vtt").read_text(encoding="utf-8")
    blocks = text.split("\n\n")
    assert blocks[0] == "WEBVTT"
    assert blocks[1:6] == [
        "NOTE Kind of result: simulated.",
        "NOTE Twelve models -> of simulated films & <none> of real ones.",
        "NOTE 1 of 4 segments is unlike the training films.",
        "NOTE It is silent at the end.",
        "NOTE for research only",
    ]
    cues = cues_of(text)
    assert len(cues) == 4
    assert cues[0][:2] == ("00:00:00.000", "00:00:05.000")
    write_srt(analysis, tmp_path / "curve.srt")
    srt = cues_of((tmp_path / "curve.srt").read_text(encoding="utf-8"))
    assert [cue[2] for cue in cues] == [cue[2] for cue in srt]


def test_a_cue_of_vtt_holds_no_markup(analysis, tmp_path):
    missing = ["<b>a</b> & {\\i1}b", "", "", ""]
    strange = replace(analysis, segments=analysis.segments.assign(missing=missing))
    write_vtt(strange, tmp_path / "curve.vtt")
    text = (tmp_path / "curve.vtt").read_text(encoding="utf-8")
    assert "zeros in place of &lt;b&gt;a&lt;/b&gt; &amp; {\\i1}b\n" in text


@pytest.mark.parametrize(("write", "ending"), [(write_srt, "srt"), (write_vtt, "vtt")])
def test_subtitles_without_models_say_so(without_models, tmp_path, write, ending):
    path = tmp_path / f"curve.{ending}"
    write(without_models, path)
    events = pysubs2.load(str(path))
    assert len(events) == 4
    assert events[0].plaintext == "kind of result: simulated\nno curve: no model was asked"
    assert [event.start for event in events] == [0, 5000, 10000, 15000]


# ---------------------------------------------------------------- ELAN

ORDER = ["LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE"]
ORDER += ["CONSTRAINT"]


def check_elan(path):
    """The main rules of ELAN's schema, and the order that ELAN itself keeps. Returns the root."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"DATE", "AUTHOR", "VERSION"} <= set(root.attrib)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", root.get("DATE"))
    ranks = [ORDER.index(child.tag) for child in root]
    assert ranks == sorted(ranks)
    assert len(root.findall("HEADER")) == len(root.findall("TIME_ORDER")) == 1
    slots = {}
    for slot in root.find("TIME_ORDER"):
        assert slot.tag == "TIME_SLOT" and slot.get("TIME_SLOT_ID") not in slots
        assert re.fullmatch(r"\d+", slot.get("TIME_VALUE"))
        slots[slot.get("TIME_SLOT_ID")] = int(slot.get("TIME_VALUE"))
    assert list(slots.values()) == sorted(slots.values())
    constraints = {each.get("STEREOTYPE") for each in root.findall("CONSTRAINT")}
    types = [each.get("LINGUISTIC_TYPE_ID") for each in root.findall("LINGUISTIC_TYPE")]
    assert len(types) == len(set(types))
    for each in root.findall("LINGUISTIC_TYPE"):
        assert each.get("CONSTRAINTS") in {None} | constraints
    names = [tier.get("TIER_ID") for tier in root.findall("TIER")]
    assert len(names) == len(set(names))
    used = set()
    identifiers = list(constraints) + list(slots)
    for tier in root.findall("TIER"):
        assert tier.get("LINGUISTIC_TYPE_REF") in types
        latest = 0
        for annotation in tier:
            assert annotation.tag == "ANNOTATION" and len(annotation) == 1
            aligned = annotation[0]
            assert aligned.tag == "ALIGNABLE_ANNOTATION"
            identifiers.append(aligned.get("ANNOTATION_ID"))
            references = [aligned.get("TIME_SLOT_REF1"), aligned.get("TIME_SLOT_REF2")]
            used.update(references)
            start, end = (slots[reference] for reference in references)
            assert latest <= start < end
            latest = end
            assert [child.tag for child in aligned] == ["ANNOTATION_VALUE"]
    # Identifiers of all kinds share one space, and are names in the sense of XML.
    assert len(identifiers) == len(set(identifiers))
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", each) for each in identifiers)
    assert used == set(slots)
    return root


def tiers_of(root):
    """Annotations of each tier as (start, end, text), in milliseconds."""
    slots = {
        slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")
    }
    tiers = {}
    for tier in root.findall("TIER"):
        tiers[tier.get("TIER_ID")] = [
            (
                slots[each.get("TIME_SLOT_REF1")],
                slots[each.get("TIME_SLOT_REF2")],
                each.findtext("ANNOTATION_VALUE"),
            )
            for each in tier.iter("ALIGNABLE_ANNOTATION")
        ]
    return tiers


def test_an_elan_file_holds_the_film(analysis, tmp_path):
    write_eaf(analysis, tmp_path / "film.eaf")
    root = check_elan(tmp_path / "film.eaf")
    tiers = tiers_of(root)
    names = ["about", "shots", "scenes", "valence", "valence band", "arousal", "arousal band"]
    assert list(tiers) == [*names, "unlike", "faces"]
    assert tiers["shots"] == [
        (0, 1280, "shot 1"),
        (1280, 12000, "shot 2"),
        (12000, 20400, "shot 3"),
    ]
    assert tiers["scenes"] == [(0, 12000, "scene 1"), (12000, 20400, "scene 2")]
    assert tiers["valence"][0] == (0, 5000, "0.312")
    assert tiers["valence"][2] == (10000, 15000, "-1.200")
    assert tiers["valence band"][0] == (0, 5000, "-0.02 to 0.62")
    assert tiers["unlike"] == [(10000, 15000, "unlike the training films")]
    assert tiers["faces"] == [(2000, 4000, "2 faces"), (4000, 6000, "1 face")]
    about = tiers["about"][0]
    assert about[:2] == (0, 20400)
    assert about[2].split("\n")[:2] == ["Kind of result: simulated.", analysis.model]
    assert root.findtext("LICENSE") == "for research only"
    assert root.get("VERSION") == root.get("FORMAT") == "3.0"
    last = [
        each.text for each in root.iter("PROPERTY") if each.get("NAME") == "lastUsedAnnotationId"
    ]
    largest = max(int(each.get("ANNOTATION_ID")[1:]) for each in root.iter("ALIGNABLE_ANNOTATION"))
    assert last == [str(largest)]


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        (HARD_NAME, "video/mp4"),
        ("a.MOV", "video/quicktime"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/x-matroska"),
        ("a.mpg", "video/mpeg"),
        ("a.vob", "video/*"),
        ("no ending", "video/*"),
    ],
)
def test_an_elan_file_links_its_film(analysis, tmp_path, name, mime):
    film = replace(analysis, path=tmp_path / "films" / name)
    (tmp_path / "out").mkdir()
    write_eaf(film, tmp_path / "out" / "film.eaf")
    [media] = check_elan(tmp_path / "out" / "film.eaf").iter("MEDIA_DESCRIPTOR")
    assert media.get("MIME_TYPE") == mime
    # ELAN takes the letters as they are: a "%20" would be part of the name.
    assert media.get("RELATIVE_MEDIA_URL") == f"../films/{name}"
    assert media.get("MEDIA_URL") == f"file://{tmp_path.resolve()}/films/{name}"
    write_eaf(film, tmp_path / "film.eaf")
    [media] = ElementTree.parse(tmp_path / "film.eaf").iter("MEDIA_DESCRIPTOR")
    assert media.get("RELATIVE_MEDIA_URL") == f"./films/{name}"


def test_a_recording_without_pictures_is_linked_as_sound(analysis, tmp_path):
    sound = Media(seconds=20.4, frame_rate=None, width=None, height=None, sampling_rate=48000)
    for name, mime in {"a.wav": "audio/x-wav", "a.m4b": "audio/*"}.items():
        write_eaf(replace(analysis, path=Path(name), media=sound), tmp_path / "a.eaf")
        [media] = check_elan(tmp_path / "a.eaf").iter("MEDIA_DESCRIPTOR")
        assert media.get("MIME_TYPE") == mime


def test_an_elan_file_without_models_has_no_curves(without_models, tmp_path):
    write_eaf(without_models, tmp_path / "film.eaf")
    assert list(tiers_of(check_elan(tmp_path / "film.eaf"))) == [
        "about",
        "shots",
        "scenes",
        "faces",
    ]


def test_neighbours_that_say_the_same_are_one_annotation(analysis, tmp_path):
    distance = np.array([9.0, 9.0, 1.0, 9.0])
    likeness = replace(analysis.likeness, distance=distance)
    write_eaf(replace(analysis, likeness=likeness), tmp_path / "film.eaf")
    spans = tiers_of(check_elan(tmp_path / "film.eaf"))["unlike"]
    assert [span[:2] for span in spans] == [(0, 10000), (15000, 20000)]


def test_letters_that_xml_cannot_hold_are_refused(analysis, tmp_path):
    for name in ("a\x1b.mp4", "a\udcff.mp4"):
        film = replace(analysis, path=tmp_path / name)
        with pytest.raises(ExportError, match="an ELAN file cannot hold the letter"):
            write_eaf(film, tmp_path / "film.eaf")
    assert not list(tmp_path.iterdir())


WRITERS = {
    "csv": write_csv,
    "srt": write_srt,
    "vtt": write_vtt,
    "eaf": write_eaf,
}


@pytest.mark.parametrize("ending", WRITERS)
def test_the_same_analysis_gives_the_same_bytes(analysis, tmp_path, monkeypatch, ending):
    path = tmp_path / f"film.{ending}"
    WRITERS[ending](analysis, path)
    first = path.read_bytes()
    # An hour and a time zone later, over the older file.
    monkeypatch.setattr("time.strftime", lambda *_: "2031-01-01T00:00:00{:0=+3d}:{:0=2d}")
    WRITERS[ending](analysis, path)
    assert path.read_bytes() == first
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_the_same_features_give_the_same_bytes(analysis, tmp_path, ending):
    files = [tmp_path / f"{name}{ending}" for name in ("first", "second")]
    for file in files:
        write_features(analysis.table, analysis.segments, file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.skipif(
    not SCHEMA.is_file(),
    reason=f"no schema at {SCHEMA}: ELAN publishes it at http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
)
def test_elans_own_schema_accepts_it(analysis, without_models, tmp_path):
    import xmlschema

    schema = xmlschema.XMLSchema(str(SCHEMA))
    path = tmp_path / "film.eaf"
    for each in (analysis, without_models):
        write_eaf(each, path)
        schema.validate(str(path))
    # A control: the schema does refuse.
    text = path.read_text(encoding="utf-8")
    broken = {
        "an attribute less": re.sub(r' TIME_SLOT_REF2="\w+"', "", text, count=1),
        "a slot that is not there": text.replace('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="ts999"'),
        "a type that is not there": text.replace('TYPE_REF="default-lt"', 'TYPE_REF="other"', 1),
    }
    for what, document in broken.items():
        assert document != text, what
        assert not schema.is_valid(io.StringIO(document)), what

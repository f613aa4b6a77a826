"""COGNIMUSE with its extension: twelve films of half an hour, emotion annotated every 0.04 s."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.files import Faults, film_seconds, is_simulated, numbers, read_table, require

FILMS = {
    "BMI": "A Beautiful Mind", "LOR": "The Lord of the Rings", "GLA": "Gladiator", "DEP": "The Departed",
    "CRA": "Crash", "CHI": "Chicago", "FNE": "Finding Nemo", "ABE": "American Beauty", "MDB": "Million Dollar Baby",
    "NCO": "No Country for Old Men", "RAT": "Ratatouille", "SIL": "Shakespeare in Love",
}
LABELS = ("valence", "arousal")
HERTZ = 25.0
STEP, SLACK = 1 / HERTZ, 0.01  # seconds from row to row, and how far off one may be
SHORT = 0.9  # share of a film that its annotation covers at least
SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "A. Zlatintsi et al., COGNIMUSE: a multimodal video database annotated with saliency, events, semantics and "
    "emotion with application to summarization, EURASIP Journal on Image and Video Processing, 2017"
)


def load_cognimuse(root, *, annotation="intended", on_error="raise"):
    """Reads COGNIMUSE from ``<CODE>/<CODE>.mp4`` and ``<CODE>/emotion/intended_1.dat``.

    Films are taken as found: the seven of the first release, the twelve of the extension, or fewer.
    The first seconds, in which the annotation tool holds its starting value, are kept;
    ``labels.segments(..., lead_in="trim")`` leaves them out.

    Args:
        root: folder of the corpus
        annotation: ``"intended"`` (what the film means to evoke, used by attend_affect) or ``"experienced"``,
            the mean over the subjects of ``experienced/subj*_<CODE>.dat``
        on_error: ``"raise"``, or ``"skip"`` to drop a film at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per film, annotated at 25 Hz in [-1, 1]

    Raises:
        CorpusNotFoundError: if ``root`` is no COGNIMUSE
        CorpusFormatError: if a film or an annotation is not as expected; one that begins after its first second or
            leaves out rows is not

    Warns:
        UserWarning: if an annotation ends long before its film: it may have been cut, and what follows is left out

    References:
        Zlatintsi et al., 2017; attend_affect, Section IV-A
    """
    root, faults = Path(root), Faults(on_error)
    if annotation not in ("intended", "experienced"):
        raise ValueError(f"annotation is 'intended' or 'experienced', not {annotation!r}")
    require(root, [f"*/emotion/{annotation}_1.dat" if annotation == "intended" else "**/experienced/subj*.dat"],
            name="COGNIMUSE", ask="cognimuse.cs.ntua.gr")
    folders = {path.name for path in root.iterdir() if path.name in FILMS or (path / "emotion").is_dir()}
    clips, annotations = [], []
    for code in sorted(folders, key=lambda code: (list(FILMS).index(code) if code in FILMS else len(FILMS), code)):
        try:
            path = _film(root / code)
            course = _intended(root / code) if annotation == "intended" else _experienced(root, code)
            seconds = film_seconds(path)
        except CorpusFormatError as fault:
            faults(code, fault)
            continue
        end = course["time"].iloc[-1] + STEP
        if end < SHORT * seconds:
            warnings.warn(f"{code}: annotated for {end:.1f} s of {seconds:.1f} s, the rest is left out", stacklevel=2)
        clips.append((code, str(path), code, "", seconds, course["valence"].mean(), course["arousal"].mean()))
        annotations.append(course.assign(clip=code))
    faults.refuse_empty(clips)
    return Corpus(
        name="cognimuse",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[list(ANNOTATION_COLUMNS)],
        labels=LABELS, value_range=(-1.0, 1.0), hertz=HERTZ, license=LICENSE, citation=CITATION,
        simulated=is_simulated(root), skipped=faults.messages(),
    )


def _film(folder):
    """The film of a folder: ``<CODE>.mp4``, else the only one there."""
    usual = folder / f"{folder.name}.mp4"
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    if usual.is_file():
        return usual
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CorpusFormatError(usual, f"expected this film, or a single one of {', '.join(SUFFIXES)}; found {names}")
    return found[0]


def _intended(folder):
    return _course(folder / "emotion" / "intended_1.dat")


def _experienced(root, code):
    """Mean course over the subjects of a film, cut to the shortest."""
    paths = sorted({*root.glob(f"**/experienced/subj*_{code}.dat"), *root.glob(f"{code}/**/experienced/subj*.dat")})
    if not paths:
        raise CorpusFormatError(root / code / "emotion" / "experienced" / f"subj1_1_{code}.dat", "expected this file")
    courses = [_course(path) for path in paths]
    rows = min(map(len, courses))
    for path, course in zip(paths, courses, strict=True):
        if not np.allclose(course["time"][:rows], courses[0]["time"][:rows], atol=0.02):
            raise CorpusFormatError(path, f"expected the same times as {paths[0].name}")
    return pd.DataFrame(np.mean([course[:rows].to_numpy() for course in courses], axis=0), columns=courses[0].columns)


def _course(path):
    """One annotation file: time, valence and arousal, blank separated, without a header."""
    def fault(row, expected):
        raise CorpusFormatError(path, expected, row=row)

    limits = {"time": (0, np.inf), "valence": (-1, 1), "arousal": (-1, 1)}
    course = numbers(read_table(path, limits, header=False), limits, fault)
    steps = course["time"].diff()[1:]
    if not len(steps):
        fault(None, f"expected a row every {STEP:g} s, found a single one")
    if course["time"].iloc[0] > 1:
        fault(course.index[0], f"expected time to begin at 0 s, found {course['time'].iloc[0]:g} s")
    for row in steps.index[(steps - STEP).abs() > SLACK + 1e-9][:1]:
        found = f"{course.at[row, 'time']:g} s after {course.at[row, 'time'] - steps[row]:g} s"
        fault(row, f"expected time to increase by {STEP:g} s from row to row, found {found}")
    return course.reset_index(drop=True)

"""The features that the owners of a corpus give with it: read, instead of computed.

:func:`organisers` reads those of MediaEval 2018, one row per second; :func:`load_liris_features`
those of LIRIS-ACCEDE, one row per excerpt.

References:
    Dellandréa et al. (2018), The MediaEval 2018 emotional impact of movies task: the list of features.
    Baveye et al. (2015), LIRIS-ACCEDE, IEEE Transactions on Affective Computing: the features of the
    excerpts.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus, CorpusFormatError
from affectlib.corpora.files import (
    corpus_files,
    find_file,
    folders_below,
    is_simulated,
    numbers,
    read_lines,
    read_table,
    unique,
)
from affectlib.corpora.liris_accede import ASK
from affectlib.corpora.mediaeval import FEATURE_FOLDERS, KNOWN_FAULTS
from affectlib.features.store import FeatureTable

VISUAL = {
    "acc": 256,
    "cedd": 144,
    "cl": 33,
    "eh": 80,
    "fcth": 192,
    "gabor": 60,
    "jcd": 168,
    "sc": 64,
    "tamura": 18,
    "lbp": 256,
    "fc6": 4096,
}
SIZES = {"audio": 1582} | VISUAL
LIRIS_FILES = {
    "arousal": "ACCEDEfeaturesArousal_TAC2015.txt",
    "valence": "ACCEDEfeaturesValence_TAC2015.txt",
    "valence_acii2013": "ACCEDEfeaturesValence_ACII2013.txt",
}
LIRIS_SIZES = {"arousal": 23, "valence": 17, "valence_acii2013": 14}


def organisers(
    corpus: Corpus,
    root: str | Path,
    names: Sequence[str] = tuple(SIZES),
    *,
    missing: str = "error",
) -> FeatureTable:
    """Reads the organisers' features of films cut into seconds.

    A series that ends before the annotation cuts the film short in every feature; ``skipped`` says
    by how much, film by film. A second within a series whose file is absent or empty has no value:
    zeros, listed in ``missing``. Where the fault is one of the real corpus, known by name
    (``KNOWN_FAULTS``), that is done unasked, also for a file that is short of values.

    Args:
        corpus: ``segments(load_mediaeval18(root), seconds=1.0)``
        root: folder below which the archives were unpacked: the features of a film lie in
            ``audio_features/<film>`` and ``visual_features/<film>/<name>``, at any depth
        names: among ``audio`` and the visual ones (acc cedd cl eh fcth gabor jcd sc tamura lbp fc6)
        missing: for the seconds of other films without a value: ``"error"``, or ``"zeros"``

    Returns:
        FeatureTable of the clips that have every feature, in the order of the corpus

    Raises:
        CorpusFormatError: if a series is absent or does not count from 1, or a file is absent,
            empty or not as long as it should be
        ValueError: if a name is unknown, or the clips are no seconds

    Warns:
        UserWarning: how many series differ from their annotation, and how many seconds are lost;
            how many seconds have no value
    """
    _check_arguments(corpus, names, missing)
    root = Path(root)
    clips = corpus.clips
    ids = clips["clip"].to_numpy()
    seconds = clips["start"].to_numpy().astype(int) + 1  # files count from 1
    folders = _film_folders(root, set(clips["source"]))
    arrays = {name: np.zeros((len(clips), SIZES[name]), np.float32) for name in names}
    lacking = {name: [] for name in names}
    kept = np.ones(len(clips), bool)
    report = []
    for film, rows in clips.groupby("source", sort=False).indices.items():
        for name in names:
            series = _series(folders, root, film, name)
            last = max(series)
            if last != seconds[rows[-1]]:
                side = "before" if last < seconds[rows[-1]] else "after"
                difference = abs(seconds[rows[-1]] - last)
                report.append(f"{film}: {name} ends {difference} s {side} the annotation")
            kept[rows[seconds[rows] > last]] = False
            known = name in KNOWN_FAULTS.get(film, ())
            for row in rows[seconds[rows] <= last]:
                values = _second(series, seconds[row], name, short=known)
                if values is not None:
                    arrays[name][row] = values
                elif known or missing == "zeros":
                    lacking[name].append(ids[row])
                else:
                    raise _absent(series, seconds[row], name)
    lacking = {name: tuple(clips) for name, clips in lacking.items() if clips}
    _warn(corpus.name, report, int((~kept).sum()), lacking)
    columns = {name: tuple(f"{name}_{i}" for i in range(SIZES[name])) for name in names}
    arrays = {name: array[kept] for name, array in arrays.items()}
    return FeatureTable(tuple(ids[kept]), arrays, columns, corpus.simulated, lacking, tuple(report))


def _check_arguments(corpus: Corpus, names: Sequence[str], missing: str) -> None:
    """Raises ValueError where an argument of :func:`organisers` is not as it says."""
    unknown = [name for name in names if name not in SIZES]
    if unknown:
        known = ", ".join(SIZES)
        raise ValueError(f"no organisers' features {', '.join(unknown)}, there are {known}")
    if missing not in ("error", "zeros"):
        raise ValueError(f"missing is 'error' or 'zeros', not {missing!r}")
    if "start" not in corpus.clips or (corpus.clips["seconds"] != 1).any():
        raise ValueError(
            f"{corpus.name}: cut into seconds first, with segments(corpus, seconds=1.0)"
        )


def _warn(corpus: str, report: list[str], lost: int, lacking: dict[str, tuple]) -> None:
    """Warns of series of another length than their annotation, and of seconds without a value."""
    if report:
        warnings.warn(
            f"{corpus}: {len(report)} series differ from their annotation in length; cut to the "
            f"shorter, {lost} s lost (listed in skipped)",
            stacklevel=3,
        )
    for name, clips in lacking.items():
        films = {clip.rpartition(":")[0] for clip in clips}
        warnings.warn(
            f"{corpus}: {len(clips)} seconds of {len(films)} films have no {name}; zeros (listed "
            "in missing)",
            stacklevel=3,
        )


def _film_folders(root: Path, films: set[str]) -> dict[tuple[str, str], Path]:
    """Finds the folders of each film, by film and by ``audio_features`` or ``visual_features``.

    Raises:
        CorpusFormatError: if a film has two folders of a kind
    """
    found = {}
    for folder in folders_below(root, closed=films):  # a film's folder holds thousands of files
        key = folder.name, folder.parent.name
        if key[0] not in films or key[1] not in FEATURE_FOLDERS:
            continue
        if key in found:
            raise CorpusFormatError(folder, f"expected one such folder, there is {found[key]} too")
        found[key] = folder
    return found


def _series(
    folders: dict[tuple[str, str], Path], root: Path, film: str, name: str
) -> dict[int, Path]:
    """Finds the files of one feature of a film, by the number of their second, from 1.

    Raises:
        CorpusFormatError: if there is none, if two have one number, or if they begin at 0: the
            second that a file belongs to would then be a guess
    """
    if name == "audio":
        kind, start, end = "audio_features", f"{film}_", ".csv"
        place = Path(kind, film)
        folder = folders.get((film, kind))
    else:
        kind, start, end = "visual_features", f"{film}-", f"_{name}.txt"
        place = Path(kind, film, name)
        folder = folders.get((film, kind), root) / name
    series = {}
    for path in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
        number = path.name.removeprefix(start).removesuffix(end)
        if path.name != f"{start}{number}{end}" or not number.isdecimal():
            continue
        if int(number) in series:
            raise CorpusFormatError(path, f"expected each second once, found {int(number)} again")
        series[int(number)] = path
    if not series:
        raise CorpusFormatError(root / place, f"expected files {start}00001{end}, ..., found none")
    if 0 in series:
        expected = f"expected files that count from 1 ({start}00001{end}), found one numbered 0"
        raise CorpusFormatError(series[0], expected)
    return series


def _second(series: dict[int, Path], second: int, name: str, *, short: bool) -> np.ndarray | None:
    """Reads the values of one second, None where it has no file or the file has no values."""
    return _read(series[second], name, short=short) if second in series else None


def _absent(series: dict[int, Path], second: int, name: str) -> CorpusFormatError:
    """The error for a second without values: names the file that should hold them."""
    number, path = next(iter(series.items()))
    there = series.get(second, path.with_name(path.name.replace(f"{number:05d}", f"{second:05d}")))
    expected = f"expected {SIZES[name]} values of second {second}, found none"
    return CorpusFormatError(there, f"{expected} (missing='zeros' goes on)", row=1)


def _read(path: Path, name: str, *, short: bool = False) -> np.ndarray | None:
    """Reads the values of one second.

    Args:
        path: one line of values; of ``audio`` ARFF, whose last line holds a name, the values and a
            class
        name: of the feature
        short: whether the file may have too few values

    Returns:
        the values, None where the file is empty or has too few and may

    Shape:
        result ``(SIZES[name],)``, float64
    """
    size = SIZES[name]
    around = 2 if name == "audio" else 0  # the name and the class of ARFF
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return None
    _check_single_row(path, name, [line.strip().lower() for line in lines[:-1]])
    cells = lines[-1].split(",")
    if short and len(cells) < size + around:
        return None
    if name == "audio":
        if len(cells) != size + around:
            expected = f"expected a name, {size} values and a class, found {len(cells)} cells"
            raise CorpusFormatError(path, expected, row=len(lines))
        cells = cells[1:-1]
    try:
        values = np.array(cells, np.float64)
    except ValueError as error:
        raise CorpusFormatError(path, f"expected numbers: {error}", row=len(lines)) from None
    finite = np.isfinite(values).sum()
    if len(values) != size or finite != size:
        expected = f"expected {size} finite values, found {finite} of {len(values)}"
        raise CorpusFormatError(path, expected, row=len(lines))
    return values


def _check_single_row(path: Path, name: str, before: list[str]) -> None:
    """Raises CorpusFormatError where other rows of values stand before the last line of a file."""
    row = len(before) + 1
    if name == "audio":
        if "@data" not in before:
            raise CorpusFormatError(
                path, "expected ARFF with a row after @data, found none", row=row
            )
        before = before[before.index("@data") + 1 :]
    if any(before):
        raise CorpusFormatError(path, "expected one row of values, found more", row=row)


def load_liris_features(
    root: str | Path, names: Sequence[str] = ("arousal", "valence")
) -> FeatureTable:
    """Reads the features of the 9,800 excerpts that come with LIRIS-ACCEDE.

    They are chosen for one label each: ``arousal`` (23 features) and ``valence`` (17) are those of
    Baveye et al., 2015; ``valence_acii2013`` (14) those of an earlier paper. The values are as they
    stand in the files, of very different sizes: standardise them.

    Args:
        root: folder below which ``LIRIS-ACCEDE-features.zip`` was unpacked
        names: which to read, among ``arousal``, ``valence`` and ``valence_acii2013``

    Returns:
        FeatureTable with one row per excerpt, in the order of the files, each column under the name
        it has there

    Shape:
        arrays ``(9800, 23)``, ``(9800, 17)`` and ``(9800, 14)``, float32

    Raises:
        CorpusNotFoundError: if a file is absent
        CorpusFormatError: if a file lacks a column, holds a cell that is no finite number, names an
            excerpt twice, or names other excerpts than the first file
        ValueError: if a name is unknown

    References:
        Baveye et al., 2015
    """
    if unknown := [name for name in names if name not in LIRIS_FILES]:
        raise ValueError(f"no features {', '.join(unknown)}, there are {', '.join(LIRIS_FILES)}")
    root = Path(root)
    wanted = [LIRIS_FILES[name] for name in names]
    files = corpus_files(root, wanted, name="Features of LIRIS-ACCEDE", ask=ASK)
    clips = None
    arrays, columns = {}, {}
    for name, file in zip(names, wanted, strict=True):
        path = find_file(files, file, root=root)
        table = _liris_table(path, LIRIS_SIZES[name])
        clips = table.index if clips is None else clips
        if not table.index.equals(clips):
            raise CorpusFormatError(
                path, f"expected the excerpts of {wanted[0]}, in the same order"
            )
        arrays[name] = table.to_numpy(np.float32)
        columns[name] = tuple(table.columns)
    return FeatureTable(tuple(clips), arrays, columns, is_simulated(root))


def _liris_table(path: Path, size: int) -> pd.DataFrame:
    """Reads one file of features: a row per excerpt, whose name is the index."""

    def fault(row: int, expected: str) -> None:
        raise CorpusFormatError(path, expected, row=row)

    table = read_table(path, ("id", "name"), delimiter="\t")
    table["name"] = table["name"].str.removesuffix(".mp4")
    unique(table, "name", fault)
    columns = [column for column in table.columns if column not in ("id", "name")]
    if len(columns) != size:
        fault(1, f"expected id, name and {size} features, found {len(columns)} features")
    largest = float(np.finfo(np.float32).max)
    values = numbers(table, dict.fromkeys(columns, (-largest, largest)), fault)
    return values.set_axis(table["name"], axis="index")

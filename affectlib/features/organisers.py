"""The features that the owners of a corpus distribute with it: read, not computed.

:func:`organisers` reads those of MediaEval 2018, one row per second;
:func:`load_liris_features` those of LIRIS-ACCEDE, one row per excerpt.

References:
    Dellandréa et al. (2018), The MediaEval 2018 emotional impact of movies task:
    the list of features.
    Baveye et al. (2015), LIRIS-ACCEDE, IEEE Transactions on Affective Computing:
    the features of the excerpts.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib.corpora.base import Corpus
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
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features.extractor import FeatureTable

# Number of values of each feature of MediaEval 2018, per second.
VISUAL_SIZES = {
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
SIZES = {"audio": 1582, **VISUAL_SIZES}
ARFF_BEFORE = 1  # cells before the values in a row of audio: a name
ARFF_AFTER = 1  # and after them: a class
# What stands in on simulated films for a feature that the simulator does not write.
STAND_INS = {"fc6": "cl"}
LIRIS_FILES = {
    "arousal": "ACCEDEfeaturesArousal_TAC2015.txt",
    "valence": "ACCEDEfeaturesValence_TAC2015.txt",
    "valence_acii2013": "ACCEDEfeaturesValence_ACII2013.txt",
}
LIRIS_SIZES = {"arousal": 23, "valence": 17, "valence_acii2013": 14}


@dataclass(frozen=True)
class Distributed:
    """A feature of the organisers in the place of an extractor: it is read, not computed.

    :func:`affectlib.features.extract` takes it among extractors.

    Args:
        name: a key of ``SIZES``
        root: folder below which the archives of the corpus were unpacked
    """

    name: str
    root: Path

    @property
    def size(self) -> int:
        """Number of values."""
        return SIZES[self.name]


def distributed(name: str, root: Path | str, *, simulated: bool) -> Distributed:
    """A feature of the organisers; on simulated films, the one that stands in for it.

    Args:
        name: a key of ``SIZES``
        root: folder of the corpus
        simulated: whether the films are simulated

    Raises:
        ValueError: if a name is unknown
    """
    if name not in SIZES:
        raise ValueError(f"no organisers' features {name}, there are {', '.join(SIZES)}")
    if simulated:
        name = STAND_INS.get(name, name)
    return Distributed(name, Path(root))


def add_distributed(
    table: FeatureTable, features: Sequence[Distributed], corpus: Corpus, *, missing: str = "error"
) -> FeatureTable:
    """Adds features of the organisers to a table of other features of the same films.

    Args:
        table: of some or all clips of the corpus; no clip is added to it
        features: of the organisers
        corpus: cut into seconds
        missing: as for :func:`organisers`, and also for a second after the end of a series:
            ``"zeros"`` fills it with zeros and lists it in ``FeatureTable.missing``

    Raises:
        FileFormatError: as :func:`organisers`, and for a series that ends before the annotation,
            unless ``missing`` is zeros
        ValueError: if the clips are not seconds
    """
    arrays = dict(table.arrays)
    names = dict(table.names)
    lacking = dict(table.missing)
    for feature in features:
        found = organisers(corpus, feature.root, (feature.name,), missing=missing)
        place = {clip: row for row, clip in enumerate(found.clips)}
        absent = [clip for clip in table.clips if clip not in place]
        if absent and missing == "error":
            expected = f"expected {feature.name} of {absent[0]}, found a series that ends before it"
            raise FileFormatError(feature.root, f"{expected} (missing='zeros' goes on)")
        array = np.zeros((len(table), feature.size), np.float32)
        for row, clip in enumerate(table.clips):
            if clip in place:
                array[row] = found[feature.name][place[clip]]
        arrays[feature.name] = array
        names[feature.name] = found.names[feature.name]
        without = {*found.missing.get(feature.name, ()), *absent}
        if without:
            lacking[feature.name] = tuple(clip for clip in table.clips if clip in without)
    return replace(table, arrays=arrays, names=names, missing=lacking)


def organisers(
    corpus: Corpus,
    root: str | Path,
    names: Sequence[str] = tuple(SIZES),
    *,
    missing: str = "error",
) -> FeatureTable:
    """Reads the organisers' features of films cut into seconds.

    A series of files that ends before the annotation cuts the film short in every feature;
    ``skipped`` says by how much, film by film.
    A second within a series whose file is absent or empty has no value:
    it gets zeros and is listed in ``missing``.
    For the faults of the real corpus that are known by name (``KNOWN_FAULTS``)
    this happens whatever ``missing`` says, also for a file with too few values.

    Args:
        corpus: ``segments(load_mediaeval18(root), seconds=1.0)``
        root: folder below which the archives were unpacked: the features of a film are in
            ``audio_features/<film>`` and ``visual_features/<film>/<name>``, at any depth
        names: ``audio`` or visual features
            (acc cedd cl eh fcth gabor jcd sc tamura lbp fc6)
        missing: for seconds of other films without a value: ``"error"``, or ``"zeros"``

    Returns:
        FeatureTable of the clips that have every feature, in the order of the corpus

    Raises:
        NotFoundError: if the archives of these features are not below ``root``
        FileFormatError: if a series is absent or does not count from 1,
            or a file is absent, empty or does not have as many values as it should
        ValueError: if a name is unknown, or the clips are not seconds

    Warns:
        UserWarning: how many series differ from their annotation and how many seconds are lost;
            how many seconds have no value
    """
    _check_arguments(corpus, names, missing)
    root = Path(root)
    clips = corpus.clips
    ids = clips["clip"].to_numpy()
    seconds = clips["start"].to_numpy().astype(int) + 1  # files count from 1
    folders = _film_folders(root, set(clips["source"]))
    _refuse_absent(folders, root, names)
    arrays = {name: np.zeros((len(clips), SIZES[name]), np.float32) for name in names}
    without = {name: [] for name in names}
    kept = np.ones(len(clips), bool)
    report = []
    for film, rows in clips.groupby("source", sort=False).indices.items():
        for name in names:
            series = _series(folders, root, film, name)
            last = max(series)
            report += _length_report(film, name, last, seconds[rows[-1]])
            kept[rows[seconds[rows] > last]] = False
            is_known = name in KNOWN_FAULTS.get(film, ())
            for row in rows[seconds[rows] <= last]:
                values = _second(series, seconds[row], name, short=is_known)
                if values is not None:
                    arrays[name][row] = values
                elif is_known or missing == "zeros":
                    without[name].append(ids[row])
                else:
                    raise _absent(series, seconds[row], name)
    lacking = {name: tuple(clips) for name, clips in without.items() if clips}
    _warn(corpus.name, report, int((~kept).sum()), lacking)
    return FeatureTable(
        clips=tuple(ids[kept]),
        arrays={name: array[kept] for name, array in arrays.items()},
        names={name: tuple(f"{name}_{i}" for i in range(SIZES[name])) for name in names},
        simulated=corpus.simulated,
        missing=lacking,
        skipped=tuple(report),
    )


def _length_report(film: str, name: str, last: int, annotated: int) -> list[str]:
    """One line if a series ends at another second than the annotation, else none."""
    if last == annotated:
        return []
    side = "before" if last < annotated else "after"
    return [f"{film}: {name} ends {abs(annotated - last)} s {side} the annotation"]


def _check_arguments(corpus: Corpus, names: Sequence[str], missing: str) -> None:
    """Raises ValueError if an argument of :func:`organisers` is not as documented."""
    unknown = [name for name in names if name not in SIZES]
    if unknown:
        available = ", ".join(SIZES)
        raise ValueError(f"no organisers' features {', '.join(unknown)}, there are {available}")
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
        FileFormatError: if a film has two folders of a kind
    """
    folders = {}
    # The folders of films are not searched: each holds thousands of files.
    for folder in folders_below(root, closed=films):
        film = folder.name
        kind = folder.parent.name
        if film not in films or kind not in FEATURE_FOLDERS:
            continue
        if (film, kind) in folders:
            other = folders[film, kind]
            raise FileFormatError(folder, f"expected one such folder, there is {other} too")
        folders[film, kind] = folder
    return folders


def _refuse_absent(folders: dict[tuple[str, str], Path], root: Path, names: Sequence[str]) -> None:
    """Raises NotFoundError if no film has a folder of a kind that is needed."""
    needed = {"audio_features" if name == "audio" else "visual_features" for name in names}
    for kind in sorted(needed - {kind for _, kind in folders}):
        archive = kind.capitalize()
        raise NotFoundError(
            f"the organisers' features of MediaEval 2018 at {root}: looked in every folder for "
            f"{kind}/<film>, which are in the archives MEDIAEVAL18-...-{archive}. "
            f"Ask for them at {ASK}"
        )


def _series(
    folders: dict[tuple[str, str], Path], root: Path, film: str, name: str
) -> dict[int, Path]:
    """Finds the files of one feature of a film, by the number of their second, from 1.

    Raises:
        FileFormatError: if there is none, if two have one number, or if they begin at 0:
            the second that a file belongs to would then be a guess
    """
    if name == "audio":
        place = Path("audio_features", film)
        folder = folders.get((film, "audio_features"))
        start = f"{film}_"
        end = ".csv"
    else:
        place = Path("visual_features", film, name)
        folder = folders.get((film, "visual_features"), root) / name
        start = f"{film}-"
        end = f"_{name}.txt"
    paths = []
    if folder is not None and folder.is_dir():
        paths = sorted(folder.iterdir())
    series = {}
    for path in paths:
        number = path.name.removeprefix(start).removesuffix(end)
        if path.name != f"{start}{number}{end}" or not number.isdecimal():
            continue
        if int(number) in series:
            raise FileFormatError(path, f"expected each second once, found {int(number)} again")
        series[int(number)] = path
    if not series:
        raise FileFormatError(root / place, f"expected files {start}00001{end}, ..., found none")
    if 0 in series:
        expected = f"expected files that count from 1 ({start}00001{end}), found one numbered 0"
        raise FileFormatError(series[0], expected)
    return series


def _second(series: dict[int, Path], second: int, name: str, *, short: bool) -> np.ndarray | None:
    """Reads the values of one second, None where it has no file or the file has no values."""
    if second not in series:
        return None
    return _read(series[second], name, short=short)


def _absent(series: dict[int, Path], second: int, name: str) -> FileFormatError:
    """The error for a second without values: names the file that should hold them."""
    path = series.get(second)
    if path is None:
        # Named like another file of the series, with its own number.
        number, other = next(iter(series.items()))
        path = other.with_name(other.name.replace(f"{number:05d}", f"{second:05d}"))
    expected = f"expected {SIZES[name]} values of second {second}, found none"
    return FileFormatError(path, f"{expected} (missing='zeros' goes on)", row=1)


def _read(path: Path, name: str, *, short: bool = False) -> np.ndarray | None:
    """Reads the values of one second.

    Args:
        path: one line of values; of ``audio`` an ARFF file,
            whose last line holds a name, the values and a class
        name: of the feature
        short: whether the file may have too few values

    Returns:
        the values; None where the file is empty, or where it has too few and that is allowed

    Shape:
        result ``(SIZES[name],)``, float64
    """
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return None
    _check_single_row(path, name, [line.strip().lower() for line in lines[:-1]])
    cells = lines[-1].split(",")
    size = SIZES[name]
    length = size if name != "audio" else ARFF_BEFORE + size + ARFF_AFTER
    if short and len(cells) < length:
        return None
    if name == "audio":
        if len(cells) != length:
            expected = f"expected a name, {size} values and a class, found {len(cells)} cells"
            raise FileFormatError(path, expected, row=len(lines))
        cells = cells[ARFF_BEFORE:-ARFF_AFTER]
    return _numbers(cells, size, path, row=len(lines))


def _numbers(cells: list[str], size: int, path: Path, *, row: int) -> np.ndarray:
    """The values of one row of a file, all of which must be finite.

    Shape:
        result ``(size,)``, float64
    """
    try:
        values = np.array(cells, np.float64)
    except ValueError as error:
        raise FileFormatError(path, f"expected numbers: {error}", row=row) from None
    finite = np.isfinite(values).sum()
    if len(values) != size or finite != size:
        expected = f"expected {size} finite values, found {finite} of {len(values)}"
        raise FileFormatError(path, expected, row=row)
    return values


def _check_single_row(path: Path, name: str, before: list[str]) -> None:
    """Raises FileFormatError if a file has other rows of values before its last line."""
    row = len(before) + 1
    if name == "audio":
        if "@data" not in before:
            raise FileFormatError(path, "expected ARFF with a row after @data, found none", row=row)
        before = before[before.index("@data") + 1 :]
    if any(before):
        raise FileFormatError(path, "expected one row of values, found more", row=row)


def load_liris_features(
    root: str | Path, names: Sequence[str] = ("arousal", "valence")
) -> FeatureTable:
    """Reads the features of the 9,800 excerpts that come with LIRIS-ACCEDE.

    Each set was chosen for one label:
    ``arousal`` (23 features) and ``valence`` (17) by Baveye et al., 2015,
    ``valence_acii2013`` (14) by an earlier paper.
    The values are those of the files, of very different sizes: standardise them.

    Args:
        root: folder below which ``LIRIS-ACCEDE-features.zip`` was unpacked
        names: sets to read: ``arousal``, ``valence`` or ``valence_acii2013``

    Returns:
        FeatureTable with one row per excerpt, in the order of the files;
        columns have the names of the files

    Shape:
        arrays ``(9800, 23)``, ``(9800, 17)`` and ``(9800, 14)``, float32

    Raises:
        NotFoundError: if a file is absent
        FileFormatError: if a file lacks a column, has a cell that is no finite number,
            names an excerpt twice, or names other excerpts than the first file
        ValueError: if a name is unknown

    References:
        Baveye et al., 2015
    """
    unknown = [name for name in names if name not in LIRIS_FILES]
    if unknown:
        raise ValueError(f"no features {', '.join(unknown)}, there are {', '.join(LIRIS_FILES)}")
    root = Path(root)
    wanted = [LIRIS_FILES[name] for name in names]
    files = corpus_files(root, wanted, name="Features of LIRIS-ACCEDE", ask=ASK)
    clips = None
    arrays = {}
    columns = {}
    for name, file in zip(names, wanted, strict=True):
        path = find_file(files, file, root=root)
        table = _liris_table(path, LIRIS_SIZES[name])
        if clips is None:
            clips = table.index
        if not table.index.equals(clips):
            raise FileFormatError(path, f"expected the excerpts of {wanted[0]}, in the same order")
        arrays[name] = table.to_numpy(np.float32)
        columns[name] = tuple(table.columns)
    return FeatureTable(tuple(clips), arrays, columns, is_simulated(root))


def _liris_table(path: Path, size: int) -> pd.DataFrame:
    """Reads one file of features: a row per excerpt, whose name is the index."""

    def fault(row: int, expected: str) -> None:
        raise FileFormatError(path, expected, row=row)

    table = read_table(path, ("id", "name"), delimiter="\t")
    table["name"] = table["name"].str.removesuffix(".mp4")
    unique(table, "name", fault)
    columns = [column for column in table.columns if column not in ("id", "name")]
    if len(columns) != size:
        fault(1, f"expected id, name and {size} features, found {len(columns)} features")
    largest = float(np.finfo(np.float32).max)
    values = numbers(table, dict.fromkeys(columns, (-largest, largest)), fault)
    return values.set_axis(table["name"], axis="index")

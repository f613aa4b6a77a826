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

from affectlib.corpora.base import CorpusFormatError
from affectlib.corpora.files import corpus_files, find_file, is_simulated, numbers, read_table, unique
from affectlib.corpora.liris_accede import ASK
from affectlib.corpora.mediaeval import KNOWN_FAULTS
from affectlib.features.store import FeatureTable

VISUAL = {"acc": 256, "cedd": 144, "cl": 33, "eh": 80, "fcth": 192, "gabor": 60, "jcd": 168, "sc": 64, "tamura": 18,
          "lbp": 256, "fc6": 4096}
SIZES = {"audio": 1582} | VISUAL
LIRIS_FILES = {
    "arousal": "ACCEDEfeaturesArousal_TAC2015.txt",
    "valence": "ACCEDEfeaturesValence_TAC2015.txt",
    "valence_acii2013": "ACCEDEfeaturesValence_ACII2013.txt",
}
LIRIS_SIZES = {"arousal": 23, "valence": 17, "valence_acii2013": 14}


def organisers(corpus, root, names=tuple(SIZES), *, missing="error") -> FeatureTable:
    """Reads the organisers' features of films cut into seconds.

    A series that ends before the annotation cuts the film short in every feature; ``skipped`` says by how much, film
    by film. A second within a series whose file is absent or empty has no value: zeros, listed in ``missing``. Where
    the fault is one of the real corpus, known by name (``KNOWN_FAULTS``), that is done unasked, also for a file
    that is short of values.

    Args:
        corpus: ``segments(load_mediaeval18(root), seconds=1.0)``
        root: folder of the corpus
        names: among ``audio`` and the visual ones (acc cedd cl eh fcth gabor jcd sc tamura lbp fc6)
        missing: for the seconds of other films without a value: ``"error"``, or ``"zeros"``

    Returns:
        FeatureTable of the clips that have every feature, in the order of the corpus

    Raises:
        CorpusFormatError: if a series is absent, or a file is absent, empty or not as long as it should be
        ValueError: if a name is unknown, or the clips are no seconds

    Warns:
        UserWarning: how many series differ from their annotation, and how many seconds are lost; how many seconds
            have no value
    """
    if unknown := [name for name in names if name not in SIZES]:
        raise ValueError(f"no organisers' features {', '.join(unknown)}, there are {', '.join(SIZES)}")
    if missing not in ("error", "zeros"):
        raise ValueError(f"missing is 'error' or 'zeros', not {missing!r}")
    clips = corpus.clips
    if "start" not in clips or (clips["seconds"] != 1).any():
        raise ValueError(f"{corpus.name}: cut into seconds first, with segments(corpus, seconds=1.0)")
    kept, arrays, lacking, report, lost = np.ones(len(clips), bool), {}, {}, [], 0
    arrays = {name: np.zeros((len(clips), SIZES[name]), np.float32) for name in names}
    for film, rows in clips.groupby("source", sort=False).indices.items():
        frames = clips["start"].to_numpy()[rows].astype(int) + 1  # files count from 1
        for name in names:
            files = _series(Path(root), film, name)
            known = name in KNOWN_FAULTS.get(film, ())
            if short := frames[-1] - max(files):
                kept[rows[frames > max(files)]] = False
                report.append(f"{film}: {name} ends {abs(short)} s {'before' if short > 0 else 'after'} the annotation")
            for row, frame in zip(rows, frames, strict=True):
                if frame > max(files):
                    continue
                values = _read(files[frame], name, short=known) if frame in files else None
                if values is not None:
                    arrays[name][row] = values
                elif known or missing == "zeros":
                    lacking.setdefault(name, []).append(clips["clip"].iloc[row])
                else:
                    raise CorpusFormatError(files.get(frame, _path(files, frame)), f"expected {SIZES[name]} values of "
                                            f"second {frame}, found none (missing='zeros' goes on)", row=1)
        lost += int((~kept[rows]).sum())
    if report:
        warnings.warn(f"{corpus.name}: {len(report)} series differ from their annotation in length; cut to the "
                      f"shorter, {lost} s lost (listed in skipped)", stacklevel=2)
    for name, ids in lacking.items():
        films = len({clip.rpartition(":")[0] for clip in ids})
        warnings.warn(f"{corpus.name}: {len(ids)} seconds of {films} films have no {name}; zeros (listed in missing)",
                      stacklevel=2)
    numbered = {name: tuple(f"{name}_{i}" for i in range(SIZES[name])) for name in names}
    return FeatureTable(tuple(clips["clip"][kept]), {name: array[kept] for name, array in arrays.items()}, numbered,
                        corpus.simulated, {name: tuple(ids) for name, ids in lacking.items()}, tuple(report))


def _series(root, film, name):
    """Frame number to file."""
    sound = name == "audio"
    where = f"*-{'Audio' if sound else 'Visual'}_features/{'audio' if sound else 'visual'}_features/{film}"
    where += "" if sound else f"/{name}"
    start, end = (f"{film}_", ".csv") if sound else (f"{film}-", f"_{name}.txt")
    files = {int(number): path for path in root.glob(f"{where}/{start}*{end}")
             if (number := path.name.removeprefix(start).removesuffix(end)).isdecimal()}
    if not files:
        raise CorpusFormatError(root / where, f"expected files {start}00001{end}, ..., found none")
    return files


def _path(files, frame):
    """Where a frame's file should be, by the name of another's."""
    number, path = next(iter(files.items()))
    return path.with_name(path.name.replace(f"{number:05d}", f"{frame:05d}"))


def _read(path, name, *, short=False):
    """Values of one second, None where the file is empty or, of a file that may be ``short``, has too few."""
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    if not lines:
        return None
    cells, before = lines[-1].split(","), [line.strip().lower() for line in lines[:-1]]
    if name == "audio" and "@data" not in before:
        raise CorpusFormatError(path, "expected ARFF with a row after @data, found none", row=len(lines))
    if any(before[before.index("@data") + 1:] if name == "audio" else before):
        raise CorpusFormatError(path, "expected one row of values, found more", row=len(lines))
    if short and len(cells) < SIZES[name] + 2 * (name == "audio"):
        return None
    if name == "audio":  # ARFF: name, values, class
        if len(cells) != SIZES[name] + 2:
            expected = f"expected a name, {SIZES[name]} values and a class, found {len(cells)} cells"
            raise CorpusFormatError(path, expected, row=len(lines))
        cells = cells[1:-1]
    try:
        values = np.array(cells, np.float64)
    except ValueError as error:
        raise CorpusFormatError(path, f"expected numbers: {error}", row=len(lines)) from None
    if len(values) != SIZES[name] or not np.isfinite(values).all():
        expected = f"expected {SIZES[name]} finite values, found {np.isfinite(values).sum()} of {len(values)}"
        raise CorpusFormatError(path, expected, row=len(lines))
    return values


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
            raise CorpusFormatError(path, f"expected the excerpts of {wanted[0]}, in the same order")
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

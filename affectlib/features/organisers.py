"""The features that MediaEval's organisers give with the films: read, one row per second, instead of computed.

References:
    Dellandréa et al. (2018), The MediaEval 2018 emotional impact of movies task: the list of features.
"""

import warnings
from pathlib import Path

import numpy as np

from affectlib.corpora.base import CorpusFormatError
from affectlib.corpora.mediaeval import KNOWN_FAULTS
from affectlib.features.store import FeatureTable

VISUAL = {"acc": 256, "cedd": 144, "cl": 33, "eh": 80, "fcth": 192, "gabor": 60, "jcd": 168, "sc": 64, "tamura": 18,
          "lbp": 256, "fc6": 4096}
SIZES = {"audio": 1582} | VISUAL


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

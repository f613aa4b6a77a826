"""AFEW-VA: 600 clips of acted faces from feature films, valence and arousal annotated frame by frame."""

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib import paths
from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.files import Faults, is_simulated, require

LABELS = ("valence", "arousal")
HERTZ = 25.0
BOX = ("left", "top", "right", "bottom")
FACE_MARGIN = 1.4  # side of the square cut out, over the longer side of the landmarks' box
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "J. Kossaifi, G. Tzimiropoulos, S. Todorovic, M. Pantic, AFEW-VA database for valence and arousal estimation "
    "in-the-wild, Image and Vision Computing, 2017"
)
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


def load_afew_va(root, *, on_error="raise"):
    """Reads AFEW-VA from ``NNN/NNN.json`` and ``NNN/NNNNN.png``, at any depth, and from zip parts.

    Parts are unpacked beside themselves, once (:func:`unpack`). ``NNN_cropped`` twins are left alone.

    Args:
        root: folder of the corpus
        on_error: ``"raise"``, or ``"skip"`` to drop a clip at fault and list it in ``skipped``

    Returns:
        Corpus with one clip per folder (``path``), its actor as group. ``annotations`` has one row per frame: also
        frame (its number; there are gaps) and left, top, right, bottom of the landmarks in pixels, nan without them

    Raises:
        CorpusNotFoundError: if ``root`` is no AFEW-VA
        CorpusFormatError: if a part, an annotation or a frame is not as expected

    References:
        Kossaifi et al., 2017; mood_change 2.1
    """
    root, faults = Path(root), Faults(on_error)
    for part in sorted(root.glob("**/*.zip")):
        unpack(part)
    require(root, ["**/[0-9][0-9][0-9]/[0-9][0-9][0-9].json"], name="AFEW-VA", ask="ibug.doc.ic.ac.uk")
    folders = {}
    for folder in sorted(path for path in root.rglob("*") if re.fullmatch(r"\d{3}", path.name) and path.is_dir()):
        if folder.name in folders:
            expected = f"expected each clip once, found {folder.name} also under {folders[folder.name].parent}"
            faults(folder.name, CorpusFormatError(folder, expected))
        folders[folder.name] = folder
    clips, annotations = [], []
    for clip, folder in folders.items():
        try:
            actor, rows = _annotation(folder)
            _look_at_frames(folder, rows["frame"])
        except CorpusFormatError as fault:
            faults(clip, fault)
        if clip not in faults.found:
            clips.append((clip, str(folder), actor, "", len(rows) / HERTZ, *rows[list(LABELS)].mean()))
            annotations.append(rows.assign(clip=clip, time=rows["frame"] / HERTZ))
    faults.refuse_empty(clips)
    return Corpus(
        name="afew_va", clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[[*ANNOTATION_COLUMNS, "frame", *BOX]],
        labels=LABELS, value_range=(-10, 10), hertz=HERTZ, license=LICENSE, citation=CITATION,
        simulated=is_simulated(root), skipped=faults.messages(),
    )


def unpack(part):
    """Unpacks a zip into the folder of its name beside it, whole or not at all; one that stands is left as it is.

    Raises:
        CorpusFormatError: if it is no zip, or broken, or a member would lie outside the folder or is a link
    """
    target = part.with_suffix("")
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part) as content:
            for member in content.infolist():
                pieces = re.split(r"[/\\]", member.filename)
                if pieces[0] == "" or ".." in pieces or ":" in pieces[0] or member.external_attr >> 28 == 0o12:
                    raise CorpusFormatError(part, f"expected names inside the folder, found {member.filename!r}")
            content.extractall(partial)
        os.replace(partial, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CorpusFormatError(part, f"expected a whole zip: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _annotation(folder):
    """Actor and table of frames of one clip."""
    path = folder / f"{folder.name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusFormatError(path, "expected this file, found none") from None
    except json.JSONDecodeError as error:
        raise CorpusFormatError(path, f"expected JSON: {error.msg}", row=error.lineno) from None
    except UnicodeDecodeError:
        raise CorpusFormatError(path, "expected text in UTF-8") from None
    content = content if isinstance(content, dict) else {}
    actor, frames = content.get("actor"), content.get("frames")
    if not isinstance(actor, str) or not actor.strip():
        raise CorpusFormatError(path, "expected actor, a name, found none")
    if not isinstance(frames, dict) or not frames:
        raise CorpusFormatError(path, "expected frames, found none")
    rows = []
    for key, frame in sorted(frames.items()):
        def fault(expected, key=key):
            raise CorpusFormatError(path, expected, row=f"frame {key}")

        if not re.fullmatch(r"\d{5}", key) or not isinstance(frame, dict):
            fault("expected a frame by its five digits")
        values = [frame.get(label) for label in LABELS]
        for label, value in zip(LABELS, values, strict=True):
            if type(value) not in (int, float) or value != np.rint(value) or not -10 <= value <= 10:
                fault(f"expected {label} as an integer in [-10, 10], found {value!r}")
        box = [np.nan] * 4
        if frame.get("landmarks") is not None:
            try:
                points = np.array(frame["landmarks"], dtype=float)
            except (TypeError, ValueError):
                points = np.empty(0)
            if points.shape != (68, 2) or not np.isfinite(points).all():
                fault("expected 68 landmarks of x and y, or null")
            box = [*points.min(0), *points.max(0)]
        rows.append((int(key), *map(float, values), *box))
    return actor, pd.DataFrame(rows, columns=["frame", *LABELS, *BOX])


def _look_at_frames(folder, frames):
    """Every frame is there and whole, by its first and last bytes."""
    for frame in frames:
        path = folder / f"{frame:05d}.png"
        try:
            with path.open("rb") as file:
                begin = file.read(8)
                file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
                whole = begin == _PNG_BEGIN and file.read() == _PNG_END
        except FileNotFoundError:
            raise CorpusFormatError(path, f"expected this frame, which {folder.name}.json lists, found none") from None
        if not whole:
            raise CorpusFormatError(path, "expected a whole png, the file is cut or another format")


def frame_array(corpus, *, crop="face", size=32, store=None, jobs=2, progress=False):
    """All frames of a corpus as one small picture each, decoded once and mapped from disk afterwards.

    Each clip is kept as soon as it is decoded: a run that was killed goes on where it ended. A changed frame,
    box or clip list makes a new file.

    Args:
        corpus: of :func:`load_afew_va`
        crop: ``"face"``, a square around the landmarks (black where there are none), or ``"frame"``, all of it
        size: side of the result in pixels
        store: folder of the file, by default ``frames`` in the cache
        jobs: threads that decode
        progress: show a bar

    Shape:
        ``(frames, size, size, 3)`` uint8 RGB, row by row as ``corpus.annotations``

    Raises:
        ValueError: if ``crop`` is neither
        CorpusFormatError: if a frame cannot be decoded
    """
    from tqdm import tqdm

    if crop not in ("face", "frame"):
        raise ValueError(f"crop is 'face' or 'frame', not {crop!r}")
    store = Path(store or paths.CACHE / "frames")
    folders = corpus.clips.set_index("clip")["path"]
    tasks = []
    for clip, rows in corpus.annotations.groupby("clip", sort=False):
        files = [os.path.join(folders[clip], f"{frame:05d}.png") for frame in rows["frame"]]
        boxes = rows[list(BOX)].to_numpy() if crop == "face" else None
        about = [(file, (stat := os.stat(file)).st_size, stat.st_mtime_ns) for file in files]
        key = hashlib.sha256(repr((about, boxes if boxes is None else boxes.tolist(), size, crop)).encode()).hexdigest()
        tasks.append((store / f"{corpus.name}-{clip}-{key[:16]}.npy", files, boxes, size))
    key = hashlib.sha256("".join(task[0].name for task in tasks).encode()).hexdigest()
    final = store / f"{corpus.name}-{crop}-{key[:16]}.npy"
    if not final.exists():
        store.mkdir(parents=True, exist_ok=True)
        waiting = sorted((task for task in tasks if not task[0].exists()), key=lambda task: -len(task[1]))  # long first
        if jobs > 1 and len(waiting) > 1:
            with ThreadPoolExecutor(min(jobs, len(waiting))) as pool:  # OpenCV decodes without the interpreter's lock
                list(tqdm(pool.map(_decode, waiting), total=len(waiting), disable=not progress, unit="clip"))
        else:
            for task in tqdm(waiting, disable=not progress, unit="clip"):
                _decode(task)
        _save(final, np.concatenate([np.load(task[0]) for task in tasks]))
        for task in tasks:
            task[0].unlink(missing_ok=True)
    return np.load(final, mmap_mode="c")


def _decode(task):
    """Frames of one clip, written to its file."""
    import cv2

    cv2.setNumThreads(1)
    path, files, boxes, size = task
    pictures = np.zeros((len(files), size, size, 3), np.uint8)
    for i, file in enumerate(files):
        picture = cv2.imread(file)
        if picture is None:
            raise CorpusFormatError(file, "expected a png that can be decoded")
        if boxes is not None:
            if np.isnan(boxes[i, 0]):
                continue
            picture = _square(picture, boxes[i])
        pictures[i] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]
    _save(path, pictures)


def _square(picture, box):
    """Square around a box, the edge repeated where it reaches over the picture."""
    import cv2

    middle, side = (box[:2] + box[2:]) / 2, max(2, round(FACE_MARGIN * max(box[2:] - box[:2])))
    left, top = np.rint(middle - side / 2).astype(int)
    right, bottom = left + side, top + side
    height, width = picture.shape[:2]
    over = max(0, -left, -top, right - width, bottom - height)
    if over:
        picture = cv2.copyMakeBorder(picture, over, over, over, over, cv2.BORDER_REPLICATE)
    return picture[top + over:bottom + over, left + over:right + over]


def _save(path, array):
    """Writes a whole file or none."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.save(file, array)
    os.replace(partial, path)

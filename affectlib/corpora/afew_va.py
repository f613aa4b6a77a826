"""AFEW-VA: 600 clips of acted faces from feature films, valence and arousal annotated frame by frame."""

import hashlib
import json
import lzma
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
from affectlib.corpora.files import Faults, is_simulated, require, visible

LABELS = ("valence", "arousal")
HERTZ = 25.0
BOX = ("left", "top", "right", "bottom")
FACE_MARGIN = 1.4  # side of the square cut out, over the longer side of the landmarks' box
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "J. Kossaifi, G. Tzimiropoulos, S. Todorovic, M. Pantic, AFEW-VA database for valence and arousal estimation "
    "in-the-wild, Image and Vision Computing, 2017"
)
_JSON = "**/[0-9][0-9][0-9]/[0-9][0-9][0-9].json"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


def load_afew_va(root, *, on_error="raise", decode=False):
    """Reads AFEW-VA from ``NNN/NNN.json`` and ``NNN/NNNNN.png``, at any depth, and from zip parts.

    Parts, also parts inside parts, are unpacked beside themselves, once (:func:`unpack`). ``NNN_cropped`` twins, hidden
    folders and ``__MACOSX`` are left alone. Blanks around the name of an actor do not count.

    Args:
        root: folder of the corpus
        on_error: ``"raise"``, or ``"skip"`` to drop a clip or a part at fault and list it in ``skipped``
        decode: decode every frame, minutes for the whole corpus, so that :func:`frame_array` meets none that it cannot;
            otherwise a frame is looked at by its first and last bytes

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
    _unpack_all(root, faults)
    faults.refuse_empty(list(visible(root, _JSON)))
    require(root, [_JSON], name="AFEW-VA", ask="ibug.doc.ic.ac.uk")
    folders, videos = {}, {}
    for folder in sorted(path for path in visible(root, "**/[0-9][0-9][0-9]") if path.is_dir()):
        if folder.name in folders:
            expected = f"expected each clip once, found {folder.name} also under {folders[folder.name].parent}"
            faults(folder.name, CorpusFormatError(folder, expected))
        folders[folder.name] = folder
    clips, annotations = [], []
    for clip, folder in folders.items():
        try:
            actor, video, rows = _annotation(folder)
            _look_at_frames(folder, rows["frame"], decode)
            if videos.setdefault(video, clip) != clip:
                expected = f"expected each video_id once, found {video!r} of clip {videos[video]} again"
                raise CorpusFormatError(folder / f"{clip}.json", expected)
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


def _unpack_all(root, faults):
    """Unpacks the parts under a folder, then those that came out of them, until there is no new one."""
    known = set()
    while parts := sorted(path for path in visible(root, "**/*.zip") if path.is_file() and path not in known):
        for part in parts:
            try:
                unpack(part)
            except CorpusFormatError as fault:
                faults(part.relative_to(root).as_posix(), fault)
        known.update(parts)


def unpack(part):
    """Unpacks a zip into the folder of its name beside it, whole or not at all; one that stands is left as it is.

    Raises:
        CorpusFormatError: if it is no zip, or broken, or locked by a password, or a member would lie outside the folder
            or is a link
    """
    target = part.with_suffix("")
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)  # of a process of this number that was killed
    try:
        with zipfile.ZipFile(part) as content:
            for member in content.infolist():
                pieces = re.split(r"[/\\]", member.filename)
                if pieces[0] == "" or ".." in pieces or ":" in pieces[0] or member.external_attr >> 28 == 0o12:
                    raise CorpusFormatError(part, f"expected names inside the folder, found {member.filename!r}")
            content.extractall(partial)
        _settle(partial, target)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise CorpusFormatError(part, f"expected a whole zip without a password: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _settle(partial, target):
    """Gives a folder its name, unless another process was faster."""
    try:
        os.replace(partial, target)
    except OSError:
        if not target.is_dir():
            raise


def _object(pairs):
    """Dict of a JSON object; a key that is repeated stands under None, which JSON has not."""
    found = {}
    for key, value in pairs:
        if key in found:
            found[None] = key
        found[key] = value
    return found


def _annotation(folder):
    """Actor, id of the video and table of frames of one clip."""
    path = folder / f"{folder.name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except FileNotFoundError:
        raise CorpusFormatError(path, "expected this file, found none") from None
    except json.JSONDecodeError as error:
        raise CorpusFormatError(path, f"expected JSON: {error.msg}", row=error.lineno) from None
    except UnicodeDecodeError:
        raise CorpusFormatError(path, "expected text in UTF-8") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets without end
        raise CorpusFormatError(path, f"expected JSON: {error}") from None

    def once(part, row=None):
        if None in part:
            raise CorpusFormatError(path, f"expected each key once, found {part[None]!r} again", row=row)

    content = content if isinstance(content, dict) else {}
    once(content)
    frames = content.get("frames")
    if not isinstance(frames, dict) or not frames:
        raise CorpusFormatError(path, "expected frames, found none")
    once(frames, row=f"frame {frames.get(None)}")
    for name in ("actor", "video_id"):
        if not isinstance(content.get(name), str) or not content[name].strip():
            raise CorpusFormatError(path, f"expected {name}, a name, found none")
    rows = []
    for key, frame in sorted(frames.items()):
        def fault(expected, key=key):
            raise CorpusFormatError(path, expected, row=f"frame {key}")

        if not re.fullmatch(r"\d{5}", key) or not isinstance(frame, dict):
            fault("expected a frame by its five digits")
        once(frame, row=f"frame {key}")
        values = [frame.get(label) for label in LABELS]
        for label, value in zip(LABELS, values, strict=True):
            if type(value) not in (int, float) or not -10 <= value <= 10 or value != round(value):
                fault(f"expected {label} as an integer in [-10, 10], found {value!r:.40}")
        box = [np.nan] * 4
        if frame.get("landmarks") is not None:
            try:
                points = np.array(frame["landmarks"], dtype=float)
            except (TypeError, ValueError, OverflowError):
                points = np.empty(0)
            if points.shape != (68, 2) or not np.isfinite(points).all():
                fault("expected 68 landmarks of x and y, or null")
            box = [*points.min(0), *points.max(0)]
        rows.append((int(key), *map(float, values), *box))
    return content["actor"].strip(), content["video_id"].strip(), pd.DataFrame(rows, columns=["frame", *LABELS, *BOX])


def _look_at_frames(folder, frames, decode):
    """Every frame is there and whole, by its first and last bytes, and can be decoded where that is asked for."""
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
        if decode:
            _picture(path)


def _picture(path):
    """One frame as OpenCV decodes it."""
    import cv2

    picture = cv2.imread(str(path))
    if picture is None:
        raise CorpusFormatError(path, "expected a png that can be decoded (decode=True of load_afew_va finds them all)")
    return picture


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
    while not final.exists():
        store.mkdir(parents=True, exist_ok=True)
        waiting = sorted((task for task in tasks if not task[0].exists()), key=lambda task: -len(task[1]))  # long first
        if jobs > 1 and len(waiting) > 1:
            with ThreadPoolExecutor(min(jobs, len(waiting))) as pool:  # OpenCV decodes without the interpreter's lock
                list(tqdm(pool.map(_decode, waiting), total=len(waiting), disable=not progress, unit="clip"))
        else:
            for task in tqdm(waiting, disable=not progress, unit="clip"):
                _decode(task)
        try:
            pictures = np.concatenate([np.load(task[0]) for task in tasks])
        except FileNotFoundError:  # another process at the same clips was done, and took them away
            continue
        _save(final, pictures)
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
        picture = _picture(file)
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

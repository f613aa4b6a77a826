"""AFEW-VA: 600 clips of acted faces from feature films, annotated frame by frame."""

import hashlib
import io
import json
import lzma
import os
import re
import shutil
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affectlib import paths
from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import Faults, files_below, is_simulated, not_found
from affectlib.errors import FileFormatError
from affectlib.progress import progress_bar

LABELS = ("valence", "arousal")
HERTZ = 25.0
# Columns of the landmarks' box, in pixels.
BOX = ("left", "top", "right", "bottom")
# Side of the square cut out, over the longer side of the box around the landmarks.
FACE_MARGIN = 1.4
# Pixels that a frame, or the square cut out of it, may have in a side: those of films have 2000.
LARGEST_SIDE = 4096
# Bytes that a zip may hold for each of its own, those of the zips in it included.
LARGEST_RATIO = 100
# Zips in which another zip may lie: the parts of a download that was zipped once more need one.
DEEPEST = 2
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "J. Kossaifi, G. Tzimiropoulos, S. Todorovic, M. Pantic, AFEW-VA database for valence and "
    "arousal estimation in-the-wild, Image and Vision Computing, 2017"
)
_ASK = "ibug.doc.ic.ac.uk"
# The folder of a clip is named by three digits.
_CLIP = re.compile(r"[0-9]{3}")
_LANDMARKS = (68, 2)
_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Errors that zipfile raises for damaged, cut or locked files.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


def load_afew_va(root: Path | str, *, on_error: str = "raise", decode: bool = False) -> Corpus:
    """Reads AFEW-VA from ``NNN/NNN.json`` and ``NNN/NNNNN.png``, at any depth, and from zip parts.

    Zip parts, and parts inside parts, are unpacked beside themselves, once (:func:`unpack`).
    Folders that are links are entered. ``NNN_cropped`` folders, hidden folders and ``__MACOSX`` are
    left alone. Blanks around the name of an actor do not count.

    Args:
        root: folder of the corpus
        on_error: ``"raise"``, or ``"skip"`` to drop a clip or a part at fault and list it in
            ``skipped``
        decode: True decodes every frame, which takes minutes for all clips, so that
            :func:`frame_array` meets no damaged one. False checks the first and last bytes

    Returns:
        Corpus with one clip per folder (``path``), its actor as group. ``annotations`` has one row
        per frame, with the columns frame (its number; some are missing) and left, top, right,
        bottom of the landmarks in pixels, nan without them

    Raises:
        NotFoundError: if ``root`` is no AFEW-VA
        FileFormatError: if a part, an annotation or a frame is not as expected, or a frame is
            larger than any film's

    Warns:
        UserWarning: if a real corpus does not hold the published 600 clips, 240 actors and 30,051
            frames

    References:
        Kossaifi et al., 2017; mood_change 2.1
    """
    root = Path(root)
    faults = Faults(on_error)
    files = _unpack_all(root, faults)
    clip_of_video: dict[str, str] = {}
    clips = []
    annotations = []
    for clip, folder in _clip_folders(root, files, faults).items():
        try:
            actor, video, rows = _read_annotation(folder)
            _check_frames(folder, rows, decode)
            other = clip_of_video.setdefault(video, clip)
            if other != clip:
                expected = f"expected each video_id once, found {video!r} of clip {other} again"
                raise FileFormatError(folder / f"{clip}.json", expected)
        except FileFormatError as fault:
            faults(clip, fault)
        # Also a clip without a fault of its own, if a second folder has its name.
        if clip in faults.by_clip:
            continue
        valence = rows["valence"].mean()
        arousal = rows["arousal"].mean()
        clips.append((clip, str(folder), actor, "", len(rows) / HERTZ, valence, arousal))
        annotations.append(rows.assign(clip=clip, time=rows["frame"] / HERTZ))
    faults.refuse_empty(clips)
    corpus = Corpus(
        name="afew_va",
        clips=pd.DataFrame(clips, columns=[*CLIP_COLUMNS, *LABELS]),
        annotations=pd.concat(annotations, ignore_index=True)[[*ANNOTATION_COLUMNS, "frame", *BOX]],
        labels=LABELS,
        value_range=(-10, 10),
        hertz=HERTZ,
        license=LICENSE,
        citation=CITATION,
        simulated=is_simulated(root),
        skipped=faults.messages(),
    )
    warn_if_partial(corpus)
    return corpus


def _clip_folders(root: Path, files: list[Path], faults: Faults) -> dict[str, Path]:
    """Finds the folder of every clip, by the clip's name."""
    annotations = []
    candidates = set()
    for path in files:
        if _CLIP.fullmatch(path.stem) and path.name == f"{path.parent.name}.json":
            annotations.append(path)
        if _CLIP.fullmatch(path.parent.name) and path.parent != root:
            candidates.add(path.parent)
    if not annotations:
        faults.refuse_empty(annotations)
        raise not_found(root, "**/NNN/NNN.json", name="AFEW-VA", ask=_ASK)
    # An empty folder beside the others holds no file, and is at fault too.
    for parent in {path.parent.parent for path in annotations}:
        for entry in parent.iterdir():
            if entry.is_dir() and _CLIP.fullmatch(entry.name):
                candidates.add(entry)
    folders: dict[str, Path] = {}
    for folder in sorted(candidates):
        clip = folder.name
        if clip in folders:
            other = folders[clip].parent
            expected = f"expected each clip once, found {clip} also under {other}"
            faults(clip, FileFormatError(folder, expected))
        folders[clip] = folder
    return folders


def _unpack_all(root: Path, faults: Faults) -> list[Path]:
    """Unpacks the parts below a folder, then parts that came out of them, until none is new.

    Returns:
        every file below the folder
    """
    done: set[Path] = set()
    while True:
        files = files_below(root)
        parts = [path for path in files if path.suffix == ".zip" and path not in done]
        if not parts:
            return files
        for part in parts:
            try:
                unpack(part, largest=_room(root, part))
            except FileFormatError as fault:
                faults(part.relative_to(root).as_posix(), fault)
        done.update(parts)


def _room(root: Path, part: Path) -> int | None:
    """Bytes that a part inside other parts may hold; None for a part that lies in no other.

    A zip of zips could fill the disk though each of them is small.

    Raises:
        FileFormatError: if it lies in too many parts
    """
    around = []
    for folder in part.parents:
        if folder == root:
            break
        # Parts are unpacked into the folder of their name.
        if folder.with_name(f"{folder.name}.zip").is_file():
            around.append(folder)
    if len(around) > DEEPEST:
        raise FileFormatError(
            part,
            f"expected zips at most {DEEPEST} deep in other zips, found one {len(around)} deep",
        )
    if not around:
        return None
    outermost = around[-1]
    size = outermost.with_name(f"{outermost.name}.zip").stat().st_size
    held = sum(path.stat().st_size for path in files_below(outermost))
    return LARGEST_RATIO * size - held


def unpack(part: Path, *, largest: int | None = None) -> None:
    """Unpacks a zip into the folder of its name beside it, completely or not at all.

    A folder that is already there is left as it is.

    Args:
        part: the zip
        largest: bytes that it may hold at most; None for a hundred times its own

    Raises:
        FileFormatError: if the file is not a zip, or is empty, broken or locked by a password,
            holds a file twice, a link, or a name outside the folder, or would become more than a
            hundred times as large, or larger than ``largest``
    """
    target = part.with_suffix("")
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    # A process of this number that was killed may have left the folder.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(part) as content:
            _check_members(part, content.infolist())
            _check_growth(part, content.infolist(), largest)
            content.extractall(partial)
        _rename_folder(partial, target)
    except _ZIP_ERRORS as error:
        raise FileFormatError(part, f"expected a whole zip without a password: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_members(part: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuses a zip that is empty, leaves its folder, holds a link or a file twice."""
    if not members:
        raise FileFormatError(part, "expected files, the zip is empty")
    names = set()
    for member in members:
        pieces = re.split(r"[/\\]", member.filename)
        is_outside = pieces[0] == "" or ".." in pieces or ":" in pieces[0]
        # The upper bits hold the Unix file type.
        is_link = member.external_attr >> 28 == 0o12
        if is_outside or is_link:
            expected = f"expected names inside the folder, found {member.filename!r}"
            raise FileFormatError(part, expected)
        if member.filename in names:
            raise FileFormatError(part, f"expected each file once, found {member.filename!r} again")
        names.add(member.filename)


def _check_growth(part: Path, members: list[zipfile.ZipInfo], largest: int | None) -> None:
    """Refuses a zip that would become too large: a few bytes could fill the disk."""
    # Pictures do not become smaller in a zip.
    size = part.stat().st_size
    content = sum(member.file_size for member in members)
    if content > LARGEST_RATIO * size:
        expected = f"expected at most {LARGEST_RATIO} times the {size} bytes of the zip"
        raise FileFormatError(part, f"{expected}, found {content} bytes")
    if largest is not None and content > largest:
        expected = f"expected at most {LARGEST_RATIO} times the bytes of the zip around it"
        raise FileFormatError(part, f"{expected}, found {content - largest} bytes more")


def _rename_folder(partial: Path, target: Path) -> None:
    """Gives a folder its name, unless another process was faster."""
    try:
        os.replace(partial, target)
    except OSError:
        if not target.is_dir():
            raise


def _read_annotation(folder: Path) -> tuple[str, str, pd.DataFrame]:
    """Reads actor, id of the video and table of frames of one clip."""
    path = folder / f"{folder.name}.json"
    content = _read_json(path)
    _check_keys(path, content)
    frames = content.get("frames")
    if not isinstance(frames, dict) or not frames:
        raise FileFormatError(path, "expected frames, found none")
    _check_keys(path, frames, row=f"frame {frames.get(None)}")
    actor = _name(path, content, "actor")
    video = _name(path, content, "video_id")
    rows = [_frame_row(path, key, frame) for key, frame in sorted(frames.items())]
    return actor, video, pd.DataFrame(rows, columns=["frame", *LABELS, *BOX])


def _read_json(path: Path) -> dict:
    """Reads the object of a JSON file; an empty one if the file holds something else.

    Raises:
        FileFormatError: if the file is absent or is not JSON
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_object)
    except FileNotFoundError:
        raise FileFormatError(path, "expected this file, found none") from None
    except json.JSONDecodeError as error:
        raise FileFormatError(path, f"expected JSON: {error.msg}", row=error.lineno) from None
    except UnicodeDecodeError:
        raise FileFormatError(path, "expected text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        # An integer of thousands of digits, or brackets without end.
        raise FileFormatError(path, f"expected JSON: {error}") from None
    return content if isinstance(content, dict) else {}


def _object(pairs: list[tuple]) -> dict:
    """Makes the dict of a JSON object; a repeated key is recorded under the key None."""
    content = {}
    for key, value in pairs:
        if key in content:
            # JSON has only text as keys, so None is free.
            content[None] = key
        content[key] = value
    return content


def _check_keys(path: Path, content: dict, row: str | None = None) -> None:
    """Refuses an object of a JSON file in which a key was repeated."""
    if None in content:
        expected = f"expected each key once, found {content[None]!r} again"
        raise FileFormatError(path, expected, row=row)


def _name(path: Path, content: dict, key: str) -> str:
    """Returns a name in a JSON object, without blanks around it."""
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise FileFormatError(path, f"expected {key}, a name, found none")
    # Half a character, or a command to a terminal.
    if not value.strip().isprintable():
        raise FileFormatError(
            path, f"expected {key}, a name that can be printed, found {value!a:.40}"
        )
    return value.strip()


def _frame_row(path: Path, key: str, frame: object) -> tuple:
    """Returns number, valence, arousal and box of one frame."""
    row = f"frame {key}"
    if not re.fullmatch(r"[0-9]{5}", key) or not isinstance(frame, dict):
        raise FileFormatError(path, "expected a frame by its five digits", row=row)
    _check_keys(path, frame, row=row)
    values = []
    for label in LABELS:
        value = frame.get(label)
        if not _is_score(value):
            expected = f"expected {label} as an integer in [-10, 10], found {value!r:.40}"
            raise FileFormatError(path, expected, row=row)
        values.append(float(value))
    return (int(key), *values, *_box(path, frame.get("landmarks"), row))


def _is_score(value: object) -> bool:
    """Returns True for an integer in [-10, 10], which JSON may write as ``-2.0``."""
    # Not isinstance: True and False are integers for Python.
    if type(value) not in (int, float):
        return False
    # nan fails this comparison too.
    return -10 <= value <= 10 and value == round(value)


def _box(path: Path, landmarks: object, row: str) -> list[float]:
    """Returns left, top, right and bottom of landmarks, nan without them."""
    if landmarks is None:
        return [np.nan] * 4
    try:
        points = np.array(landmarks, dtype=float)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.shape != _LANDMARKS or not np.isfinite(points).all():
        raise FileFormatError(path, "expected 68 landmarks of x and y, or null", row=row)
    return [*points.min(axis=0), *points.max(axis=0)]


def _check_frames(folder: Path, rows: pd.DataFrame, decode: bool) -> None:
    """Checks that every frame is there and complete, and lies around its landmarks."""
    for frame, *box in rows[["frame", *BOX]].itertuples(index=False):
        path = folder / f"{frame:05d}.png"
        width, height = picture_size(path)
        _check_box(folder, frame, box, width, height)
        if decode:
            _picture(path)


def picture_size(path: Path) -> tuple[int, int]:
    """Reads width and height of a frame from its first bytes, in pixels.

    Raises:
        FileFormatError: if the frame is absent, cut, no png, or larger than any film's
    """
    try:
        with path.open("rb") as file:
            begin = file.read(24)
            size = os.fstat(file.fileno()).st_size
            file.seek(-min(len(_PNG_END), size), os.SEEK_END)
            end = file.read()
    except FileNotFoundError:
        expected = f"expected this frame, which {path.parent.name}.json lists, found none"
        raise FileFormatError(path, expected) from None
    # The piece that tells the size comes first.
    is_png = begin.startswith(_PNG_BEGIN) and begin[12:16] == b"IHDR"
    if not is_png or end != _PNG_END:
        raise FileFormatError(path, "expected a whole png, the file is cut or another format")
    width = int.from_bytes(begin[16:20], "big")
    height = int.from_bytes(begin[20:24], "big")
    # A few bytes may claim a picture of gigabytes.
    if max(width, height) > LARGEST_SIDE:
        expected = f"expected at most {LARGEST_SIDE} pixels a side, found {width} x {height}"
        raise FileFormatError(path, expected)
    return width, height


def _check_box(folder: Path, frame: int, box: list[float], width: int, height: int) -> None:
    """Refuses landmarks that lie further outside the picture than the picture is large.

    Also refuses a face too large to be cut out.
    """
    left, top, right, bottom = box
    if left < -width or top < -height or right > 2 * width or bottom > 2 * height:
        found = f"x from {left:g} to {right:g}, y from {top:g} to {bottom:g}"
        raise FileFormatError(
            folder / f"{folder.name}.json",
            f"expected landmarks in or near the picture of {width} x {height}, found {found}",
            row=f"frame {frame:05d}",
        )
    side = FACE_MARGIN * max(right - left, bottom - top)
    if side > LARGEST_SIDE:
        raise FileFormatError(
            folder / f"{folder.name}.json",
            f"expected a face of at most {LARGEST_SIDE} pixels a side, found {side:g}",
            row=f"frame {frame:05d}",
        )


def _picture(path: Path | str) -> np.ndarray:
    """Decodes one frame with OpenCV.

    Shape:
        ``(height, width, 3)`` uint8 BGR
    """
    import cv2

    picture_size(Path(path))
    try:
        picture = cv2.imread(str(path))
    except cv2.error:
        picture = None
    if picture is None:
        raise FileFormatError(
            path, "expected a png that can be decoded (decode=True of load_afew_va finds them all)"
        )
    return picture


def frame_array(
    corpus: Corpus,
    *,
    crop: str = "face",
    size: int = 32,
    store: Path | str | None = None,
    jobs: int = 2,
    progress: bool | None = None,
) -> np.ndarray:
    """All frames of a corpus as small pictures, decoded once and mapped from disk afterwards.

    Each clip is kept as soon as it is decoded: a run that was killed goes on where it ended.
    A changed frame, box or list of clips makes a new file.
    A SHA-256 of all bytes stands at the end of a file. Pictures that do not fit it are damaged: a
    warning names the file, and they are decoded again.

    Args:
        corpus: from :func:`load_afew_va`
        crop: ``"face"``, a square around the landmarks (black where there are none),
            or ``"frame"``, all of it
        size: side of the result in pixels
        store: folder of the file, by default ``frames`` in the cache
        jobs: threads that decode
        progress: show a bar; None shows one where a notebook is open in JupyterLab

    Shape:
        ``(frames, size, size, 3)`` uint8 RGB, row by row as ``corpus.annotations``

    Raises:
        ValueError: if ``crop`` is neither
        FileFormatError: if a frame cannot be decoded

    Warns:
        UserWarning: if a file of the store is damaged
    """
    if crop not in ("face", "frame"):
        raise ValueError(f"crop is 'face' or 'frame', not {crop!r}")
    store = Path(store or paths.CACHE / "frames")
    tasks = _decode_tasks(corpus, crop, size, store)
    names = "".join(task.path.name for task in tasks)
    key = hashlib.sha256(names.encode()).hexdigest()[:16]
    joined = store / f"{corpus.name}-{crop}-{key}.npy"
    pictures = _load(joined)
    while pictures is None:
        paths.make_folder(store)
        paths.remove_leftovers(store)
        _decode_all(tasks, jobs, progress)
        by_clip = []
        for task in tasks:
            clip = _load(task.path)
            # Copied: a map keeps its file open, and systems allow a few hundred open files.
            by_clip.append(None if clip is None else np.array(clip))
        # None of a clip: another process worked on the same clips, was done first, and removed
        # their files; or a file was damaged meanwhile.
        if all(clip is not None for clip in by_clip):
            _save(joined, np.concatenate(by_clip))
            for task in tasks:
                task.path.unlink(missing_ok=True)
        pictures = _load(joined)
    return pictures


@dataclass(frozen=True)
class _DecodeTask:
    """One clip to decode.

    Args:
        path: receives its pictures
        files: of its frames
        boxes: left, top, right, bottom of the face in each frame; None keeps all of each frame
        size: side of a picture in pixels
    """

    path: Path
    files: list[str]
    boxes: np.ndarray | None
    size: int


def _decode_tasks(corpus: Corpus, crop: str, size: int, store: Path) -> list[_DecodeTask]:
    """One task for each clip; its file is named after all that its pictures depend on."""
    folders = corpus.clips.set_index("clip")["path"]
    tasks = []
    for clip, rows in corpus.annotations.groupby("clip", sort=False):
        files = [os.path.join(folders[clip], f"{frame:05d}.png") for frame in rows["frame"]]
        boxes = rows[list(BOX)].to_numpy() if crop == "face" else None
        state = []
        for file in files:
            stat = os.stat(file)
            state.append((file, stat.st_size, stat.st_mtime_ns))
        box_values = None if boxes is None else boxes.tolist()
        content = repr((state, box_values, size, crop))
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        tasks.append(_DecodeTask(store / f"{corpus.name}-{clip}-{key}.npy", files, boxes, size))
    return tasks


def _decode_all(tasks: list[_DecodeTask], jobs: int, progress: bool | None) -> None:
    """Decodes the clips that have no file yet."""
    waiting = [task for task in tasks if not task.path.exists()]
    # The longest first, so that no thread is left alone with it at the end.
    waiting.sort(key=lambda task: len(task.files), reverse=True)
    # Threads are enough: OpenCV decodes without the interpreter's lock.
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        done = pool.map(_decode, waiting)
        for _ in progress_bar(done, total=len(waiting), progress=progress, unit="clip"):
            pass


def _decode(task: _DecodeTask) -> None:
    """Writes the pictures of one clip to its file."""
    import cv2

    cv2.setNumThreads(1)
    pictures = np.zeros((len(task.files), task.size, task.size, 3), np.uint8)
    for i, file in enumerate(task.files):
        picture = _picture(file)
        if task.boxes is not None:
            if np.isnan(task.boxes[i, 0]):
                continue  # no landmarks: the picture stays black
            picture = _square(picture, task.boxes[i])
        small = cv2.resize(picture, (task.size, task.size), interpolation=cv2.INTER_AREA)
        pictures[i] = small[..., ::-1]  # OpenCV reads blue, green, red
    _save(task.path, pictures)


def _square(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Square around a box; the edge of the picture is repeated where the square reaches over it."""
    middle = (box[:2] + box[2:]) / 2
    side = max(2, round(FACE_MARGIN * max(box[2:] - box[:2])))
    left, top = np.rint(middle - side / 2).astype(int)
    right, bottom = left + side, top + side
    height, width = picture.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return picture[top:bottom, left:right]
    # Not a picture with a border, which may be much larger than the square.
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    return picture[np.ix_(rows, columns)]


def _load(path: Path) -> np.ndarray | None:
    """Maps an array that :func:`_save` wrote; None where there is none, or it was damaged.

    A damaged file is deleted, with a warning.
    """
    try:
        return _checked(path)
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception as error:  # a damaged header can make numpy raise nearly any error
        warnings.warn(
            f"{path}: kept frames are damaged ({error}): they are decoded again", stacklevel=3
        )
        path.unlink(missing_ok=True)
        return None


def _checked(path: Path) -> np.ndarray:
    """Maps an array, and compares its bytes with the digest after them.

    Raises:
        ValueError: if they differ
    """
    array = np.lib.format.open_memmap(path, mode="c")
    content = np.memmap(path, mode="r")  # (bytes,)
    end = array.offset + array.nbytes
    # A file of earlier versions ends without a digest.
    if len(content) > end:
        digest = hashlib.sha256(content[:end]).digest()
        if content[end:].tobytes() != digest:
            raise ValueError("they do not fit their digest")
    return array


def _save(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array)
    paths.write(path, paths.sealed(content.getvalue()))

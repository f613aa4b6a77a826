"""AFEW-VA: 600 clips of acted faces from feature films, valence and arousal annotated frame by frame."""

import hashlib
import io
import json
import lzma
import os
import re
import shutil
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
from affectlib.corpora.files import Faults, files_below, is_simulated
from affectlib.errors import FileFormatError, NotFoundError

LABELS = ("valence", "arousal")
HERTZ = 25.0
BOX = ("left", "top", "right", "bottom")
# Side of the square cut out, over the longer side of the box around the landmarks.
FACE_MARGIN = 1.4
LICENSE = "research use only, given by its owners on request"
CITATION = (
    "J. Kossaifi, G. Tzimiropoulos, S. Todorovic, M. Pantic, AFEW-VA database for valence and arousal estimation "
    "in-the-wild, Image and Vision Computing, 2017"
)
_CLIP = re.compile(r"\d{3}")  # name of a clip's folder
_ASK = "ibug.doc.ic.ac.uk"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"


def load_afew_va(
    root: str | os.PathLike, *, on_error: str = "raise", decode: bool = False
) -> Corpus:
    """Reads AFEW-VA from ``NNN/NNN.json`` and ``NNN/NNNNN.png``, at any depth, and from zip parts.

    Parts, also parts inside parts, are unpacked beside themselves, once (:func:`unpack`). Folders that are links are
    entered. ``NNN_cropped`` twins, hidden folders and ``__MACOSX`` are left alone. Blanks around the name of an actor
    do not count.

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

    Warns:
        UserWarning: if a real corpus does not hold the published 600 clips, 240 actors and 30,051 frames

    References:
        Kossaifi et al., 2017; mood_change 2.1
    """
    root = Path(root)
    faults = Faults(on_error)
    folders = _clip_folders(root, _unpack_all(root, faults), faults)
    videos: dict[str, str] = {}
    clips = []
    annotations = []
    for clip, folder in folders.items():
        try:
            actor, video, rows = _annotation(folder)
            _look_at_frames(folder, rows, decode)
            if videos.setdefault(video, clip) != clip:
                expected = (
                    f"expected each video_id once, found {video!r} of clip {videos[video]} again"
                )
                raise FileFormatError(folder / f"{clip}.json", expected)
        except FileFormatError as fault:
            faults(clip, fault)
        if clip not in faults.found:
            means = rows[list(LABELS)].mean()
            clips.append((clip, str(folder), actor, "", len(rows) / HERTZ, *means))
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
    """Folder of every clip, by the clip's name."""
    annotated = [
        path
        for path in files
        if _CLIP.fullmatch(path.stem) and path.name == f"{path.parent.name}.json"
    ]
    faults.refuse_empty(annotated)
    if not annotated:
        what = "not this corpus" if root.is_dir() else "no such folder"
        raise NotFoundError(
            f"AFEW-VA at {root}: {what}; looked for **/NNN/NNN.json. Ask for it at {_ASK}"
        )
    found = {
        path.parent for path in files if _CLIP.fullmatch(path.parent.name) and path.parent != root
    }
    # A folder beside the others that is empty holds no file, and is at fault all the same.
    for parent in {path.parent.parent for path in annotated}:
        found |= {
            entry for entry in parent.iterdir() if entry.is_dir() and _CLIP.fullmatch(entry.name)
        }
    folders: dict[str, Path] = {}
    for folder in sorted(found):
        if folder.name in folders:
            expected = f"expected each clip once, found {folder.name} also under {folders[folder.name].parent}"
            faults(folder.name, FileFormatError(folder, expected))
        folders[folder.name] = folder
    return folders


def _unpack_all(root: Path, faults: Faults) -> list[Path]:
    """Unpacks the parts under a folder, then those that came out of them, until there is no new one.

    Returns:
        every file below the folder
    """
    known: set[Path] = set()
    while True:
        files = files_below(root)
        parts = [path for path in files if path.suffix == ".zip" and path not in known]
        if not parts:
            return files
        for part in parts:
            try:
                unpack(part)
            except FileFormatError as fault:
                faults(part.relative_to(root).as_posix(), fault)
        known.update(parts)


def unpack(part: Path) -> None:
    """Unpacks a zip into the folder of its name beside it, whole or not at all; one that stands is left as it is.

    Args:
        part: the zip

    Raises:
        CorpusFormatError: if it is no zip, or empty, or broken, or locked by a password, or a member would lie outside
            the folder, is a link or stands twice
    """
    target = part.with_suffix("")
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)  # of a process of this number that was killed
    try:
        with zipfile.ZipFile(part) as content:
            _check_members(part, content.infolist())
            content.extractall(partial)
        _settle(partial, target)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
        UnicodeDecodeError,
    ) as error:
        raise FileFormatError(part, f"expected a whole zip without a password: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_members(part: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuses a zip that is empty, leaves its folder, holds a link or holds a file twice."""
    if not members:
        raise FileFormatError(part, "expected files, the zip is empty")
    names = set()
    for member in members:
        pieces = re.split(r"[/\\]", member.filename)
        outside = pieces[0] == "" or ".." in pieces or ":" in pieces[0]
        link = member.external_attr >> 28 == 0o12
        if outside or link:
            raise FileFormatError(
                part, f"expected names inside the folder, found {member.filename!r}"
            )
        if member.filename in names:
            raise FileFormatError(part, f"expected each file once, found {member.filename!r} again")
        names.add(member.filename)


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


def _once(path: Path, part: dict, row=None) -> None:
    """Refuses an object of a JSON file in which a key was repeated."""
    if None in part:
        raise FileFormatError(path, f"expected each key once, found {part[None]!r} again", row=row)


def _annotation(folder: Path) -> tuple[str, str, pd.DataFrame]:
    """Actor, id of the video and table of frames of one clip."""
    path = folder / f"{folder.name}.json"
    content = _json(path)
    _once(path, content)
    frames = content.get("frames")
    if not isinstance(frames, dict) or not frames:
        raise FileFormatError(path, "expected frames, found none")
    _once(path, frames, row=f"frame {frames.get(None)}")
    actor, video = (_name(path, content, key) for key in ("actor", "video_id"))
    rows = [_frame_row(path, key, frame) for key, frame in sorted(frames.items())]
    return actor, video, pd.DataFrame(rows, columns=["frame", *LABELS, *BOX])


def _json(path: Path) -> dict:
    """The object of a JSON file, empty where it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except FileNotFoundError:
        raise FileFormatError(path, "expected this file, found none") from None
    except json.JSONDecodeError as error:
        raise FileFormatError(path, f"expected JSON: {error.msg}", row=error.lineno) from None
    except UnicodeDecodeError:
        raise FileFormatError(path, "expected text in UTF-8") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of thousands of digits, brackets without end
        raise FileFormatError(path, f"expected JSON: {error}") from None
    return content if isinstance(content, dict) else {}


def _name(path: Path, content: dict, key: str) -> str:
    """A name in a JSON object, without blanks around it."""
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise FileFormatError(path, f"expected {key}, a name, found none")
    if not value.strip().isprintable():  # half a character, or a command to a terminal
        raise FileFormatError(
            path, f"expected {key}, a name that can be printed, found {value!a:.40}"
        )
    return value.strip()


def _frame_row(path: Path, key: str, frame) -> tuple:
    """Number, valence, arousal and box of one frame."""
    row = f"frame {key}"
    if not re.fullmatch(r"\d{5}", key) or not isinstance(frame, dict):
        raise FileFormatError(path, "expected a frame by its five digits", row=row)
    _once(path, frame, row=row)
    values = [frame.get(label) for label in LABELS]
    for label, value in zip(LABELS, values, strict=True):
        if type(value) not in (int, float) or not -10 <= value <= 10 or value != round(value):
            expected = f"expected {label} as an integer in [-10, 10], found {value!r:.40}"
            raise FileFormatError(path, expected, row=row)
    box = [np.nan] * 4
    if frame.get("landmarks") is not None:
        try:
            points = np.array(frame["landmarks"], dtype=float)
        except (TypeError, ValueError, OverflowError):
            points = np.empty(0)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise FileFormatError(path, "expected 68 landmarks of x and y, or null", row=row)
        box = [*points.min(0), *points.max(0)]
    return (int(key), *map(float, values), *box)


def _look_at_frames(folder: Path, rows: pd.DataFrame, decode: bool) -> None:
    """Every frame is there and whole, by its first and last bytes, and can be decoded where that is asked for."""
    for frame, *box in rows[["frame", *BOX]].itertuples(index=False):
        path = folder / f"{frame:05d}.png"
        try:
            with path.open("rb") as file:
                begin = file.read(24)
                file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
                whole = begin[:8] == _PNG_BEGIN and file.read() == _PNG_END
        except FileNotFoundError:
            raise FileFormatError(
                path, f"expected this frame, which {folder.name}.json lists, found none"
            ) from None
        if not whole:
            raise FileFormatError(path, "expected a whole png, the file is cut or another format")
        width, height = int.from_bytes(begin[16:20], "big"), int.from_bytes(begin[20:24], "big")
        _near(folder, frame, box, width, height)
        if decode:
            _picture(path)


def _near(folder: Path, frame: int, box: list[float], width: int, height: int) -> None:
    """Refuses landmarks that lie further outside the picture than the picture is large."""
    left, top, right, bottom = box
    if left < -width or top < -height or right > 2 * width or bottom > 2 * height:
        found = f"x from {left:g} to {right:g}, y from {top:g} to {bottom:g}"
        raise FileFormatError(
            folder / f"{folder.name}.json",
            f"expected landmarks in or near the picture of {width} x {height}, found {found}",
            row=f"frame {frame:05d}",
        )


def _picture(path):
    """One frame as OpenCV decodes it."""
    import cv2

    try:
        picture = cv2.imread(str(path))
    except cv2.error:  # of a picture that states to be larger than OpenCV takes
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
    progress: bool = False,
) -> np.ndarray:
    """All frames of a corpus as small pictures, decoded once and mapped from disk afterwards.

    Each clip is kept as soon as it is decoded: a run that was killed goes on where it ended.
    A changed frame, box or list of clips makes a new file.

    Args:
        corpus: from :func:`load_afew_va`
        crop: ``"face"``, a square around the landmarks (black where there are none),
            or ``"frame"``, all of it
        size: side of the result in pixels
        store: folder of the file, by default ``frames`` in the cache
        jobs: threads that decode
        progress: show a bar

    Shape:
        ``(frames, size, size, 3)`` uint8 RGB, row by row as ``corpus.annotations``

    Raises:
        ValueError: if ``crop`` is neither
        FileFormatError: if a frame cannot be decoded
    """
    if crop not in ("face", "frame"):
        raise ValueError(f"crop is 'face' or 'frame', not {crop!r}")
    store = Path(store or paths.CACHE / "frames")
    tasks = _decode_tasks(corpus, crop, size, store)
    names = "".join(task.path.name for task in tasks)
    key = hashlib.sha256(names.encode()).hexdigest()[:16]
    joined = store / f"{corpus.name}-{crop}-{key}.npy"
    while not joined.exists():
        store.mkdir(parents=True, exist_ok=True)
        _decode_all(tasks, jobs, progress)
        try:
            pictures = np.concatenate([np.load(task.path) for task in tasks])
        except FileNotFoundError:
            # Another process worked on the same clips, was done first, and removed their files.
            continue
        _save(joined, pictures)
        for task in tasks:
            task.path.unlink(missing_ok=True)
    return np.load(joined, mmap_mode="c")


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


def _decode_all(tasks: list[_DecodeTask], jobs: int, progress: bool) -> None:
    """Decodes the clips that have no file yet."""
    from tqdm import tqdm

    waiting = [task for task in tasks if not task.path.exists()]
    # The longest first, so that no thread is left alone with it at the end.
    waiting.sort(key=lambda task: len(task.files), reverse=True)
    # Threads are enough: OpenCV decodes without the interpreter's lock.
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        done = pool.map(_decode, waiting)
        for _ in tqdm(done, total=len(waiting), disable=not progress, unit="clip"):
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
    import cv2

    middle = (box[:2] + box[2:]) / 2
    side = max(2, round(FACE_MARGIN * max(box[2:] - box[:2])))
    left, top = np.rint(middle - side / 2).astype(int)
    right, bottom = left + side, top + side
    height, width = picture.shape[:2]
    over = max(0, -left, -top, right - width, bottom - height)
    if over:
        picture = cv2.copyMakeBorder(picture, over, over, over, over, cv2.BORDER_REPLICATE)
    return picture[top + over : bottom + over, left + over : right + over]


def _save(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array)
    paths.write(path, content.getvalue())

"""Videos of one emotion each, from the web and from films: VideoEmotion-8, Ekman-6 and HEIV."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

import pandas as pd

from affectlib.corpora.base import CLIP_COLUMNS, Corpus, no_annotations
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import (
    Faults,
    files_below,
    find_file,
    is_simulated,
    not_found,
    read_table,
)
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.media import FILM_ENDINGS, film_seconds, is_film

HEIV_CLASSES = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
EKMAN6_CLASSES = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
VIDEOEMOTION8_CLASSES = (
    "Anger",
    "Anticipation",
    "Disgust",
    "Fear",
    "Joy",
    "Sadness",
    "Surprise",
    "Trust",
)
# The ten splits of VideoEmotion-8.
SPLITS = tuple(f"split_{number:02d}" for number in range(1, 11))
LICENSE = "research use only, given by its owners on request"
CITATION_HEIV = (
    "X. Liu, M. Wang, Context-aware attention network for human emotion recognition in video, "
    "Advances in Multimedia, 2020"
)
CITATION_EKMAN6 = (
    "B. Xu, Y. Fu, Y.-G. Jiang, B. Li, L. Sigal, Heterogeneous knowledge transfer in video emotion "
    "recognition, attribution and summarization, IEEE Transactions on Affective Computing, 2018"
)
CITATION_VIDEOEMOTION8 = (
    "Y.-G. Jiang, B. Xu, X. Xue, Predicting emotions in user-generated videos, AAAI, 2014"
)
_ASK = "yugangjiang.info"
_LIST = re.compile(r"(train|test)list(\d*)\.txt")


def load_heiv(root: Path | str, *, on_error: str = "raise") -> Corpus:
    """Reads HEIV from ``<split>/<class>/<video>``, train and test.

    Only its authors give the corpus, and it has no public layout. This one is our convention.

    Args:
        root: folder that holds ``train`` and ``test``
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``class/video`` per video, each a group of its own, its class in the
        column emotion; ``value_range`` counts the classes from 0

    Raises:
        NotFoundError: if ``root`` holds none of the class folders
        FileFormatError: if a class has no videos, two videos have one name, or a video cannot be
            decoded

    Warns:
        UserWarning: if a real corpus does not hold the published 607 and 405 videos

    References:
        caan, Section 3
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    folders = {}
    for split in ("train", "test"):
        for emotion in HEIV_CLASSES:
            folders[root / split / emotion] = (split, emotion)
    clips = _videos(root, files, folders, faults, name="HEIV", ask="its authors")
    corpus = _corpus("heiv", clips, HEIV_CLASSES, CITATION_HEIV, root, faults)
    warn_if_partial(corpus)
    return corpus


def load_ekman6(root: Path | str, *, on_error: str = "raise") -> Corpus:
    """Reads Ekman-6 from ``<class>/<video>``, with its split from two lists.

    The lists are ``trainlist*.txt`` and ``testlist*.txt``. A row is ``anger/1000 1``: class, video
    with or without its ending, number of the class. The test list may leave out the number.

    Args:
        root: folder that holds the classes, and the lists at any depth
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``class/video`` per video, each a group of its own, its class in the
        column emotion; ``value_range`` counts the classes from 0

    Raises:
        NotFoundError: if ``root`` holds no list, or none of the class folders
        FileFormatError: as :func:`load_heiv`; also if a list has a bad row or names a video that is
            absent or already listed, or if no list names a video

    Warns:
        UserWarning: if a real corpus does not hold the published 819 and 818 videos

    References:
        Xu et al., 2018; caan, Section 5.6
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    folders = {root / emotion: ("", emotion) for emotion in EKMAN6_CLASSES}
    clips = _videos(root, files, folders, faults, name="Ekman-6", ask=_ASK)
    lists = _only_lists(root, files)
    split = _read_split(lists, clips, faults)
    clips = clips.assign(split=clips["clip"].map(split))
    for clip in clips.loc[clips["split"].isna(), "clip"]:
        expected = f"expected a row for {clip} here or in the test list"
        faults(clip, FileFormatError(lists["train"], expected))
    corpus = _corpus("ekman6", clips, EKMAN6_CLASSES, CITATION_EKMAN6, root, faults)
    warn_if_partial(corpus)
    return corpus


def load_videoemotion8(root: Path | str, *, on_error: str = "raise") -> Corpus:
    """Reads VideoEmotion-8 from ``<Class>/<video>``, with its ten splits from pairs of lists.

    The lists are ``trainlistNN.txt`` and ``testlistNN.txt``, NN = 01 to 10. Only the first pair is
    public in this form, and the owners give a spreadsheet, so any number of splits is read. A row
    is ``Class/video label`` in a train list, ``Class/video`` in a test list. Some videos have a
    file ending in their name (``Surprise/birthday.mp4``, whose file is ``birthday.mp4.mp4``), so a
    row is first matched as it is, then without its ending. Two classes may hold videos of one name.

    Args:
        root: folder that holds the classes, and the lists at any depth
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``Class/video`` per video, each a group of its own, its class in the
        column emotion. Each split has a column (:func:`split_columns`), from split_01 to split_10,
        with the values ``train``, ``test`` or, if no list names the video, ``""``. ``split`` is
        ``""``; ``value_range`` counts the classes from 0

    Raises:
        NotFoundError: if ``root`` holds no list, or none of the class folders
        FileFormatError: as :func:`load_heiv`; also if a split has only one of its lists, or a list
            has a bad row or names a video that is absent or already listed

    Warns:
        UserWarning: if a real corpus does not hold the published videos or ten splits

    References:
        Jiang et al., 2014; caan, Section 5.6
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    folders = {root / emotion: ("", emotion) for emotion in VIDEOEMOTION8_CLASSES}
    clips = _videos(root, files, folders, faults, name="VideoEmotion-8", ask=_ASK)
    splits = {}
    for column, lists in _numbered_lists(root, files).items():
        split = _read_split(lists, clips, faults)
        splits[column] = clips["clip"].map(split).fillna("")
    corpus = _corpus(
        "videoemotion8",
        clips.assign(**splits),
        VIDEOEMOTION8_CLASSES,
        CITATION_VIDEOEMOTION8,
        root,
        faults,
    )
    warn_if_partial(corpus)
    return corpus


def split_columns(corpus: Corpus) -> tuple[str, ...]:
    """Names the splits of a corpus that has several.

    Args:
        corpus: of :func:`load_videoemotion8`

    Returns:
        the columns of ``corpus.clips`` that hold a split
    """
    return tuple(column for column in SPLITS if column in corpus.clips)


def _videos(
    root: Path,
    files: list[Path],
    folders: dict[Path, tuple[str, str]],
    faults: Faults,
    *,
    name: str,
    ask: str,
) -> pd.DataFrame:
    """Finds every video of the class folders: clip, path, split, emotion.

    Args:
        root: folder of the corpus
        files: all files below it
        folders: each class folder to its split and its emotion
        faults: called for each class without videos, and each name that repeats
        name, ask: of the corpus and its owner, for the error

    Raises:
        NotFoundError: if none of the class folders is there
    """
    if not any(folder.is_dir() for folder in folders):
        wanted = [folder.relative_to(root).as_posix() for folder in folders]
        raise not_found(root, ", ".join(wanted), name=name, ask=ask)
    videos: dict[Path, list[Path]] = {folder: [] for folder in folders}
    for path in files:
        if path.parent in videos and is_film(path):
            videos[path.parent].append(path)
    rows = {}
    for folder, (split, emotion) in folders.items():
        if not videos[folder]:
            expected = f"expected this folder with the videos of {emotion}, found none"
            faults(f"{split}/{emotion}".lstrip("/"), FileFormatError(folder, expected))
        for path in videos[folder]:
            clip = f"{emotion}/{path.stem}"
            if clip in rows:
                other = rows[clip][1]
                expected = f"expected each clip once, found {clip} also as {other}"
                faults(clip, FileFormatError(path, expected))
            rows[clip] = (clip, str(path), split, emotion)
    return pd.DataFrame(rows.values(), columns=["clip", "path", "split", "emotion"])


def _only_lists(root: Path, files: list[Path]) -> dict[str, Path]:
    """Finds the only train list and the only test list."""
    lists = {}
    for part in ("train", "test"):
        names = set()
        for path in files:
            match = _LIST.fullmatch(path.name)
            if match and match[1] == part:
                names.add(path.name)
        if not names:
            _refuse_missing_list(root, f"{part}list.txt", files)
        if len(names) > 1:
            expected = f"expected this list once, found {', '.join(sorted(names))}"
            raise FileFormatError(root / f"{part}list.txt", expected)
        lists[part] = find_file(files, names.pop(), root=root)
    return lists


def _numbered_lists(root: Path, files: list[Path]) -> dict[str, dict[str, Path]]:
    """Finds the two lists of each split, by the column of the split."""
    splits: dict[str, dict[str, Path]] = {}
    for path in files:
        match = _LIST.fullmatch(path.name)
        if not match or not match[2]:
            continue
        part = match[1]
        column = f"split_{int(match[2]):02d}"
        if column not in SPLITS:
            expected = f"expected a split from 01 to {len(SPLITS)}, found {match[2]}"
            raise FileFormatError(path, expected)
        lists = splits.setdefault(column, {})
        first = lists.setdefault(part, path)
        # trainlist1.txt and trainlist01.txt are both of the first split.
        if first.name != path.name:
            expected = f"expected one list of this split, found {first.relative_to(root)} as well"
            raise FileFormatError(path, expected)
        lists[part] = find_file(files, path.name, root=root)
    if not splits:
        _refuse_missing_list(root, "trainlist01.txt", files)
    for lists in splits.values():
        _check_pair(root, lists)
    return dict(sorted(splits.items()))


def _check_pair(root: Path, lists: dict[str, Path]) -> None:
    """Refuses a split that has only one of its two lists."""
    for part, other in (("train", "test"), ("test", "train")):
        if part not in lists:
            name = lists[other].name.replace(other, part)
            expected = f"expected this list beside {lists[other].name}, found none"
            raise FileFormatError(root / name, expected)


def _refuse_missing_list(root: Path, wanted: str, files: list[Path]) -> NoReturn:
    """Raises the error of a missing list, or of a folder that holds no list at all."""
    if any(_LIST.fullmatch(path.name) for path in files):
        raise FileFormatError(root / wanted, "expected this list, found none")
    raise NotFoundError(
        f"{root}: not this corpus without its lists; looked for **/trainlist*.txt, "
        f"**/testlist*.txt. Ask for them at {_ASK}"
    )


def _read_split(lists: dict[str, Path], clips: pd.DataFrame, faults: Faults) -> dict[str, str]:
    """Reads which clips are in ``train`` and which in ``test``, from the two lists of a split."""
    emotions = clips.set_index("clip")["emotion"].to_dict()
    split: dict[str, str] = {}
    class_numbers = _ClassNumbers()
    for part, path in lists.items():
        # No line holds its own end, so each row is one cell.
        rows = read_table(path, ("text",), header=False, delimiter="\n")["text"]
        for row, text in rows.items():
            video, *label = text.split()
            clip = _clip_of(video, emotions)
            expected = _row_fault(part, text, label)
            if not expected and clip not in emotions:
                expected = f"expected a video of this corpus, found none for {video}"
            if not expected and clip in split:
                expected = f"expected each video once in the lists of a split, found {video} again"
            if not expected and label:
                expected = class_numbers.fault(emotions[clip], label[0])
            if expected:
                faults(clip, FileFormatError(path, expected, row=row))
            else:
                split[clip] = part
    return split


def _clip_of(video: str, clips: Collection[str]) -> str:
    """Returns the clip that a row names: as it is, else without the ending of a film."""
    if video in clips:
        return video
    stem, dot, ending = video.rpartition(".")
    return stem if f"{dot}{ending}".lower() in FILM_ENDINGS else video


def _row_fault(part: str, text: str, label: list[str]) -> str:
    """Returns the fault in the form of a row, ``""`` if there is none."""
    has_bad_label = len(label) > 1 or (label and not label[0].isdigit())
    if part == "train" and (has_bad_label or not label):
        return f"expected 'class/video number', found {text!r}"
    if has_bad_label:
        return f"expected 'class/video', found {text!r}"
    return ""


class _ClassNumbers:
    """Checks that every class keeps one number, and that no two classes share one."""

    def __init__(self):
        self.number_of: dict[str, str] = {}
        self.class_of: dict[str, str] = {}

    def fault(self, emotion: str, number: str) -> str:
        """Returns the fault in the number of a class, ``""`` if there is none."""
        expected = self.number_of.setdefault(emotion, number)
        if expected != number:
            return f"expected the number {expected} of the rows before, found {number}"
        other = self.class_of.setdefault(number, emotion)
        if other != emotion:
            return f"expected another number than {number}, which is that of {other}"
        return ""


def _corpus(
    name: str,
    clips: pd.DataFrame,
    classes: tuple[str, ...],
    citation: str,
    root: Path,
    faults: Faults,
) -> Corpus:
    """Makes the corpus of some videos, after a look at each; videos at fault are left out."""
    seconds = {}
    for clip, path in zip(clips["clip"], clips["path"], strict=True):
        try:
            seconds[clip] = film_seconds(path)
        except FileFormatError as fault:
            faults(clip, fault)
    clips = clips[~clips["clip"].isin(faults.by_clip)]
    faults.refuse_empty(clips)
    clips = clips.assign(group=clips["clip"], seconds=clips["clip"].map(seconds))
    others = [column for column in clips if column not in (*CLIP_COLUMNS, "emotion")]
    return Corpus(
        name=name,
        clips=clips[[*CLIP_COLUMNS, "emotion", *others]].reset_index(drop=True),
        annotations=no_annotations(),
        labels=classes,
        value_range=(0, len(classes) - 1),
        hertz=None,
        license=LICENSE,
        citation=citation,
        simulated=is_simulated(root),
        skipped=faults.messages(),
    )

"""Videos of one emotion each, from the web and from films: VideoEmotion-8, Ekman-6 and HEIV."""

import os
import re
from pathlib import Path

import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus
from affectlib.corpora.completeness import warn_if_partial
from affectlib.corpora.files import (
    Faults,
    files_below,
    find_file,
    is_simulated,
    read_table,
    require,
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
SPLITS = tuple(f"split_{number:02d}" for number in range(1, 11))  # the ten of VideoEmotion-8
LICENSE = "research use only, given by its owners on request"
_ASK = "yugangjiang.info"
CITATION_HEIV = (
    "X. Liu, M. Wang, Context-aware attention network for human emotion recognition in video, Advances in Multimedia, "
    "2020"
)
CITATION_EKMAN6 = (
    "B. Xu, Y. Fu, Y.-G. Jiang, B. Li, L. Sigal, Heterogeneous knowledge transfer in video emotion recognition, "
    "attribution and summarization, IEEE Transactions on Affective Computing, 2018"
)
CITATION_VIDEOEMOTION8 = (
    "Y.-G. Jiang, B. Xu, X. Xue, Predicting emotions in user-generated videos, AAAI, 2014"
)


def load_heiv(root: str | os.PathLike, *, on_error: str = "raise") -> Corpus:
    """Reads HEIV from ``<split>/<class>/<video>``, train and test.

    The corpus is available from its authors only and has no public layout: this one is our convention.

    Args:
        root: folder that holds ``train`` and ``test``
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``class/video`` per video, each a group of its own, its class in the column emotion;
        ``value_range`` counts the classes from 0

    Raises:
        CorpusNotFoundError: if ``root`` holds none of the class folders
        CorpusFormatError: if a class has no videos, two videos have one name, or a video cannot be decoded

    Warns:
        UserWarning: if a real corpus does not hold the published 607 and 405 videos

    References:
        caan, Section 3
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    clips = _videos(
        root, files, HEIV_CLASSES, ("train", "test"), faults, name="HEIV", ask="its authors"
    )
    corpus = _corpus("heiv", clips, HEIV_CLASSES, CITATION_HEIV, root, faults)
    warn_if_partial(corpus)
    return corpus


def load_ekman6(root: str | os.PathLike, *, on_error: str = "raise") -> Corpus:
    """Reads Ekman-6 from ``<class>/<video>``, with its split from ``trainlist*.txt`` and ``testlist*.txt``.

    A row of a list is ``anger/1000 1``: class, video with or without its ending, number of the class. The number may
    lack in the list of tests.

    Args:
        root: folder that holds the classes; the lists stand there or below, at any depth
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``class/video`` per video, each a group of its own, its class in the column emotion;
        ``value_range`` counts the classes from 0

    Raises:
        CorpusNotFoundError: if ``root`` holds no list, or none of the class folders
        CorpusFormatError: as :func:`load_heiv`, and if a list has a bad row, names a video that is not there or
            already listed, or no list names a video

    Warns:
        UserWarning: if a real corpus does not hold the published 819 and 818 videos

    References:
        Xu et al., 2018; caan, Section 5.6
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    clips = _videos(root, files, EKMAN6_CLASSES, (), faults, name="Ekman-6", ask=_ASK)
    lists = _the_lists(root, files)
    split = _split(lists, clips, faults)
    clips = clips.assign(split=clips["clip"].map(split))
    for clip in clips.loc[clips["split"].isna(), "clip"]:
        expected = f"expected a row for {clip} here or in the list of tests"
        faults(clip, FileFormatError(lists["train"], expected))
    corpus = _corpus("ekman6", clips, EKMAN6_CLASSES, CITATION_EKMAN6, root, faults)
    warn_if_partial(corpus)
    return corpus


def load_videoemotion8(root: str | os.PathLike, *, on_error: str = "raise") -> Corpus:
    """Reads VideoEmotion-8 from ``<Class>/<video>``, with splits from ``trainlistNN.txt`` and ``testlistNN.txt``.

    There are ten splits, NN = 01 to 10. Only the first is public in this form, the owners give a spreadsheet: the
    splits that are there are read. A row is ``Class/video label`` in a list to train on, ``Class/video`` in one of
    tests. Some videos are named like a file (``Surprise/birthday.mp4``, the file is ``birthday.mp4.mp4``): a row is
    looked for as it stands, then without its ending. Two classes may hold videos of one name.

    Args:
        root: folder that holds the classes; the lists stand there or below, at any depth
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``Class/video`` per video, each a group of its own, its class in the column emotion; one
        column per split that is there (:func:`split_columns`), from split_01 to split_10, says ``train``, ``test``
        or, where no list names the video, ``""``. ``split`` is ``""``; ``value_range`` counts the classes from 0

    Raises:
        CorpusNotFoundError: if ``root`` holds no list, or none of the class folders
        CorpusFormatError: as :func:`load_heiv`, and if only one list of a split is there, a list has a bad row, or
            names a video that is not there or already listed

    Warns:
        UserWarning: if a real corpus does not hold the published videos or ten splits

    References:
        Jiang et al., 2014; caan, Section 5.6
    """
    root = Path(root)
    faults = Faults(on_error)
    files = files_below(root)
    clips = _videos(root, files, VIDEOEMOTION8_CLASSES, (), faults, name="VideoEmotion-8", ask=_ASK)
    splits = {}
    for column, lists in _numbered_lists(root, files).items():
        splits[column] = clips["clip"].map(_split(lists, clips, faults)).fillna("")
    clips = clips.assign(**splits)
    corpus = _corpus(
        "videoemotion8", clips, VIDEOEMOTION8_CLASSES, CITATION_VIDEOEMOTION8, root, faults
    )
    warn_if_partial(corpus)
    return corpus


def split_columns(corpus: Corpus) -> tuple[str, ...]:
    """Names the splits of a corpus that has several.

    Args:
        corpus: of :func:`load_videoemotion8`

    Returns:
        the columns of ``corpus.clips`` that hold a split, of ``SPLITS`` those that are there
    """
    return tuple(column for column in SPLITS if column in corpus.clips)


def _videos(root, files, classes, splits, faults, *, name, ask):
    """Every video of the class folders: clip, path, split, emotion."""
    folders = {
        root / split / emotion: (split, emotion) for split in splits or ("",) for emotion in classes
    }
    if not any(folder.is_dir() for folder in folders):
        require(
            root, [folder.relative_to(root).as_posix() for folder in folders], name=name, ask=ask
        )
    videos: dict[Path, list[Path]] = {folder: [] for folder in folders}
    for path in files:
        if path.parent in videos and is_film(path):
            videos[path.parent].append(path)
    rows = {}
    for folder, (split, emotion) in folders.items():
        if not videos[folder]:
            fault = FileFormatError(
                folder, f"expected this folder with the videos of {emotion}, found none"
            )
            faults(f"{split}/{emotion}".lstrip("/"), fault)
        for path in videos[folder]:
            clip = f"{emotion}/{path.stem}"
            if clip in rows:
                expected = f"expected each clip once, found {clip} also as {rows[clip][1]}"
                faults(clip, FileFormatError(path, expected))
            rows[clip] = (clip, str(path), split, emotion)
    return pd.DataFrame(rows.values(), columns=["clip", "path", "split", "emotion"])


def _the_lists(root: Path, files: list[Path]) -> dict[str, Path]:
    """The only list to train on and the only list of tests."""
    lists = {}
    for part in ("train", "test"):
        pattern = re.compile(rf"{part}list\d*\.txt")
        names = sorted({path.name for path in files if pattern.fullmatch(path.name)})
        if not names:
            _no_list(root, f"{part}list.txt", files)
        if len(names) > 1:
            raise FileFormatError(
                root / f"{part}list.txt", f"expected this list once, found {', '.join(names)}"
            )
        lists[part] = find_file(files, names[0], root=root)
    return lists


def _numbered_lists(root: Path, files: list[Path]) -> dict[str, dict[str, Path]]:
    """Column of a split to its two lists, for the splits that are there."""
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        match = re.fullmatch(r"(train|test)list(\d+)\.txt", path.name)
        if not match:
            continue
        part, number = match[1], int(match[2])
        column = f"split_{number:02d}"
        if column not in SPLITS:
            raise FileFormatError(
                path, f"expected a split from 01 to {len(SPLITS)}, found {match[2]}"
            )
        known = found.setdefault(column, {}).setdefault(part, path)
        if known.name != path.name:
            raise FileFormatError(
                path, f"expected one list of this split, found {known.relative_to(root)} as well"
            )
        found[column][part] = find_file(files, path.name, root=root)
    if not found:
        _no_list(root, "trainlist01.txt", files)
    for lists in found.values():
        for part, other in (("train", "test"), ("test", "train")):
            if part not in lists:
                name = lists[other].name.replace(other, part)
                raise FileFormatError(
                    root / name, f"expected this list beside {lists[other].name}, found none"
                )
    return dict(sorted(found.items()))


def _no_list(root: Path, wanted: str, files: list[Path]):
    """Raises that a list is missing: of this split, or all of them."""
    if any(re.fullmatch(r"(train|test)list\d*\.txt", path.name) for path in files):
        raise FileFormatError(root / wanted, "expected this list, found none")
    what = "not this corpus without its lists"
    raise NotFoundError(
        f"{root}: {what}; looked for **/trainlist*.txt, **/testlist*.txt. Ask for them at {_ASK}"
    )


def _split(lists: dict[str, Path], clips: pd.DataFrame, faults: Faults) -> dict[str, str]:
    """Clip to ``train`` or ``test``, as the two lists of a split say."""
    emotions = clips.set_index("clip")["emotion"].to_dict()
    split: dict[str, str] = {}
    numbers = _ClassNumbers()
    for part, path in lists.items():
        texts = read_table(path, ("text",), header=False, delimiter="\n")["text"]
        for row, text in texts.items():
            video, *label = text.split()
            clip = _clip_of(video, emotions)
            expected = _row_fault(part, text, label)
            if not expected and clip not in emotions:
                expected = f"expected a video of this corpus, found none for {video}"
            if not expected and clip in split:
                expected = f"expected each video once in the lists of a split, found {video} again"
            if not expected and label:
                expected = numbers.fault(emotions[clip], label[0])
            if expected:
                faults(clip, FileFormatError(path, expected, row=row))
            else:
                split[clip] = part
    return split


def _clip_of(video: str, emotions: dict[str, str]) -> str:
    """The clip that a row of a list names: as it stands, else without the ending of a film."""
    if video in emotions:
        return video
    stem, dot, ending = video.rpartition(".")
    return stem if f"{dot}{ending}".lower() in FILM_ENDINGS else video


def _row_fault(part: str, text: str, label: list[str]) -> str:
    """What is wrong with the form of a row, ``""`` where nothing is."""
    malformed = len(label) > 1 or (label and not label[0].isdigit())
    if malformed or (part == "train" and not label):
        return f"expected 'class/video{' number' if part == 'train' else ''}', found {text!r}"
    return ""


class _ClassNumbers:
    """Looks that every class keeps one number, and no two share one."""

    def __init__(self):
        self.of_class: dict[str, str] = {}
        self.class_of: dict[str, str] = {}

    def fault(self, emotion: str, number: str) -> str:
        """What is wrong with the number of a class, ``""`` where nothing is."""
        known = self.of_class.setdefault(emotion, number)
        if known != number:
            return f"expected the number {known} of the rows before, found {number}"
        other = self.class_of.setdefault(number, emotion)
        if other != emotion:
            return f"expected another number than {number}, which is that of {other}"
        return ""


def _corpus(name, clips, classes, citation, root, faults):
    """Looks at every video, leaves out those at fault."""
    seconds = {}
    for clip, path in zip(clips["clip"], clips["path"], strict=True):
        try:
            seconds[clip] = film_seconds(Path(path))
        except FileFormatError as fault:
            faults(clip, fault)
    clips = clips[~clips["clip"].isin(faults.found)]
    faults.refuse_empty(clips)
    clips = clips.assign(group=clips["clip"], seconds=clips["clip"].map(seconds)).reset_index(
        drop=True
    )
    others = [column for column in clips if column not in (*CLIP_COLUMNS, "emotion")]
    empty = pd.DataFrame(
        {
            column: pd.Series(dtype=str if column == "clip" else float)
            for column in ANNOTATION_COLUMNS
        }
    )
    return Corpus(
        name=name,
        clips=clips[[*CLIP_COLUMNS, "emotion", *others]],
        annotations=empty,
        labels=classes,
        value_range=(0, len(classes) - 1),
        hertz=None,
        license=LICENSE,
        citation=citation,
        simulated=is_simulated(root),
        skipped=faults.messages(),
    )

"""Videos of one emotion each, from the web and from films: VideoEmotion-8, Ekman-6 and HEIV."""

from pathlib import Path

import pandas as pd

from affectlib.corpora.base import ANNOTATION_COLUMNS, CLIP_COLUMNS, Corpus, CorpusFormatError
from affectlib.corpora.files import Faults, film_seconds, is_simulated, read_table, require

HEIV_CLASSES = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
EKMAN6_CLASSES = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
VIDEOEMOTION8_CLASSES = ("Anger", "Anticipation", "Disgust", "Fear", "Joy", "Sadness", "Surprise", "Trust")
SPLITS = tuple(f"split_{number:02d}" for number in range(1, 11))  # of VideoEmotion-8
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv", ".wmv", ".mpg", ".m4v")
LICENSE = "research use only, given by its owners on request"
CITATION_HEIV = (
    "X. Liu, M. Wang, Context-aware attention network for human emotion recognition in video, Advances in Multimedia, "
    "2020"
)
CITATION_EKMAN6 = (
    "B. Xu, Y. Fu, Y.-G. Jiang, B. Li, L. Sigal, Heterogeneous knowledge transfer in video emotion recognition, "
    "attribution and summarization, IEEE Transactions on Affective Computing, 2018"
)
CITATION_VIDEOEMOTION8 = "Y.-G. Jiang, B. Xu, X. Xue, Predicting emotions in user-generated videos, AAAI, 2014"


def load_heiv(root, *, on_error="raise"):
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

    References:
        caan, Section 3
    """
    root, faults = Path(root), Faults(on_error)
    clips = _videos(root, HEIV_CLASSES, ("train", "test"), faults, name="HEIV", ask="its authors")
    return _corpus("heiv", clips, HEIV_CLASSES, CITATION_HEIV, root, faults)


def load_ekman6(root, *, on_error="raise"):
    """Reads Ekman-6 from ``<class>/<video>``, with its split from ``trainlist*.txt`` and ``testlist*.txt``.

    A row of a list is ``anger/1000 1``: class, video with or without its ending, number of the class. The number may
    lack in the list of tests.

    Args:
        root: folder that holds the classes; the lists stand there or one folder below
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``class/video`` per video, each a group of its own, its class in the column emotion;
        ``value_range`` counts the classes from 0

    Raises:
        CorpusNotFoundError: if ``root`` holds no list, or none of the class folders
        CorpusFormatError: as :func:`load_heiv`, and if a list has a bad row, names a video that is not there or
            already listed, or no list names a video

    References:
        Xu et al., 2018; caan, Section 5.6
    """
    root, faults = Path(root), Faults(on_error)
    about = {"name": "Ekman-6", "ask": "yugangjiang.info"}
    clips, lists = _videos(root, EKMAN6_CLASSES, (), faults, **about), _lists(root, [""], **about)
    split = _split(lists[""], clips, faults)
    clips = clips.assign(split=clips["clip"].map(split))
    for clip in clips.loc[clips["split"].isna(), "clip"]:
        faults(clip, CorpusFormatError(lists[""]["train"], f"expected a row for {clip} here or in the list of tests"))
    return _corpus("ekman6", clips, EKMAN6_CLASSES, CITATION_EKMAN6, root, faults)


def load_videoemotion8(root, *, on_error="raise"):
    """Reads VideoEmotion-8 from ``<Class>/<video>``, with ten splits from ``trainlistNN.txt`` and ``testlistNN.txt``.

    A row is ``Class/video label`` in a list to train on, ``Class/video`` in one of tests. Two classes may hold videos
    of one name.

    Args:
        root: folder that holds the classes; the lists stand there or one folder below
        on_error: ``"raise"``, or ``"skip"`` to drop a video at fault and list it in ``skipped``

    Returns:
        Corpus with one clip ``Class/video`` per video, each a group of its own, its class in the column emotion; the
        columns split_01 to split_10 say ``train``, ``test`` or, where no list names it, ``""``. ``split`` is ``""``;
        ``value_range`` counts the classes from 0

    Raises:
        CorpusNotFoundError: if ``root`` holds no list, or none of the class folders
        CorpusFormatError: as :func:`load_heiv`, and if a list is missing, has a bad row, or names a video that is
            not there or already listed

    References:
        Jiang et al., 2014; caan, Section 5.6
    """
    root, faults = Path(root), Faults(on_error)
    about = {"name": "VideoEmotion-8", "ask": "yugangjiang.info"}
    clips = _videos(root, VIDEOEMOTION8_CLASSES, (), faults, **about)
    lists = _lists(root, [column[-2:] for column in SPLITS], **about)
    splits = {column: clips["clip"].map(_split(lists[column[-2:]], clips, faults)).fillna("") for column in SPLITS}
    return _corpus("videoemotion8", clips.assign(**splits), VIDEOEMOTION8_CLASSES, CITATION_VIDEOEMOTION8, root, faults)


def _videos(root, classes, splits, faults, *, name, ask):
    """Every video of the class folders: clip, path, split, emotion."""
    folders = {root / split / emotion: (split, emotion) for split in splits or ("",) for emotion in classes}
    if not any(folder.is_dir() for folder in folders):
        require(root, [folder.relative_to(root).as_posix() for folder in folders], name=name, ask=ask)
    rows = {}
    for folder, (split, emotion) in folders.items():
        found = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in VIDEOS]
        if not found:
            faults(f"{split}/{emotion}".lstrip("/"), CorpusFormatError(
                folder, f"expected this folder with the videos of {emotion}, found none"))
        for path in found:
            clip = f"{emotion}/{path.stem}"
            if clip in rows:
                faults(clip, CorpusFormatError(path, f"expected each clip once, found {clip} also as {rows[clip][1]}"))
            rows[clip] = (clip, str(path), split, emotion)
    return pd.DataFrame(rows.values(), columns=["clip", "path", "split", "emotion"])


def _lists(root, numbers, *, name, ask):
    """Number of a split to its two lists; without a number the only ones there are."""
    require(root, ["**/trainlist*.txt", "**/testlist*.txt"], name=name, ask=ask)
    lists = {number: {} for number in numbers}
    for number in numbers:
        for part in ("train", "test"):
            wanted = f"{part}list{number or '*'}.txt"
            found = [*root.glob(wanted), *root.glob(f"*/{wanted}")]
            if len(found) != 1:
                raise CorpusFormatError(root / wanted, f"expected this list once, found {len(found)}")
            lists[number][part] = found[0]
    return lists


def _split(lists, clips, faults):
    """Clip to ``train`` or ``test``, as the two lists of a split say."""
    split, labels, numbers = {}, {}, {}  # labels: class to number; numbers: number to class
    emotions = clips.set_index("clip")["emotion"].to_dict()
    for part, path in lists.items():
        for row, text in read_table(path, ("text",), header=False, delimiter="\n")["text"].items():
            video, *label = text.split()
            clip = video.rsplit(".", 1)[0] if video.lower().endswith(VIDEOS) else video
            if len(label) > 1 or (label and not label[0].isdigit()) or (part == "train" and not label):
                expected = f"expected 'class/video{' number' if part == 'train' else ''}', found {text!r}"
            elif clip not in emotions:
                expected = f"expected a video of this corpus, found none for {video}"
            elif clip in split:
                expected = f"expected each video once in the lists of a split, found {video} again"
            elif label and labels.setdefault(emotions[clip], label[0]) != label[0]:
                expected = f"expected the number {labels[emotions[clip]]} of the rows before, found {label[0]}"
            elif label and numbers.setdefault(label[0], emotions[clip]) != emotions[clip]:
                expected = f"expected another number than {label[0]}, which is that of {numbers[label[0]]}"
            else:
                split[clip] = part
                continue
            faults(clip, CorpusFormatError(path, expected, row=row))
    return split


def _corpus(name, clips, classes, citation, root, faults):
    """Looks at every video, leaves out those at fault."""
    seconds = {}
    for clip, path in zip(clips["clip"], clips["path"], strict=True):
        try:
            seconds[clip] = film_seconds(Path(path))
        except CorpusFormatError as fault:
            faults(clip, fault)
    clips = clips[~clips["clip"].isin(faults.found)]
    faults.refuse_empty(clips)
    clips = clips.assign(group=clips["clip"], seconds=clips["clip"].map(seconds)).reset_index(drop=True)
    others = [column for column in clips if column not in (*CLIP_COLUMNS, "emotion")]
    empty = pd.DataFrame({column: pd.Series(dtype=str if column == "clip" else float) for column in ANNOTATION_COLUMNS})
    return Corpus(
        name=name, clips=clips[[*CLIP_COLUMNS, "emotion", *others]], annotations=empty, labels=classes,
        value_range=(0, len(classes) - 1), hertz=None, license=LICENSE, citation=citation,
        simulated=is_simulated(root), skipped=faults.messages(),
    )

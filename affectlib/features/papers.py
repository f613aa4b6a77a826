"""Which features each paper describes films by: one table, by the slug of the paper.

:func:`extractors` gives the papers' own networks, descriptors that stand in for them, or the
features that the organisers of a task distribute; each modality can be chosen by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from affectlib.errors import AffectError
from affectlib.features import deep
from affectlib.features.audio import emobase, sound
from affectlib.features.detection import DETECTOR, DETECTOR_WEIGHTS
from affectlib.features.extractor import Extractor
from affectlib.features.faces import face, people
from affectlib.features.motion import motion
from affectlib.features.organisers import Distributed, distributed
from affectlib.features.pretrained import weights as weight_files
from affectlib.features.visual import scene

if TYPE_CHECKING:
    from affectlib.corpora import Corpus

Extractors = tuple[Extractor, ...]
DESCRIPTORS = "descriptors"
PRETRAINED = "pretrained"
ORGANISERS = "organisers"
KINDS = (DESCRIPTORS, PRETRAINED, ORGANISERS)


class FeatureChoiceError(AffectError, ValueError):
    """A choice of features that a paper does not have: the message lists those there are."""


def descriptors() -> Extractors:
    """The extractors that need no weights.

    They are scene, motion, face, sound and openSMILE's emobase2010.

    Examples:
        >>> [extractor.name for extractor in descriptors()]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    return scene(), motion(), face(), sound(), emobase()


class NetworkOptions(TypedDict):
    """Options that all networks of a paper share; see :func:`pretrained`."""

    weights: str | None
    precision: str


# The networks of each paper, by modality, in the order in which its model takes them. They are made
# only when they are called: each looks for its weights then.
# Arguments: options of all networks, frames per second, name of the detector of faces.

Makers = dict[str, Callable[[], Extractor]]


def _attend_affect_networks(options: NetworkOptions, rate: float, detector: str) -> Makers:
    return {
        "resnet50": partial(deep.resnet50, rate=rate, **options),
        "flownet": partial(deep.flownets, rate=rate, **options),
        "i3d": partial(deep.i3d, rate=rate, **options),
        "vggish": partial(deep.vggish, **options),
        "emobase": emobase,
    }


def _shot_long_networks(options: NetworkOptions, rate: float, detector: str) -> Makers:
    return {
        "audio": partial(deep.vggish, postprocessed=True, **options),
        "scene": partial(deep.vgg16, places=True, layer="pool", rate=rate, **options),
        "expression": partial(deep.xception, detector=detector, rate=rate, **options),
        "action": partial(deep.openpose, rate=rate, **options),
    }


def _gla_networks(options: NetworkOptions, rate: float, detector: str) -> Makers:
    return {
        "image": partial(deep.inception, rate=rate, **options),
        "audio": partial(deep.vggish, postprocessed=True, **options),
        "face": partial(deep.inception, faces=2, detector=detector, rate=rate, **options),
    }


def _caan_networks(options: NetworkOptions, rate: float, detector: str) -> Makers:
    return {
        "face": partial(deep.vggface, detector=detector, rate=rate, **options),
        "context": partial(deep.vgg16, rate=rate, **options),
    }


@dataclass(frozen=True)
class PaperFeatures:
    """Which features one paper describes films by; all mappings have one key for each modality.

    Args:
        networks: makes the extractors from options, frames per second and a detector of faces
        needs: names of the weight files that each network needs,
            see :mod:`affectlib.features.pretrained.weights`
        descriptors: make the descriptors that stand in for the networks
        distributed: the feature that the organisers of MediaEval 2018 distribute for a modality;
            no key where there is none
        rate: frames per second that the networks look at
        detector: of the faces that the networks look at
        segment: seconds into which the paper's notebook cuts films;
            None for caan, which cuts each video into a number of parts
    """

    networks: Callable[[NetworkOptions, float, str], Makers]
    needs: Mapping[str, tuple[str, ...]]
    descriptors: Mapping[str, Callable[[], Extractor]]
    distributed: Mapping[str, str] = field(default_factory=dict)
    rate: float = 1.0
    detector: str = DETECTOR
    segment: float | None = 1.0

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the paper's model."""
        return tuple(self.needs)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of all weight files that the networks need, each once."""
        names = [name for needed in self.needs.values() for name in needed]
        return tuple(dict.fromkeys(names))


# mood_change is not here: it learns from pixels.
PAPERS = {
    "attend_affect": PaperFeatures(
        networks=_attend_affect_networks,
        needs={
            "resnet50": ("resnet50",),
            "flownet": ("flownet",),
            "i3d": ("i3d",),
            "vggish": ("vggish",),
            "emobase": (),
        },
        descriptors={
            "resnet50": scene,
            "flownet": motion,
            "i3d": face,
            "vggish": sound,
            "emobase": emobase,
        },
        rate=25.0,
        segment=5.0,
    ),
    "shot_long": PaperFeatures(
        networks=_shot_long_networks,
        needs={
            "audio": ("vggish", "vggish_pca"),
            "scene": ("vgg16_places",),
            "expression": ("xception", *DETECTOR_WEIGHTS["mtcnn"]),
            "action": ("openpose",),
        },
        descriptors={
            "audio": sound,
            "scene": partial(scene, rate=1.0),
            "expression": partial(face, rate=1.0),
            "action": partial(motion, rate=1.0),
        },
        distributed={"audio": "audio", "scene": "fc6"},
        detector="mtcnn",
    ),
    "gla": PaperFeatures(
        networks=_gla_networks,
        needs={
            "image": ("inception",),
            "audio": ("vggish", "vggish_pca"),
            "face": ("inception",),
        },
        descriptors={
            "image": partial(scene, rate=1.0),
            "audio": sound,
            "face": partial(people, rate=1.0),
        },
        distributed={"image": "fc6", "audio": "audio"},
    ),
    "caan": PaperFeatures(
        networks=_caan_networks,
        needs={"face": ("vggface",), "context": ("vgg16",)},
        descriptors={"face": people, "context": partial(scene, rate=2.0)},
        rate=2.0,
        segment=None,
    ),
}
SEGMENT = {slug: paper.segment for slug, paper in PAPERS.items() if paper.segment}
# For the old name affectlib.features.deep.NEEDS; works for one more release.
NEEDS = {slug: paper.weights for slug, paper in PAPERS.items()}


def described(paper: str) -> Extractors:
    """The descriptors that stand in for a paper's networks, in the same order.

    Args:
        paper: slug; one that is not in ``PAPERS`` gets all descriptors

    Examples:
        >>> [extractor.name for extractor in described("gla")]
        ['scene', 'sound', 'people']
    """
    if paper not in PAPERS:
        return descriptors()
    return tuple(make() for make in PAPERS[paper].descriptors.values())


def pretrained(
    paper: str,
    *,
    weights: str | None = None,
    rate: float | None = None,
    precision: str = "fp32",
) -> Extractors:
    """The networks of one paper, with its sizes and rates, in the order of its model.

    Differs from the papers in:
        - shot_long's dense layer on OpenPose has no released weights:
          the mean over space of the backbone takes its place.
        - gla's network of faces is not released: Inception-v3 of ImageNet takes its place.
        - HOG finds the faces for gla and caan: caan's Faster R-CNN is not released.
          MTCNN finds those for shot_long, as in the paper.

    Args:
        paper: slug; mood_change has no networks of its own, it learns from pixels
        weights: None for the released weights,
            ``"random"`` for tests, in which HOG finds all faces
        rate: frames per second, by default the paper's
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``,
            the faster of the two, which depends on the machine

    Raises:
        WeightsNotFoundError: if files are missing; it lists all of them, and their sources
        ValueError: if the paper has no networks

    Examples:
        >>> [(e.name, e.size) for e in pretrained("gla", weights="random")]
        [('inception_random', 2048), ('vggish_random', 128), ('inception_faces_random', 4096)]
    """
    features = _of_paper(paper)
    if weights is None:
        # All at once, so that the error lists every missing file.
        weight_files.find(*features.weights)
    makers = _networks(features, weights=weights, rate=rate, precision=precision)
    return tuple(make() for make in makers.values())


def _of_paper(paper: str) -> PaperFeatures:
    """The row of the table of a paper.

    Raises:
        FeatureChoiceError: if there is none; it lists the papers
    """
    if paper not in PAPERS:
        raise FeatureChoiceError(
            f"{paper!r} has no pretrained extractors, there are {', '.join(PAPERS)}"
        )
    return PAPERS[paper]


def _networks(
    features: PaperFeatures, *, weights: str | None, rate: float | None, precision: str
) -> Makers:
    """Makers of a paper's networks, by modality; arguments as for :func:`pretrained`."""
    detector = DETECTOR if weights == "random" else features.detector
    options = NetworkOptions(weights=weights, precision=precision)
    return features.networks(options, rate or features.rate, detector)


def choices(features: str | Mapping[str, str], paper: str) -> dict[str, str]:
    """The kind of features of each modality of a paper, in the order of its model.

    Args:
        features: ``"descriptors"`` or ``"pretrained"`` for all modalities;
            ``"organisers"`` for those that the organisers distribute features for, the others are
            then descriptors; or a mapping from modalities to one of these words, in which those
            that are not named are pretrained
        paper: slug

    Raises:
        FeatureChoiceError: for an unknown paper, modality or word, and for organisers' features
            that do not exist; it lists what there is

    Examples:
        >>> choices("organisers", "gla")
        {'image': 'organisers', 'audio': 'organisers', 'face': 'descriptors'}
        >>> choices({"face": "descriptors"}, "gla")
        {'image': 'pretrained', 'audio': 'pretrained', 'face': 'descriptors'}
    """
    table = _of_paper(paper)
    if isinstance(features, str):
        _check_kind(features)
        if features != ORGANISERS:
            return dict.fromkeys(table.modalities, features)
        chosen = dict.fromkeys(table.modalities, DESCRIPTORS)
        features = dict.fromkeys(table.distributed, ORGANISERS)
        if not features:
            raise _not_distributed(paper, table)
    else:
        chosen = dict.fromkeys(table.modalities, PRETRAINED)
    for modality, kind in features.items():
        if modality not in chosen:
            names = ", ".join(table.modalities)
            raise FeatureChoiceError(f"{paper} has no modality {modality!r}; there are {names}")
        _check_kind(kind)
        if kind == ORGANISERS and modality not in table.distributed:
            raise _not_distributed(paper, table, modality)
        chosen[modality] = kind
    return chosen


def _check_kind(kind: object) -> None:
    if kind not in KINDS:
        words = ", ".join(KINDS)
        raise FeatureChoiceError(f"no features {kind!r}; there are {words}")


def _not_distributed(
    paper: str, table: PaperFeatures, modality: str | None = None
) -> FeatureChoiceError:
    """The error for organisers' features that do not exist."""
    what = paper if modality is None else f"{modality!r} of {paper}"
    there_are = ", ".join(f"{name} ({file})" for name, file in table.distributed.items())
    return FeatureChoiceError(
        f"the organisers distribute no features for {what}; there are {there_are or 'none'}"
    )


def weights_needed(features: str | Mapping[str, str], paper: str) -> tuple[str, ...]:
    """Names of the weight files that a choice of features needs, each once.

    Args:
        features: as for :func:`choices`
        paper: slug

    Raises:
        FeatureChoiceError: as :func:`choices`

    Examples:
        >>> weights_needed({"image": "descriptors", "face": "descriptors"}, "gla")
        ('vggish', 'vggish_pca')
    """
    names = []
    for modality, kind in choices(features, paper).items():
        if kind == PRETRAINED:
            names += PAPERS[paper].needs[modality]
    return tuple(dict.fromkeys(names))


def computed(
    features: str | Mapping[str, str], paper: str, *, precision: str = "fp32"
) -> dict[str, Extractor]:
    """The extractors of those modalities whose features are computed, not distributed.

    Args:
        features: as for :func:`choices`
        paper: slug
        precision: of the networks, see :func:`pretrained`

    Raises:
        WeightsNotFoundError: if weights are missing; it lists every file, and its source
        FeatureChoiceError: as :func:`choices`
    """
    kinds = choices(features, paper)
    # All at once, so that the error lists every missing file.
    weight_files.find(*weights_needed(features, paper))
    table = PAPERS[paper]
    networks = _networks(table, weights=None, rate=None, precision=precision)
    found = {}
    for modality, kind in kinds.items():
        if kind == PRETRAINED:
            found[modality] = networks[modality]()
        elif kind == DESCRIPTORS:
            found[modality] = table.descriptors[modality]()
    return found


def extractors(
    features: str | Mapping[str, str],
    paper: str,
    *,
    corpus: Corpus | None = None,
    root: Path | str | None = None,
    precision: str = "fp32",
) -> tuple[Extractor | Distributed, ...]:
    """What a paper's notebook describes films by, one extractor for each modality.

    Args:
        features: ``"pretrained"``, the paper's own networks, see :func:`pretrained`;
            ``"descriptors"``, see :func:`described`; ``"organisers"``, what the organisers of the
            task distribute; or a mapping from modalities to these words, see :func:`choices`
        paper: slug
        corpus: the films; needed for the organisers' features
        root: folder of the corpus; needed for the organisers' features
        precision: of the networks, see :func:`pretrained`

    Raises:
        WeightsNotFoundError: if weights are missing; it lists every file, and its source
        FeatureChoiceError: for an unknown paper, modality or word, and for organisers' features
            that do not exist

    Examples:
        >>> [extractor.name for extractor in extractors("descriptors", "attend_affect")]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    if features == DESCRIPTORS:
        return described(paper)
    found = dict(computed(features, paper, precision=precision))
    kinds = choices(features, paper)
    for modality, kind in kinds.items():
        if kind == ORGANISERS:
            found[modality] = _from_organisers(PAPERS[paper].distributed[modality], corpus, root)
    return tuple(found[modality] for modality in kinds)


def _from_organisers(name: str, corpus: Corpus | None, root: Path | str | None) -> Distributed:
    """An organisers' feature of a corpus.

    Raises:
        FeatureChoiceError: if the corpus comes without such features
    """
    if corpus is None or root is None or corpus.name != "mediaeval18":
        found = "no corpus" if corpus is None else corpus.name
        raise FeatureChoiceError(
            f"the organisers' features come with mediaeval18 only, not with {found}"
        )
    return distributed(name, root, simulated=corpus.simulated)

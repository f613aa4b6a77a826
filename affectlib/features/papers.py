"""Which features each paper describes films by: one table, by the slug of the paper.

:func:`extractors` gives the papers' own networks, or descriptors that stand in for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from affectlib.features import deep
from affectlib.features.audio import emobase, sound
from affectlib.features.detection import DETECTOR, DETECTOR_WEIGHTS
from affectlib.features.extractor import Extractor
from affectlib.features.faces import face, people
from affectlib.features.motion import motion
from affectlib.features.pretrained import weights as weight_files
from affectlib.features.visual import scene

Extractors = tuple[Extractor, ...]


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


# The networks of each paper, in the order in which its model takes them.
# Arguments: options of all networks, frames per second, name of the detector of faces.


def _attend_affect_networks(options: NetworkOptions, rate: float, detector: str) -> Extractors:
    return (
        deep.resnet50(rate=rate, **options),
        deep.flownets(rate=rate, **options),
        deep.i3d(rate=rate, **options),
        deep.vggish(**options),
        emobase(),
    )


def _shot_long_networks(options: NetworkOptions, rate: float, detector: str) -> Extractors:
    return (
        deep.vggish(postprocessed=True, **options),
        deep.vgg16(places=True, layer="pool", rate=rate, **options),
        deep.xception(detector=detector, rate=rate, **options),
        deep.openpose(rate=rate, **options),
    )


def _gla_networks(options: NetworkOptions, rate: float, detector: str) -> Extractors:
    return (
        deep.inception(rate=rate, **options),
        deep.vggish(postprocessed=True, **options),
        deep.inception(faces=2, detector=detector, rate=rate, **options),
    )


def _caan_networks(options: NetworkOptions, rate: float, detector: str) -> Extractors:
    return (
        deep.vggface(detector=detector, rate=rate, **options),
        deep.vgg16(rate=rate, **options),
    )


# The descriptors that stand in for the networks, in the same order.


def _shot_long_descriptors() -> Extractors:
    return sound(), scene(rate=1.0), face(rate=1.0), motion(rate=1.0)


def _gla_descriptors() -> Extractors:
    return scene(rate=1.0), sound(), people(rate=1.0)


@dataclass(frozen=True)
class PaperFeatures:
    """Which features one paper describes films by.

    Args:
        networks: makes the extractors from options, frames per second and a detector of faces
        weights: names of the weight files that the networks need,
            see :mod:`affectlib.features.pretrained.weights`
        rate: frames per second that the networks look at
        detector: of the faces that the networks look at
        descriptors: makes the descriptors that stand in for the networks
        segment: seconds into which the paper's notebook cuts films;
            None for caan, which cuts each video into a number of parts
    """

    networks: Callable[[NetworkOptions, float, str], Extractors]
    weights: tuple[str, ...]
    rate: float = 1.0
    detector: str = DETECTOR
    descriptors: Callable[[], Extractors] = descriptors
    segment: float | None = 1.0


# mood_change is not here: it learns from pixels.
PAPERS = {
    "attend_affect": PaperFeatures(
        networks=_attend_affect_networks,
        weights=("resnet50", "flownet", "i3d", "vggish"),
        rate=25.0,
        segment=5.0,
    ),
    "shot_long": PaperFeatures(
        networks=_shot_long_networks,
        weights=(
            "vggish",
            "vggish_pca",
            "vgg16_places",
            "xception",
            *DETECTOR_WEIGHTS["mtcnn"],
            "openpose",
        ),
        detector="mtcnn",
        descriptors=_shot_long_descriptors,
    ),
    "gla": PaperFeatures(
        networks=_gla_networks,
        weights=("inception", "vggish", "vggish_pca"),
        descriptors=_gla_descriptors,
    ),
    "caan": PaperFeatures(
        networks=_caan_networks,
        weights=("vggface", "vgg16"),
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
    return PAPERS[paper].descriptors()


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
    if paper not in PAPERS:
        raise ValueError(f"{paper!r} has no pretrained extractors, there are {', '.join(PAPERS)}")
    features = PAPERS[paper]
    if weights is None:
        # All at once, so that the error lists every missing file.
        weight_files.find(*features.weights)
    detector = DETECTOR if weights == "random" else features.detector
    options = NetworkOptions(weights=weights, precision=precision)
    return features.networks(options, rate or features.rate, detector)


def extractors(features: str, paper: str, *, precision: str = "fp32") -> Extractors:
    """The extractors that a paper's notebook describes films by.

    Args:
        features: ``"pretrained"``, the paper's own networks, see :func:`pretrained`;
            or ``"descriptors"``, see :func:`described`
        paper: slug
        precision: of the networks, see :func:`pretrained`

    Raises:
        WeightsNotFoundError: if weights are missing; it lists every file, and its source
        ValueError: if ``features`` is neither, or the paper has no networks

    Examples:
        >>> [extractor.name for extractor in extractors("descriptors", "attend_affect")]
        ['scene', 'motion', 'face', 'sound', 'emobase']
    """
    if features == "descriptors":
        return described(paper)
    if features == "pretrained":
        return pretrained(paper, precision=precision)
    raise ValueError(f"features is 'descriptors' or 'pretrained', not {features!r}")

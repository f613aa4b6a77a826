"""Models that predict the valence and arousal of a film of your own.

There are three kinds of them, all AttendAffectNets on features of five seconds:

    - ``"simulated"``: trained here, on simulated films. They have never seen a real film; their
      curve of one shows how such a curve is made, and nothing about the film.
    - ``"released"``: the authors' six checkpoints, trained on Hollywood films.
    - ``"real"``, or the path of a ``models.pt``: what a run of 03_attend_affect has saved.

References:
    Thao, Balamurali, Herremans, Roig, AttendAffectNet: self-attention based networks for predicting
    affective responses from movies, ICPR, 2020.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from affectlib import kept, paths
from affectlib.corpora import Corpus, leave_one_film_out, segments
from affectlib.errors import FileFormatError, NotFoundError
from affectlib.features import Extractor, FeatureTable, Store, extract
from affectlib.features.papers import PAPERS, SEGMENT, extractors
from affectlib.film.bands import calibrate
from affectlib.film.base import Curve, Likeness
from affectlib.film.likeness import Reference, learn
from affectlib.metrics import ccc, mse, pcc
from affectlib.models.attend_affect import FeatureAAN, from_released, mse_pcc_loss
from affectlib.models.gla import moving_average
from affectlib.results import kind as kind_of
from affectlib.results import published
from affectlib.results.trained import (
    FORMAT,
    TrainedModels,
    feature_identity,
    load_models,
    save_models,
)
from affectlib.simulate import make_cognimuse
from affectlib.stacked import FoldResult, fit_folds
from affectlib.statistics import jackknife_interval
from affectlib.training import samples

SLUG = "attend_affect"
TARGETS = ("valence", "arousal")
SIMULATED = "simulated"
RELEASED = "released"
REAL = "real"
HEADS = 2
# The released networks: the end of their file name, and the modality that they look at.
FUSED = "video_audio"
MODALITIES = {"picture": "only_video", "sound": "only_audio"}
# Pictures come first among the features, then sound.
_N_PICTURE = 3
# The range of valence and arousal: where nothing is known, a band goes from end to end.
LOWEST, HIGHEST = -1.0, 1.0


class NoRealModelsError(NotFoundError):
    """No run on a real corpus has saved models. The message says how to make them."""


@dataclass(frozen=True)
class Training:
    """How models are trained on simulated films; the sizes are those of the demo.

    Args:
        films: number of simulated films
        film_seconds: length of each
        epochs: at most
        batch_size: segments
        learning_rate: of Adam
        patience: epochs without improvement
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``
        precision: ``"float64"`` or ``"float32"``; with the latter chance rounding grows until two
            processors disagree
    """

    films: int = 12
    film_seconds: float = 60.0
    epochs: int = 20
    batch_size: int = 60
    learning_rate: float = 0.01
    patience: int = 30
    device: str = "cpu"
    precision: str = "float64"


@dataclass(frozen=True)
class FilmModel(ABC):
    """Models that predict valence and arousal for the segments of any film.

    Args:
        extractors: of the features that they take, in the order of their tokens
        source: what they learned from, one sentence
        kind: of their results, see :func:`affectlib.results.kind`
        licence: whose terms apply
        simulated: whether they learned from simulated films
    """

    extractors: tuple[Extractor, ...]
    source: str
    kind: str
    licence: str
    simulated: bool

    @property
    def targets(self) -> tuple[str, ...]:
        """What they predict."""
        return TARGETS

    def curves(self, table: FeatureTable, hertz: float, smoothing: float) -> dict[str, Curve]:
        """Curves of a film, by target.

        In segments that are unlike the training films the band is the whole range from -1 to 1,
        since a calibration on films of another kind says nothing about them. If all are unlike, the
        curve has no level.

        Args:
            table: features of the film's segments, in their order
            hertz: segments per second
            smoothing: seconds over which the curves are averaged
        """
        likeness = self.likeness(table)
        found = {}
        for target in self.targets:
            curve = self._curve(target, table, hertz, smoothing)
            found[target] = curve if likeness is None else _doubtful(curve, likeness.unlike)
        return found

    @abstractmethod
    def _curve(self, target: str, table: FeatureTable, hertz: float, smoothing: float) -> Curve:
        """The curve of one target, as if the film were like the training films."""

    @abstractmethod
    def likeness(self, table: FeatureTable) -> Likeness | None:
        """How like the training films a film is; None where these are not known."""

    @abstractmethod
    def left_out(self, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Truth and prediction of films by models that had not learned from them; may be empty."""

    @abstractmethod
    def network(self, target: str) -> FeatureAAN:
        """One of the networks, to look inside."""

    @abstractmethod
    def inputs(self, target: str, table: FeatureTable) -> list[torch.Tensor]:
        """The features as :meth:`network` takes them, one ``(segments, size)`` per token."""

    def _tokens(self, table: FeatureTable) -> list[torch.Tensor]:
        """The features as extracted, one ``(segments, size)`` per token."""
        return [torch.tensor(table[extractor.name]) for extractor in self.extractors]


@dataclass(frozen=True)
class Ensemble(FilmModel):
    """Models that a run has saved: one for each film left out and each seed.

    Each of them takes sound and picture at once, so that there are no curves of one modality.

    Args:
        models: as they were saved
    """

    models: TrainedModels

    def _curve(self, target: str, table: FeatureTable, hertz: float, smoothing: float) -> Curve:
        predictions = self.models.predict(target, self._tokens(table))  # (models, segments)
        smoothed = moving_average(predictions, seconds=smoothing, hertz=hertz)
        middle = smoothed.mean(0)
        band = None
        length = self.models.seconds
        if length is not None and np.isclose(hertz * length, 1):
            pairs = self.models.left_out(target)
            band = calibrate(pairs, hertz=hertz, smoothing=smoothing)
        if band is None:
            lower, upper, level = smoothed.min(0), smoothed.max(0), None
            told = self._without_calibration(hertz)
        else:
            lower, upper = middle - band.half_width, middle + band.half_width
            level = band.coverage.mean
            told = str(band)
        protocol = self.models.about.get("parameters", {}).get("protocol")
        if band is not None and protocol == "paper":
            told += "; training was stopped by these very films, so the band is too narrow"
        return Curve(target, predictions, middle, lower, upper, level, told)

    def _without_calibration(self, hertz: float) -> str:
        """Says what the band is where no films left out tell its width."""
        reason = "their file tells of no films left out"
        if self.models.seconds is not None:
            reason = f"they learned from segments of {self.models.seconds:g} s, not {1 / hertz:.3g}"
        return (
            f"from the lowest to the highest of {len(self.models)} models, which says nothing of "
            f"the errors that all of them make; no share is known, since {reason}"
        )

    @cached_property
    def _reference(self) -> Reference | None:
        if self.models.reference is None:
            return None
        names = [extractor.name for extractor in self.extractors]
        return Reference.of_tensors(self.models.reference, names)

    def likeness(self, table: FeatureTable) -> Likeness | None:
        return None if self._reference is None else self._reference.compare(table.arrays)

    def left_out(self, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return self.models.left_out(target)

    def network(self, target: str) -> FeatureAAN:
        return self.models.network(target, 0)

    def inputs(self, target: str, table: FeatureTable) -> list[torch.Tensor]:
        return self.models.inputs(target, 0, self._tokens(table))


@dataclass(frozen=True)
class Released(FilmModel):
    """The six checkpoints of the authors: sound, pictures and both, for each target.

    Their training films are not public, so that nothing tells how like them a film is.

    Args:
        networks: by target and end of the file name
    """

    networks: Mapping[tuple[str, str], FeatureAAN]

    def _curve(self, target: str, table: FeatureTable, hertz: float, smoothing: float) -> Curve:
        fused = self._predict(target, FUSED, table)  # (segments,)
        smooth = partial(moving_average, seconds=smoothing, hertz=hertz)
        middle = smooth(fused)
        error = published_mse(target)
        miss = np.sqrt(error)
        told = (
            f"the curve plus and minus {miss:.2f}, the root of the mean squared error that Table I "
            f"of the paper gives for films left out ({error:g}). Were errors normal, about 68 % "
            "of the values of a film like those would lie inside; which share does, nobody has "
            "counted"
        )
        modalities = {
            name: smooth(self._predict(target, end, table)) for name, end in MODALITIES.items()
        }
        lower, upper = middle - miss, middle + miss
        return Curve(target, fused[None], middle, lower, upper, None, told, modalities)

    def _predict(self, target: str, end: str, table: FeatureTable) -> np.ndarray:
        """Predictions of one network, ``(segments,)``."""
        network = self.networks[target, end]
        with torch.no_grad():
            return network(self._inputs(network, end, table)).double().numpy()

    def _inputs(self, network: FeatureAAN, end: str, table: FeatureTable) -> list[torch.Tensor]:
        tokens = self._tokens(table)
        parts = {
            FUSED: tokens,
            MODALITIES["picture"]: tokens[:_N_PICTURE],
            MODALITIES["sound"]: tokens[_N_PICTURE:],
        }
        precision = next(network.parameters()).dtype
        return [token.to(precision) for token in parts[end]]

    def likeness(self, table: FeatureTable) -> None:
        return None

    def left_out(self, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return []

    def network(self, target: str) -> FeatureAAN:
        return self.networks[target, FUSED]

    def inputs(self, target: str, table: FeatureTable) -> list[torch.Tensor]:
        return self._inputs(self.network(target), FUSED, table)


def load(
    model: str = SIMULATED,
    *,
    features: str | Mapping[str, str] | None = None,
    golden: Path | str | None = None,
    training: Training | None = None,
    first_seed: int = 0,
    jobs: int = 2,
    progress: bool | None = None,
) -> FilmModel:
    """Models for a film of your own.

    Args:
        model: ``"simulated"`` (or empty): trained on simulated films at the first call, and then
            kept in the cache. ``"released"``: the authors' checkpoints. ``"real"``: the newest that
            a run of 03_attend_affect on a real corpus has saved. Or the path of a ``models.pt``
        features: that models are trained on here, see :func:`affectlib.features.extractors`; None
            for descriptors. All other models take those that they learned from
        golden: folder that holds ``attend_affect`` with the released checkpoints; None for
            ``paths.GOLDEN``
        training: sizes of the training on simulated films; None for those of the demo
        first_seed: of that training
        jobs: processes that make simulated films and describe them
        progress: show bars; None only where JupyterLab has a notebook open

    Raises:
        NotFoundError: if a checkpoint or a file of models is missing
        NoRealModelsError: if ``model`` is ``"real"``, and no run has saved such models
        WeightsNotFoundError: if weights of the features' networks are missing; it names them
        FileFormatError: if a file is damaged
        FeaturesDifferError: if saved models learned from features of another version
    """
    if model in (SIMULATED, ""):
        training = training or Training()
        return _simulated(features or "descriptors", training, first_seed, jobs, progress)
    if model == RELEASED:
        return released(golden or paths.GOLDEN, extractors("pretrained", SLUG))
    return _saved(_newest_real() if model == REAL else load_models(model))


def released(golden: Path | str, extractors: tuple[Extractor, ...]) -> Released:
    """The six checkpoints of the authors.

    Args:
        golden: folder that holds ``attend_affect`` with the checkpoints
        extractors: of the paper's features

    Raises:
        NotFoundError: if a checkpoint is missing
        FileFormatError, RefusedPickleError: as
            :func:`affectlib.models.attend_affect.from_released`
    """
    networks = {}
    for target in TARGETS:
        for end in (FUSED, *MODALITIES.values()):
            name = f"MDB_{target}_COGNIMUSE_attention_model_Feature_AAN_{end}.pth"
            networks[target, end] = from_released(Path(golden) / SLUG / name)
    return Released(
        extractors=extractors,
        source="The authors trained them on the Hollywood films of COGNIMUSE without Million "
        "Dollar Baby, on the emotion that a film intends.",
        kind=_kind(simulated=False, extractors=extractors),
        licence="Checkpoints: MIT, github.com/ivyha010/AttendAffectNet. The features' networks may "
        "have terms of their own.",
        simulated=False,
        networks=networks,
    )


def published_mse(target: str) -> float:
    """Mean squared error of the fused model on films left out, from Table I of the paper.

    Examples:
        >>> published_mse("arousal")
        0.124
    """
    table = published(SLUG, 1)
    is_row = table["row"] == "Feature AAN (video and audio)"
    is_column = table["column"] == f"{target}_mse"
    return float(table.loc[is_row & is_column, "value"].item())


def training_films(training: Training, *, jobs: int = 2) -> Corpus:
    """The segments of the simulated films that models are trained on.

    Args:
        training: tells how many films there are, and how long they are
        jobs: processes
    """
    films = make_cognimuse(
        _films_folder(training), n_films=training.films, seconds=training.film_seconds, jobs=jobs
    )
    return segments(films, seconds=SEGMENT[SLUG])


def _films_folder(training: Training) -> Path:
    """Where the simulated films are; 03_attend_affect has them in the same place."""
    return paths.CACHE / "corpora" / f"cognimuse-{training.films}x{training.film_seconds:g}"


def _simulated(
    features: str | Mapping[str, str],
    training: Training,
    first_seed: int,
    jobs: int,
    progress: bool | None,
) -> Ensemble:
    """Models that were trained on simulated films, from the cache if they are there."""
    chosen = extractors(features, SLUG)
    films = training_films(training, jobs=jobs)
    saved = None
    with _precision(training.precision):
        file = _cached_file(films, chosen, training, first_seed)
        if file.is_file():
            # A damaged file of the cache is made anew.
            with contextlib.suppress(FileFormatError):
                saved = load_models(file)
        if saved is None:
            _train(file, films, chosen, training, first_seed, jobs, progress)
            saved = load_models(file)
    loaded = _ensemble(saved, chosen)
    source = (
        f"They learned from {training.films} simulated films of {training.film_seconds:g} s, and "
        "have never seen a real one."
    )
    return replace(loaded, source=source)


def _cached_file(
    films: Corpus, chosen: tuple[Extractor, ...], training: Training, first_seed: int
) -> Path:
    """File of the trained models, by all that their numbers depend on."""
    described = [feature_identity(extractor) for extractor in chosen]
    # Annotations stand for the simulator: films of another version have other ones.
    truth = films.clips[list(TARGETS)].to_numpy()
    key = kept.key(FORMAT, described, truth, training, first_seed)
    return paths.CACHE / "models" / "your_own_film" / f"{key[:16]}.pt"


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Torch's default precision, for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _train(
    file: Path,
    films: Corpus,
    chosen: tuple[Extractor, ...],
    training: Training,
    first_seed: int,
    jobs: int,
    progress: bool | None,
) -> None:
    """Trains a model for each film left out and each target, and saves them."""
    table = extract(films, chosen, store=Store(), jobs=jobs, progress=progress)
    folds = leave_one_film_out(films)
    names = [extractor.name for extractor in chosen]
    trained = {}
    scores = {}
    for target in TARGETS:
        data = samples(table, films.clips, target=target, names=names)
        trained[target] = fit_folds(
            partial(FeatureAAN, sizes=[x.shape[-1] for x in data.inputs], heads=HEADS),
            data,
            folds,
            seeds=[first_seed],
            loss=mse_pcc_loss,
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            patience=training.patience,
            device=training.device,
            progress=progress,
            keep_weights=True,
        )
        scores[target] = _scores(trained[target])
    save_models(
        SLUG,
        trained,
        heads=HEADS,
        extractors=chosen,
        corpus=films,
        kind=_kind(simulated=True, extractors=chosen),
        scores=scores,
        parameters={"epochs": training.epochs, "batch_size": training.batch_size},
        reference=learn(table.arrays, films.clips["group"]).tensors(),
        path=file,
    )


def _scores(results: list[FoldResult]) -> dict[str, tuple[float, float, float]]:
    """Mean and ends of the interval of each metric, on the films left out."""
    truth = np.concatenate([result.predictions.truth for result in results])
    prediction = np.concatenate([result.predictions.prediction for result in results])
    films = np.concatenate([result.predictions.groups for result in results])
    found = {}
    for metric in (mse, pcc, ccc):
        score = jackknife_interval(metric, truth, prediction, groups=films)
        found[metric.__name__.upper()] = (score.mean, score.low, score.high)
    return found


def _newest_real() -> TrainedModels:
    """The newest models that learned from real films."""
    places = [paths.FIGURES / SLUG, paths.CACHE / "models" / SLUG]
    places += (paths.CACHE / "figures").glob(f"*/{SLUG}")
    files = {place / "models.pt" for place in places if (place / "models.pt").is_file()}
    simulated = []
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        models = load_models(file)
        if not models.simulated:
            return models
        simulated.append(str(file))
    found = f"; those of {', '.join(simulated)} learned from simulated films" if simulated else ""
    raise NoRealModelsError(
        f"no run on a real corpus has saved models{found}. "
        "`make reproduce PAPER=attend_affect PROFILE=full CORPUS=real` trains them, with COGNIMUSE "
        f"in {paths.DATA / 'cognimuse'}; its owners give it for research, see README. "
        'Or name another file: model="<path of models.pt>"'
    )


def _saved(models: TrainedModels) -> Ensemble:
    """Models from a file, with extractors of the features that they learned from."""
    kinds = {}
    features = models.about["features"]
    for (modality, make), feature in zip(PAPERS[SLUG].descriptors.items(), features, strict=False):
        is_described = make().name == feature["name"]
        kinds[modality] = "descriptors" if is_described else "pretrained"
    chosen = extractors(kinds, SLUG)
    return _ensemble(models, chosen)


def _ensemble(models: TrainedModels, chosen: tuple[Extractor, ...]) -> Ensemble:
    models.check(chosen)
    corpus = models.about["corpus"]
    films = "simulated films" if models.simulated else "real films"
    return Ensemble(
        extractors=chosen,
        source=f"They learned from {films}: {models}.",
        kind=models.about["kind"],
        licence=models.about["licence"],
        simulated=corpus["simulated"],
        models=models,
    )


def _kind(*, simulated: bool, extractors: tuple[Extractor, ...]) -> str:
    return kind_of(SimpleNamespace(simulated=simulated), paper=SLUG, extractors=extractors)


def _doubtful(curve: Curve, is_unlike: np.ndarray) -> Curve:
    """The same curve; where segments are unlike the training films, its band is the whole range."""
    if not is_unlike.any():
        return curve
    lower = np.where(is_unlike, np.minimum(LOWEST, curve.lower), curve.lower)
    upper = np.where(is_unlike, np.maximum(HIGHEST, curve.upper), curve.upper)
    level = curve.level
    told = (
        f"{curve.band}. In {is_unlike.sum()} of {len(is_unlike)} segments, unlike the training "
        "films, it is the whole range: the curve there is a guess"
    )
    if is_unlike.all():
        level = None
        told = (
            f"the whole range from {LOWEST:g} to {HIGHEST:g}, since the film is unlike the "
            "training films from beginning to end: the curve is a guess"
        )
    return replace(curve, lower=lower, upper=upper, level=level, band=told)

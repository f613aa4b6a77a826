"""Trained models of a run on disk, for films that nobody has annotated.

Leaving one film out gives a model for each fold and seed. Together they are an *ensemble*: their
mean is the prediction, and how far they lie apart a first measure of doubt. A file holds such an
ensemble of :class:`~affectlib.models.attend_affect.FeatureAAN` for each target, how each of them
scales its inputs, what each predicted for the film that it had not learned from, and all that tells
what they are: features, corpus, kind, protocol, seeds, versions of libraries, scores, and whose
terms apply to them. It may also hold segments of the training films to compare other films with,
see :mod:`affectlib.film.likeness`.

A file is tensors and text, read without running code that it may hold. The same models give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from affectlib import kept, paths
from affectlib.errors import AffectError, FileFormatError, NotFoundError
from affectlib.features.papers import SEGMENT
from affectlib.features.pretrained.weights import read_tensors, write_tensors
from affectlib.models.attend_affect import FeatureAAN
from affectlib.results.records import PACKAGES
from affectlib.statistics import Interval

if TYPE_CHECKING:
    from affectlib.corpora import Corpus
    from affectlib.features import Extractor
    from affectlib.stacked import FoldResult
    from affectlib.training import Predictions

# Raised whenever the content of a file changes its meaning.
FORMAT = "affectlib trained models, version 2"
# Without predictions for films left out, and without segments to compare with.
_READABLE = (FORMAT, "affectlib trained models, version 1")
# Names of the tensors of the training films begin with it, others with a target.
_REFERENCE = "reference"
# What a file tells of its models, in words and numbers.
_ABOUT = ("paper", "corpus", "kind", "features", "heads", "seeds", "targets", "scores", "licence")


class FeaturesDifferError(AffectError, ValueError):
    """Saved models were trained on other features than those at hand."""


@dataclass(frozen=True)
class TrainedModels:
    """An ensemble of trained models for each target.

    Args:
        about: what is known of them, see :func:`save_models`
        tensors: of each target: weights by name, mean and deviation of each token, and truth and
            prediction of the films left out
        reference: segments of the training films, see :mod:`affectlib.film.likeness`; None where
            the file has none

    Shape:
        weights ``(models, ...)``; means and deviations ``(models, size)``; truth and prediction
        ``(segments of all films,)``
    """

    about: dict[str, object]
    tensors: dict[str, dict[str, torch.Tensor]]
    reference: dict[str, torch.Tensor] | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """What they predict, such as arousal and valence."""
        return tuple(self.tensors)

    @property
    def simulated(self) -> bool:
        """Whether they were trained on simulated films."""
        return self.about["corpus"]["simulated"]

    def __len__(self) -> int:
        """Number of models for each target."""
        return len(self.about["seeds"]) * len(self.about["corpus"]["folds"])

    def __str__(self) -> str:
        corpus = self.about["corpus"]
        return f"{corpus['name']} ({self.about['kind']}), {len(self)} models for each target"

    def scores(self, target: str) -> dict[str, Interval]:
        """Scores on films that a model was not trained on, by name of the metric."""
        found = {}
        for metric, numbers in self.about["scores"][target].items():
            numbers = [np.nan if number is None else number for number in numbers]
            found[metric] = Interval(*numbers, len(self.about["corpus"]["folds"]))
        return found

    @property
    def seconds(self) -> float | None:
        """Length of the segments that they learned from; None where the file does not tell."""
        return self.about.get("seconds")

    def left_out(self, target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Truth and prediction of each film by the models that had not learned from it.

        Args:
            target: such as ``"arousal"``

        Returns:
            a pair for each film, in the order of the folds; the prediction is the mean over seeds.
            Empty where the file does not tell

        Shape:
            each ``(segments,)``
        """
        tensors = self.tensors[target]
        lengths = self.about.get("segments", [])
        if not lengths:
            return []
        truths = tensors["left_out/truth"].split(lengths)
        predictions = tensors["left_out/prediction"].split(lengths)
        return [
            (truth.double().numpy(), prediction.double().numpy())
            for truth, prediction in zip(truths, predictions, strict=True)
        ]

    def check(self, extractors: Sequence[Extractor]) -> None:
        """Refuses features that are not those that the models were trained on, in their order.

        Raises:
            FeaturesDifferError: with both lists
        """
        found = [feature_identity(extractor) for extractor in extractors]
        if found != self.about["features"]:
            raise FeaturesDifferError(
                f"the models were trained on {_listed(self.about['features'])}; "
                f"the features here are {_listed(found)}"
            )

    def network(self, target: str, number: int) -> FeatureAAN:
        """One model, in evaluation mode.

        Args:
            target: such as ``"arousal"``
            number: of the model, from 0
        """
        sizes = [feature["size"] for feature in self.about["features"]]
        network = FeatureAAN(sizes=sizes, heads=self.about["heads"])
        weights = {}
        for name, stacked in self.tensors[target].items():
            part, _, parameter = name.partition("/")
            if part == "weights":
                weights[parameter] = stacked[number]
        network.to(next(iter(weights.values())).dtype)
        network.load_state_dict(weights)
        return network.eval()

    def inputs(
        self, target: str, number: int, features: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Features as one model takes them.

        Args:
            target, number: as in :meth:`network`
            features: as they were extracted, one tensor per token

        Shape:
            features and result ``(segments, size)`` per token
        """
        tensors = self.tensors[target]
        scaled = []
        for token, x in enumerate(features):
            mean = tensors[f"mean/{token}"][number]  # (size,)
            deviation = tensors[f"deviation/{token}"][number]  # (size,)
            scaled.append((x.to(mean.dtype) - mean) / deviation)
        return scaled

    def predict(self, target: str, features: Sequence[torch.Tensor]) -> np.ndarray:
        """Predictions of each model.

        Args:
            target: such as ``"arousal"``
            features: as they were extracted, one tensor per token

        Shape:
            features ``(segments, size)`` per token; result ``(models, segments)``
        """
        curves = []
        for number in range(len(self)):
            network = self.network(target, number)
            with torch.no_grad():
                curves.append(network(self.inputs(target, number, features)).numpy())
        return np.stack(curves)


def models_file(slug: str) -> Path:
    """Where a run saves its trained models.

    A run that keeps its trainings (:mod:`affectlib.kept`) saves them beside its figures. The demo
    does not: its figures are committed, and its models, which go to the cache, are not.
    """
    folder = paths.figures_of(slug) if kept.is_on() else paths.CACHE / "models" / slug
    return folder / "models.pt"


def save_models(
    slug: str,
    trained: Mapping[str, Sequence[FoldResult]],
    *,
    heads: int,
    extractors: Sequence[Extractor],
    corpus: Corpus,
    kind: str,
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    parameters: Mapping[str, object],
    reference: Mapping[str, torch.Tensor] | None = None,
    path: Path | None = None,
) -> Path:
    """Saves the models of a run.

    Args:
        slug: the paper
        trained: for each target the results of ``fit_folds(..., keep_weights=True)``
        heads: of the models' attention
        extractors: of the features, in the order of the models' tokens
        corpus: that they were trained on
        kind: of the run's results, as :func:`affectlib.results.kind` gives it
        scores: for each target and metric mean, low and high on the films left out
        parameters: of the training, such as the protocol; plain values
        reference: segments of the films to compare other films with, as
            :meth:`affectlib.film.likeness.Reference.tensors` gives them; None for none
        path: of the file; None for :func:`models_file`

    Returns:
        path of the file

    Raises:
        WriteError: if the disk is full, or the folder may not be written
    """
    first = next(iter(trained.values()))
    about = {
        "format": FORMAT,
        "paper": slug,
        "targets": list(trained),
        "corpus": {
            "name": corpus.name,
            "simulated": corpus.simulated,
            "clips": len(corpus),
            "citation": corpus.citation,
            # Each name is that of the film that its models have not seen.
            "folds": list(dict.fromkeys(result.fold.name for result in first)),
        },
        "kind": kind,
        "features": [feature_identity(extractor) for extractor in extractors],
        "heads": heads,
        "seeds": list(dict.fromkeys(result.seed for result in first)),
        "scores": _plain_scores(scores),
        "parameters": dict(parameters),
        "versions": {package: version(package) for package in PACKAGES},
        "licence": _licence(corpus),
        "seconds": SEGMENT[slug],
        "segments": [len(parts[0].ids) for parts in _by_fold(first)],
    }
    content = {}
    for target, results in trained.items():
        for name, tensor in (_stacked(results) | _films_left_out(results)).items():
            content[f"{target}/{name}"] = tensor
    for name, tensor in (reference or {}).items():
        content[f"{_REFERENCE}/{name}"] = tensor
    content["about"] = json.dumps(about, sort_keys=True, ensure_ascii=False)
    content["digest"] = _digest(content)
    path = path or models_file(slug)
    write_tensors(path, content)
    return path


def load_models(path: Path | str) -> TrainedModels:
    """Reads a file of :func:`save_models`.

    Raises:
        NotFoundError: if it is not there
        FileFormatError: if it is damaged, asks to run code, is of another version or another kind
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(
            f"{path}: no such file of trained models; "
            "`make reproduce PAPER=attend_affect PROFILE=full` writes one beside its figures"
        )
    content = read_tensors(path)
    about = _read_about(path, content)
    if content.pop("digest", None) != _digest(content):
        raise FileFormatError(path, "expected models as they were saved: its content was changed")
    del content["about"]
    tensors = {}
    for name, tensor in content.items():
        target, _, part = name.partition("/")
        tensors.setdefault(target, {})[part] = tensor
    models = TrainedModels(about, tensors, tensors.pop(_REFERENCE, None))
    try:
        for target in about["targets"]:
            models.network(target, len(models) - 1)
            models.left_out(target)
    except (LookupError, RuntimeError, StopIteration) as error:
        reason = f"expected the weights of {len(models)} models of {target}, and their predictions"
        raise FileFormatError(path, reason) from error
    return models


def _read_about(path: Path, content: Mapping[str, object]) -> dict[str, object]:
    """What a file tells of its models.

    Raises:
        FileFormatError: if that is not what this version of affectlib writes
    """
    try:
        about = json.loads(content["about"])
        found = about["format"]
    except (LookupError, TypeError, ValueError):
        raise FileFormatError(path, "expected a file of trained models, found another") from None
    if found not in _READABLE:
        raise FileFormatError(path, f"expected {FORMAT!r}, found {found!r}: train anew")
    missing = [name for name in _ABOUT if name not in about]
    if missing:
        raise FileFormatError(path, f"expected to be told {', '.join(missing)}")
    return about


def _licence(corpus: Corpus) -> str:
    """Whose terms apply to models that learned from a corpus."""
    networks = "The features' networks may have terms of their own."
    if corpus.simulated:
        return f"Learned from simulated films, which nobody owns. {networks}"
    return (
        f"Learned from {corpus.name}: the terms under which its owners give it away apply to these "
        "models as well, and to the annotation and features of its segments in this file. "
        f"{networks}"
    )


def _by_fold(results: Sequence[FoldResult]) -> list[list[Predictions]]:
    """Predictions of the film left out in each fold, one of each seed."""
    folds = {}
    for result in results:
        folds.setdefault(result.fold.name, []).append(result.predictions)
    return list(folds.values())


def _films_left_out(results: Sequence[FoldResult]) -> dict[str, torch.Tensor]:
    """Truth and prediction of all films left out, film after film; the mean over seeds."""
    truths = []
    predictions = []
    for of_seeds in _by_fold(results):
        truths.append(of_seeds[0].truth)
        predictions.append(np.mean([of_seed.prediction for of_seed in of_seeds], axis=0))
    return {
        "left_out/truth": torch.tensor(np.concatenate(truths)),
        "left_out/prediction": torch.tensor(np.concatenate(predictions)),
    }


def feature_identity(extractor: Extractor) -> dict[str, object]:
    """What makes a feature the same feature, as in the key under which it is stored."""
    settings = [extractor.names, extractor.side, extractor.shortest, extractor.padded]
    return {
        "name": extractor.name,
        "version": extractor.version,
        "size": extractor.size,
        "rate": extractor.rate,
        "options": json.loads(json.dumps(extractor.options)),
        "key": hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8],
    }


def _listed(features: Sequence[Mapping[str, object]]) -> str:
    """Features in words."""
    words = []
    for feature in features:
        rate = f", {feature['rate']:g} frames a second" if feature["rate"] else ""
        options = "".join(f", {option}" for option in feature["options"])
        words.append(
            f"{feature['name']} (version {feature['version']}, {feature['size']} values"
            f"{rate}{options}, key {feature['key']})"
        )
    return ", ".join(words)


def _stacked(results: Sequence[FoldResult]) -> dict[str, torch.Tensor]:
    """Weights and scales of all models of a target, stacked."""
    stacked = {}
    for name in results[0].fitted.weights:
        weights = [result.fitted.weights[name] for result in results]
        stacked[f"weights/{name}"] = torch.stack(weights)
    for token in range(len(results[0].fitted.scales)):
        scales = [result.fitted.scales[token] for result in results]
        means, deviations = zip(*scales, strict=True)
        stacked[f"mean/{token}"] = torch.stack(means)
        stacked[f"deviation/{token}"] = torch.stack(deviations)
    return stacked


def _plain_scores(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> dict:
    """Scores as plain numbers of six significant digits, None where they are undefined."""
    plain = {}
    for target, metrics in scores.items():
        plain[target] = {}
        for metric, numbers in metrics.items():
            rounded = [float(f"{number:.6g}") for number in numbers]
            plain[target][metric] = [None if np.isnan(number) else number for number in rounded]
    return plain


def _digest(content: Mapping[str, object]) -> str:
    """Hash of the text and the tensors of a file, besides the hash itself."""
    digest = hashlib.sha256()
    for name in sorted(content):
        value = content[name]
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            value = value.contiguous().numpy().tobytes()
        elif isinstance(value, str):
            value = value.encode()
        else:
            value = repr(type(value)).encode()
        digest.update(value)
    return digest.hexdigest()

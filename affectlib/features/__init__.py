"""Film to arrays: extractors, the store of their results, and :func:`extract`, which runs them."""

from affectlib.features.extract import extract, film
from affectlib.features.extractor import Extractor, FeatureTable
from affectlib.features.organisers import load_liris_features, organisers
from affectlib.features.papers import descriptors, extractors
from affectlib.features.store import Store

__all__ = [
    "Extractor",
    "FeatureTable",
    "Store",
    "descriptors",
    "extract",
    "extractors",
    "film",
    "load_liris_features",
    "organisers",
]

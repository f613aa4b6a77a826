"""Film to arrays: extractors, the store that keeps what they found, and :func:`extract`, which runs them."""

from affectlib.features.extract import descriptors, extract, extractors, film
from affectlib.features.organisers import load_liris_features, organisers
from affectlib.features.store import Extractor, FeatureTable, Store

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

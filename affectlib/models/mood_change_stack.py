"""Moved to ``models.mood_change`` and ``stacked.mood_change``; this path works for one release."""

from affectlib.moved import moved_names

_MODELS = ("Fitted", "Task", "Windows", "vote")
_find_in_models = moved_names(__name__, _MODELS, "affectlib.models.mood_change")
_find_in_stacked = moved_names(__name__, ("fit_mood_folds",), "affectlib.stacked.mood_change")


def __getattr__(name: str):
    if name in _MODELS:
        return _find_in_models(name)
    # The function has another name now: affectlib.stacked has a fit_folds of its own.
    return _find_in_stacked("fit_mood_folds" if name == "fit_folds" else name)

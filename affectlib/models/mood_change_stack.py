"""Moved to :mod:`affectlib.stacked.mood_change`. This path works for one more release."""

from affectlib.moved import moved_names

_find = moved_names(
    __name__,
    ("Fitted", "Task", "Windows", "fit_mood_folds", "vote"),
    "affectlib.stacked.mood_change",
)


def __getattr__(name: str):
    # The function has another name now: affectlib.stacked has a fit_folds of its own.
    return _find("fit_mood_folds" if name == "fit_folds" else name)

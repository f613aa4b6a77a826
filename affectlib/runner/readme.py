"""The table of results in README.md, made from every ``figures/*/metrics.json``.

``python -m affectlib.runner.readme`` renews it.
"""

import re
from pathlib import Path

from affectlib import paths
from affectlib.results import read_metrics

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def report() -> str:
    """One markdown table over all runs: paper, corpus, kind, headline numbers with intervals."""
    lines = ["| paper | corpus | kind | result, mean [95 % interval] |", "|---|---|---|---|"]
    for path in sorted(paths.FIGURES.glob("*/metrics.json")):
        run = read_metrics(path.parent.name)
        slug = run["slug"]
        corpus = run["corpus"]["name"]
        # A run of an earlier release did not record its kind.
        kind = run.get("kind", "of unknown kind")
        lines.append(f"| {slug} | {corpus} | **{kind}** | {headline(slug)} |")
    return "\n".join(lines)


def headline(slug: str) -> str:
    """Headline numbers of a run with their intervals, empty where there is no run.

    Of a run without ``headline``, all numbers at the top of its metrics.
    """
    try:
        run = read_metrics(slug)
    except FileNotFoundError:
        return ""
    metrics = run["metrics"]
    names = run["headline"]
    if not names:
        names = [name for name, value in metrics.items() if _text(value)]
    return "; ".join(f"{name} {_text(metrics[name])}" for name in names)


def _text(value: object) -> str:
    """A number or an interval for a reader; empty for anything else."""
    if isinstance(value, dict) and {"mean", "low", "high"} <= set(value):
        mean, low, high = (_decimals(value[name]) for name in ("mean", "low", "high"))
        return f"{mean} [{low}, {high}]"
    if value is None or isinstance(value, float):
        return _decimals(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def update_readme(path: Path | str | None = None) -> bool:
    """Puts :func:`report` between the two marks in the README.

    Args:
        path: the file; None takes README.md of the checkout

    Returns:
        whether the file changed

    Raises:
        ValueError: if the marks are not there once each, in order
    """
    path = Path(path or paths.ROOT / "README.md")
    old = path.read_text(encoding="utf-8")
    table = f"{BEGIN}\n{report()}\n{END}"
    # A function, since re.sub would read a backslash in a plain replacement as an escape.
    new, count = re.subn(f"{BEGIN}.*?{END}", lambda match: table, old, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path}: expected {BEGIN} and {END} once, found them {count} times")
    if new == old:
        return False
    paths.write(path, new.encode("utf-8"))
    return True


if __name__ == "__main__":
    print("README.md renewed" if update_readme() else "README.md was up to date")

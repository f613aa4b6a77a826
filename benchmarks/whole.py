"""`make reproduce` and `make test` from nothing: the working tree beside the commit before.

Each tree is copied into a temporary folder, its environment is built, and only then the clock
starts. The copies share no cache. Times are of all processes, by their parent's count.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from affectlib import paths
from affectlib.errors import AffectError
from benchmarks.common import Comparison, Way

# Before "Half the time" began.
BEFORE = "dcb152b"
# They name folders of this checkout, or settings of this run.
NOT_PASSED = ("AFFECTLIB_CACHE", "AFFECTLIB_FIGURES", "AFFECTLIB_KEEP", "VIRTUAL_ENV")


class WholeError(AffectError, RuntimeError):
    """A tree cannot be copied or built, or its run failed."""


def run(command: list[str], folder: Path, log: Path) -> float:
    """Runs a command; what it prints goes to a file.

    Returns:
        processor time of it and of all its descendants that were waited for, in seconds

    Raises:
        WholeError: if it fails; names the end of what it printed
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise WholeError(f"{' '.join(command)} failed in a copy of the tree:\n{end}")
    return used.ru_utime + used.ru_stime


def copy_commit(folder: Path) -> None:
    """The tree of the commit before, as a repository: some tests ask git."""
    command = ["git", "clone", "--quiet", "--no-checkout", str(paths.ROOT), str(folder)]
    run(command, paths.ROOT, folder.with_suffix(".log"))
    run(["git", "checkout", "--quiet", BEFORE], folder, folder.with_suffix(".log"))


def copy_working_tree(folder: Path) -> None:
    """What git knows, or does not ignore, with the changes that are not committed."""
    log = folder.with_suffix(".log")
    run(["git", "clone", "--quiet", "--no-checkout", str(paths.ROOT), str(folder)], paths.ROOT, log)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=paths.ROOT, capture_output=True, check=True).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        source = paths.ROOT / name
        # One that was deleted is still listed.
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(source.read_bytes())
            (folder / name).chmod(source.stat().st_mode)
    run(["git", "add", "--all"], folder, log)


def seconds_of(folder: Path, target: str) -> float:
    """Processor time of a make target without what is left of an earlier run, in seconds."""
    run(["rm", "-rf", "build"], folder, folder.with_suffix(".log"))
    return run(["make", target], folder, folder.with_suffix(f".{target}.log"))


@contextmanager
def trees() -> Iterator[dict[str, Path]]:
    """Both trees, with their environments."""
    with tempfile.TemporaryDirectory() as place:
        found = {"before": Path(place) / "before", "now": Path(place) / "now"}
        copy_commit(found["before"])
        copy_working_tree(found["now"])
        for folder in found.values():
            run(["make", "env"], folder, folder.with_suffix(".env.log"))
        yield found


def comparison(target: str) -> Iterator[Comparison]:
    """One cold run of each tree."""
    with trees() as found:
        now, before = (partial(seconds_of, found[name], target) for name in ("now", "before"))
        yield Comparison(
            f"make {target}, cold, {os.cpu_count()} cores",
            Way("now", now, tells_seconds=True),
            [Way(f"at commit {BEFORE}", before, tells_seconds=True)],
            rounds=1,
        )


reproduce = partial(comparison, "reproduce")
test = partial(comparison, "test")

"""What a command says, and its exit status, where it cannot go on."""

import os
import signal
import sys
from pathlib import Path

from affectlib.errors import AffectError, printable
from affectlib.paths import FULL, WriteError, write_error

FAILED = 1  # what was asked for was tried, and did not succeed
REFUSED = 2  # what was asked for cannot be done
INTERRUPTED = 130  # by Ctrl-C, as shells count it


def report(error: Exception) -> int:
    """Prints an error as one line that starts with ``error:``.

    Returns:
        exit status: 1 for a place that cannot be read or written, or a cluster that does not
        answer; 2 for anything else
    """
    # Imported here: pandas takes a second, and `affectlib --help` does not need it.
    from affectlib.features.cluster import ClusterError
    from affectlib.features.store import StoreError

    if isinstance(error, OSError) and error.errno in FULL:
        # Raised by a library: its text may lack the place.
        error = write_error(error, Path(error.filename or "this disk"))
    # Names of files stand in it; some errors have lines.
    lines = [printable(line) for line in str(error).split("\n")]
    print("error: " + "\n".join(lines), file=sys.stderr)
    is_place = isinstance(error, OSError) and not isinstance(error, AffectError)
    failed = is_place or isinstance(error, WriteError | StoreError | ClusterError)
    return FAILED if failed else REFUSED


def interrupted() -> int:
    """Says in one line that Ctrl-C has ended a command; returns the exit status.

    What is finished is kept: files are written completely or not at all.
    """
    # By its number: the text stream may be in the middle of a line of its own.
    os.write(2, b"\ninterrupted: what is finished is kept; the same command goes on\n")
    return INTERRUPTED


def end_on_interrupt() -> None:
    """Lets Ctrl-C end this process at once, also while its threads wait for notebooks.

    The processes that it has started end by themselves with it.
    """

    def end(*_: object) -> None:
        # Not sys.exit, which waits for the threads.
        os._exit(interrupted())

    # A shell lets commands that it starts in the background ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)

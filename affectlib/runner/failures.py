"""What a command says, and its exit status, where it cannot go on."""

import sys
from pathlib import Path

from affectlib.errors import AffectError
from affectlib.features.cluster import ClusterError
from affectlib.paths import FULL, WriteError, write_error

FAILED = 1  # what was asked for was tried, and did not succeed
REFUSED = 2  # what was asked for cannot be done


def report(error: Exception) -> int:
    """Prints an error as one line that starts with ``error:``.

    Returns:
        exit status: 1 for a place that cannot be read or written, or a cluster that does not
        answer; 2 for anything else
    """
    if isinstance(error, OSError) and error.errno in FULL:
        # Raised by a library: its text may lack the place.
        error = write_error(error, Path(error.filename or "this disk"))
    print(f"error: {error}", file=sys.stderr)
    is_place = isinstance(error, OSError) and not isinstance(error, AffectError)
    return FAILED if is_place or isinstance(error, WriteError | ClusterError) else REFUSED

"""The connection to a Dask cluster: what is said where nobody answers."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affectlib.errors import AffectError

if TYPE_CHECKING:
    from dask.distributed import Client

PATIENCE = 10.0  # seconds without an answer until it is said


class ClusterError(AffectError, RuntimeError):
    """The scheduler of a Dask cluster does not answer, or is gone. What is finished is kept."""


@contextmanager
def connected(client: Client | str) -> Iterator[Client]:
    """Connects to a cluster, and says how to start a worker while there is none.

    Args:
        client: a Dask client, which stays open, or the address of a scheduler

    Raises:
        ClusterError: if the scheduler does not answer, or is gone before the work is done
    """
    from distributed.comm.core import CommClosedError

    opened = _open(client) if isinstance(client, str) else client
    address = opened.scheduler.address
    finished = threading.Event()
    threading.Thread(target=_watch, args=(opened, address, finished), daemon=True).start()
    try:
        yield opened
    except (CancelledError, CommClosedError):
        # Dask would log its own failure to connect again, with a traceback.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        raise ClusterError(
            f"the Dask scheduler at {address} is gone; what is finished is kept: "
            "start scheduler and workers again, and repeat the command"
        ) from None
    finally:
        finished.set()
        if isinstance(client, str):
            opened.close()


def _open(address: str) -> Client:
    from dask.distributed import Client

    try:
        return Client(address, timeout=PATIENCE)
    # An address that is none is a ValueError.
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, "
            "which prints its address"
        ) from error


def _watch(client: Client, address: str, finished: threading.Event) -> None:
    """Says once that there is no worker, as often as the last one goes."""
    from tqdm import tqdm

    told = False
    absent = False
    while not finished.wait(PATIENCE / 2):
        try:
            there = bool(client.nthreads())
        # The scheduler is gone: the work itself says so.
        except Exception:
            return
        if absent and not there and not told:
            sentence = f"no Dask worker at {address}: start one with `dask worker {address}`"
            tqdm.write(f"{sentence}; waiting", file=sys.stderr)
            told = True
        absent = not there
        told = told and absent

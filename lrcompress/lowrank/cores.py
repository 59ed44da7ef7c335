"""Rows shared out among the cores.

Thin products (thousands of rows, a few dozen columns) take tens of microseconds. BLAS' own threads
then wait for each other longer than they work, and much longer where other programs want the cores;
one thread for each share of the rows, each with a BLAS of one thread, loses nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

# A share of so many blocks is worth a thread of its own.
LEAST_BLOCKS = 2
MOST_CORES = 16

Found = TypeVar("Found")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread while the context lasts."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def over_shares(rows: int, work: Callable[[range], Found], block: int) -> list[Found]:
    """Return what `work` makes of each share of the rows, in order.

    Args:
        rows: How many there are.
        work: Takes the starts of the blocks of one share; runs in a thread of its own.
        block: Rows of a block.
    """
    shares = max(1, min(cores(), MOST_CORES, rows // (LEAST_BLOCKS * block)))
    # Whole blocks each; neighbours, so that each reads its own part of the memory.
    length = max(1, -(-rows // (shares * block))) * block
    firsts = range(0, max(rows, 1), length)
    starts = [range(first, min(first + length, rows), block) for first in firsts]
    if len(starts) == 1:
        return [work(part) for part in starts]
    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(work, starts))


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        return os.cpu_count() or 1

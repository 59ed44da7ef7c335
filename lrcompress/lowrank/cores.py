"""Work shared out among the cores, in parts that do not depend on their number.

BLAS sums in another order with another number of threads. It gets one, so that the same work gives
the same bytes, and what takes long is done in parts, each in a thread of its own. BLAS' own threads
would wait for each other longer than they work at thin products (thousands of rows, a few dozen
columns), and much longer where other programs want the cores.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

# A share of so many blocks is worth a thread of its own; there are at most so many shares.
LEAST_BLOCKS = 2
MOST_SHARES = 16
# What the BLAS that SciPy brings begins with, where it is loaded later.
_THREADS = "OPENBLAS_NUM_THREADS"

Item = TypeVar("Item")
Found = TypeVar("Found")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread while the context lasts, also one that is loaded meanwhile."""
    wanted = os.environ.get(_THREADS)
    known = {library.filepath for library in _blas()}
    os.environ[_THREADS] = "1"
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        del os.environ[_THREADS]
        if wanted is not None:
            os.environ[_THREADS] = wanted
        for library in _blas():
            if library.filepath not in known:
                library.set_num_threads(
                    int(wanted) if wanted and wanted.isdecimal() else core_count()
                )


def _blas() -> list[Any]:
    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


def each(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """Return what `work` makes of each item, in order; side by side where there are cores."""
    todo = list(items)
    threads = min(core_count(), len(todo))
    if threads < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, todo))


def over_shares(rows: int, work: Callable[[range], Found], block: int) -> list[Found]:
    """Return what `work` makes of the starts of blocks of so many rows, share by share, in order."""
    shares = max(1, min(MOST_SHARES, rows // (LEAST_BLOCKS * block)))
    # Whole blocks each; neighbours, so that each reads its own part of the memory.
    length = max(1, -(-rows // (shares * block))) * block
    firsts = range(0, max(rows, 1), length)
    return each(work, [range(first, min(first + length, rows), block) for first in firsts])


def core_count() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        return os.cpu_count() or 1

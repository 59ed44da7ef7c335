"""Processes that try cases under a bound on memory, and a parent that ends those that hang."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from fuzzing.mutating import Case

# Seconds of work, not of the clock, on which other programs have a say; and the clock for what waits.
HANG_SECONDS = 5.0
STUCK_SECONDS = 300.0
# Making a case is not what is tested; HDF5 may well hang or die when it changes a file.
MAKING_SECONDS = 30.0
_LOOK_SECONDS = 1.0
MORE_BYTES = 2**30
# One thread of arithmetic for each process: the matrices are small, and there are two processes.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Report(NamedTuple):
    """One case and what became of it."""

    index: int
    file: str
    kinds: tuple[str, ...]
    result: str
    detail: str
    seconds: float
    peak_megabytes: float
    saved: Path | None


Make = Callable[[int], Case]


def work(connection: Connection, make: Make, folder: Path) -> None:
    """Try the cases whose numbers come in until None comes; runs in a process of its own.

    Args:
        connection: Gives numbers; takes ``(file, kinds, path)`` before and an outcome after each.
        make: Returns a case by its number.
        folder: This worker's own folder.
    """
    from fuzzing.trying import try_file

    warnings.simplefilter("ignore")
    limited = False
    while (index := connection.recv()) is not None:
        for name in ("input", "scratch"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
        case = make(index)
        path = folder / "input" / f"in{Path(case.file).suffix}"
        path.write_bytes(case.data)
        os.chdir(folder / "scratch")
        connection.send((case.file, case.kinds, path))
        outcome = try_file(path, folder / "scratch")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        connection.send((*outcome, peak))
        if not limited:  # now that everything is imported
            _limit_memory()
            limited = True


def _limit_memory() -> None:
    """Forbid this process to take more than `MORE_BYTES` beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@dataclass
class Worker:
    """One process and the case it is at."""

    make: Make
    folder: Path
    index: int | None = None
    case: tuple[str, tuple[str, ...], Path] | None = None
    allowed: float = 0.0
    began: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Start the process."""
        self.start()

    def start(self) -> None:
        """Start a process, the first or one in the place of another."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=work, args=(theirs, self.make, self.folder), daemon=True
        )
        self.process.start()
        theirs.close()

    def give(self, index: int) -> None:
        """Start a case."""
        self.index, self.case = index, None
        self._allow(MAKING_SECONDS)
        self.connection.send(index)

    def hangs(self) -> bool:
        """Return whether the case has worked, or done nothing, for longer than it may."""
        clock, spent = self._now()
        return spent - self.began[1] > self.allowed or clock - self.began[0] > STUCK_SECONDS

    def _allow(self, seconds: float) -> None:
        self.allowed, self.began = seconds, self._now()

    def _now(self) -> tuple[float, float]:
        """Return the clock, and the seconds of work of the process so far."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # it has just died: its connection will say so
            return time.monotonic(), self.began[1]
        ticks = int(stat[11]) + int(stat[12])  # user and system time: see proc(5)
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")

    def take(self) -> Report | None:
        """Take what the process said; None if the case goes on.

        Raises:
            EOFError: If it died.
        """
        said = self.connection.recv()
        if self.case is None:
            self.case = said
            self._allow(HANG_SECONDS)
            return None
        result, detail, seconds, peak = said
        return self._report(result, detail, seconds, peak)

    def give_up(self) -> Report:
        """End the process, which died or hangs, and start another."""
        hangs = self.process.is_alive() and self.hangs()
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        made = self.case is not None
        result = ("hang" if hangs else "crash") if made else "not made"
        report = self._report(result, "" if hangs else f"exit code {code}", HANG_SECONDS, 0.0)
        self.connection.close()
        self.start()
        return report

    def _report(self, result: str, detail: str, seconds: float, peak: float) -> Report:
        assert self.index is not None
        file, kinds, path = self.case or ("?", (), None)
        return Report(self.index, file, kinds, result, detail, seconds, peak, path)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def run(make: Make, indices: Iterator[int], folder: Path, workers: int) -> Iterator[Report]:
    """Try cases and yield a report of each, in the order they end.

    Args:
        make: Returns a case by its number; at the top of a module, or a partial of what is.
        indices: Numbers of the cases.
        folder: For the workers' files.
        workers: Number of processes.
    """
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    team = [Worker(make, folder / str(n)) for n in range(workers)]
    try:
        busy = [worker for worker in team if _next(worker, indices)]
        while busy:
            ready = wait([worker.connection for worker in busy], timeout=_LOOK_SECONDS)
            for worker in list(busy):
                report = None
                if worker.connection in ready:
                    try:
                        report = worker.take()
                    except (EOFError, OSError):
                        report = worker.give_up()
                elif worker.hangs():
                    report = worker.give_up()
                if report is not None:
                    yield report
                    if not _next(worker, indices):
                        busy.remove(worker)
    finally:
        for worker in team:
            worker.stop()


def _next(worker: Worker, indices: Iterator[int]) -> bool:
    """Give a worker the next case, if there is one."""
    index = next(indices, None)
    if index is not None:
        worker.give(index)
    return index is not None

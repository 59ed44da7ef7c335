"""Command lines in forks of one process that has loaded everything and computed nothing.

    python -m attacks._forked < jobs

Starting Python and TensorFlow anew would be most of the work. A line of jobs, a list, is run side by
side; a line with what became of each comes back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_SECONDS = 300
Job = dict[str, Any]


class Forked:
    """The process that forks; `run` takes jobs and returns what became of them.

    A job has ``arguments``, ``folder`` and ``temporary``, the folders it works in, and, where it is
    to be ended, ``signal`` and ``after``, seconds. It gets ``code``, ``stderr`` and ``seconds``.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Keep the process."""
        self._process = process

    def run(self, *jobs: Job) -> list[Job]:
        """Run jobs side by side."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        done: list[Job] = json.loads(self._process.stdout.readline())
        return done


@contextlib.contextmanager
def forked() -> Iterator[Forked]:
    """Yield a process that forks."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with subprocess.Popen(
        [sys.executable, "-m", "attacks._forked"], cwd=Path(__file__).parents[1], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        yield Forked(process)
        process.stdin.close()  # type: ignore[union-attr]


def _child(job: Job) -> int:
    """Run a command line in a fork, as a process of its own; return its exit code."""
    from lrcompress.cli import main

    os.chdir(job["folder"])
    os.environ["TMPDIR"] = job["temporary"]
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(
            Path(job["temporary"]).with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT
        )
        os.dup2(descriptor, number)
    sys.argv = ["lrcompress", *job["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    return 70


def _run(jobs: list[Job]) -> list[Job]:
    """Fork for each job, send the signals that are due, and wait for all."""
    started, running = time.monotonic(), {}
    for job in jobs:
        child = os.fork()
        if child == 0:
            code = _child(job)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        running[child] = job
    while running:
        time.sleep(0.002)
        passed = time.monotonic() - started
        for child, job in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                job |= {"code": os.waitstatus_to_exitcode(status), "seconds": passed}
                said = Path(job["temporary"]).with_suffix(".stderr")
                # Killed before it had said anything, it has no such file.
                text = said.read_bytes() if said.exists() else b""
                job["stderr"] = text.decode("utf-8", "replace")
                del running[child]
            elif passed > LONGEST_SECONDS or ("after" in job and passed > job["after"]):
                job.pop("after", None)
                os.kill(child, getattr(signal, job.get("signal", "SIGKILL")))
    return jobs


def main() -> None:
    """Load everything, then take jobs."""
    import h5py  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import rich.table  # noqa: F401
    import scipy.linalg
    import scipy.optimize  # noqa: F401

    import lrcompress.cli  # noqa: F401
    from lrcompress import verbs  # noqa: F401
    from lrcompress.studies import scratch  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

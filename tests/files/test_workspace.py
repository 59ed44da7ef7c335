"""Locks between processes, which the system releases if a process dies."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lrcompress.errors import OutputError
from lrcompress.files import locked

# Seconds: of threads that wait for each other for ever, not of a busy machine.
PATIENCE = 600
fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """A second holder is told so at once, waits if it asks to, and nothing is left behind."""
    path = tmp_path / "inner" / "x.lock"
    order = []

    def wait() -> None:
        with locked(path, wait=True) as held:
            order.append(("waited", held))

    with locked(path, wait=False) as first:
        with locked(path, wait=False) as second:
            pass
        thread = threading.Thread(target=wait)
        thread.start()
        order.append(("first done", first))
    thread.join(timeout=PATIENCE)

    assert (first, second) == (True, False)
    assert order == [("first done", True), ("waited", True)]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was to be made, and no folder any more when that was looked at."""
    path, real, gone = tmp_path / "inner" / "x.lock", Path.mkdir, [FileExistsError(), None]

    def make(self: Path, *args: Any, **kwargs: Any) -> None:
        if self == path.parent and gone and (error := gone.pop(0)):
            raise error
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", make)
    with locked(path, wait=True) as held:
        assert held
    assert gone == []


def test_a_lock_goes_with_its_dead_holder(tmp_path: Path) -> None:
    """A process that is killed while it holds a lock leaves it free, though its file is there."""
    path = tmp_path / "x.lock"
    code = (
        "import os, sys; from pathlib import Path; from lrcompress.files import locked\n"
        "with locked(Path(sys.argv[1]), wait=False) as held:\n    os._exit(0 if held else 1)\n"
    )

    died = subprocess.run([sys.executable, "-c", code, str(path)], check=True)

    assert died.returncode == 0
    assert path.exists()
    with locked(path, wait=False) as held:
        assert held


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A lock in what is no folder is refused in one line."""
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(OutputError, match="another --output"),
        locked(tmp_path / "file" / "x.lock", wait=False),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_that_knows_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """There a lock counts as held, for one process at a time, unless it must be certain."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)

    with locked(tmp_path / "x.lock", wait=True) as held:
        pass
    with locked(tmp_path / "x.lock", wait=False, certain=True) as certainly_held:
        pass

    assert (held, certainly_held) == (True, False)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["x.lock"])

"""SHA-256 of files, at once or meanwhile."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from lrcompress import files

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of several pieces."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_the_hash_is_that_of_hashlib(path: Path) -> None:
    """Both ways give the hash of the whole content."""
    expected = hashlib.sha256(CONTENT).hexdigest()

    with files.sha256_meanwhile(path) as digest:
        found = digest()

    assert files.sha256(path) == found == expected


def test_a_missing_file_is_told_to_the_one_who_asks(tmp_path: Path) -> None:
    """An error in the second thread is raised where the hash is asked for, and only there."""
    with files.sha256_meanwhile(tmp_path / "none"):
        pass

    with (
        files.sha256_meanwhile(tmp_path / "none") as digest,
        pytest.raises(FileNotFoundError),
    ):
        digest()


def test_an_error_of_the_body_ends_the_hashing(path: Path) -> None:
    """No thread goes on reading a file that nobody will ask about, and the error passes."""
    with pytest.raises(ZeroDivisionError), files.sha256_meanwhile(path):
        raise ZeroDivisionError

    assert [thread.name for thread in threading.enumerate() if "sha256" in thread.name] == []

"""What reads one kind of data set: the protocol that every data format of `sources.READERS` keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Reader(Protocol):
    """Reads the data sets that certain words stand for.

    Attributes:
        says: Its phrase in the help and in errors; empty for what no word on a command line names.
    """

    says: str

    def serves(self, word: Any) -> bool:
        """Return whether a data set, as the user gives it, is one for this reader."""
        ...

    def read(self, word: Any, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Return where the data are from, and their arrays by name (see `names`).

        Args:
            word: What the user gives.
            folder: First folder in which a name is sought.
            seed: Of every split.
        """
        ...


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Return whether a file or folder is there; one with too long a name, or in a closed folder, is not."""
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return False

"""Files of arrays, `.npz`, that may be broken or hostile."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.data.reader import ARRAYS, grouped, is_there, wanted_names
from lrcompress.errors import DatasetError, one_line
from lrcompress.files import regular

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Npz:
    """A file that exists, of arrays by name."""

    says = "an existing .npz file"

    def serves(self, word: Any) -> bool:
        """Return whether a word ends as such a file does."""
        return isinstance(word, str) and Path(word).suffix == ".npz"

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Read the arrays of a data set."""
        path = Path(word)
        if not is_there(path):
            msg = f"Data set file {path} does not exist; expected a .npz with {', '.join(ARRAYS)}."
            raise DatasetError(msg)
        return str(path), read_npz(path, ARRAYS, wanted_names)


def read_npz(
    path: Path, wanted: Sequence[str], choose: Callable[[list[str]], list[str] | None]
) -> dict[str, Any]:
    """Return the arrays of an existing file that `choose` takes of its names, for messages `wanted` at least."""
    try:
        members, arrays = _read(path, choose)
    except Exception as error:  # zipfile, its decompressors and NumPy raise a dozen kinds
        reason = one_line(error)
        msg = (
            f"Data set {path} is not a readable .npz file ({reason}); expected plain arrays "
            "written by numpy.savez, without pickled objects."
        )
        raise DatasetError(msg) from error
    if not arrays:
        msg = (
            f"Data set {path} holds {', '.join(members) or 'no named arrays'}; expected "
            f"{', '.join(wanted)}; save it with numpy.savez(path, {wanted[0]}=..., ...)."
        )
        raise DatasetError(msg)
    return grouped(arrays)


def _read(
    path: Path, choose: Callable[[list[str]], list[str] | None]
) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the names of all arrays, and the wanted arrays if none of them is missing."""
    from numpy.lib import format as npy

    with regular(path).open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            return [], {}  # a single array, without a name
        with zipfile.ZipFile(file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            names = choose(list(members)) or []
            return list(members), {name: _array(archive, members[name]) for name in names}


def _array(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    import numpy as np
    from numpy.lib import format as npy

    with archive.open(member) as file:
        # Versions 2 and 3 differ in the encoding of field names only.
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
    claimed, size = math.prod(shape) * dtype.itemsize, archive.getinfo(member).file_size
    # NumPy asks for memory by the header before it reads; objects it refuses by itself.
    if claimed > size and not dtype.hasobject:
        msg = f"{member} has {size:,} bytes, its header claims {claimed:,}"
        raise ValueError(msg)
    with archive.open(member) as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))

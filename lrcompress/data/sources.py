"""Where data sets come from: the readers of all data formats, and what a word loads.

Nothing here starts Keras, except the download of a named data set that is nowhere on disk; NumPy is
loaded when data are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.data import in_memory
from lrcompress.data.images import Images
from lrcompress.data.named import NAMED, Named
from lrcompress.data.npz import Npz, read_npz
from lrcompress.data.reader import VALIDATION, Reader, is_there, validation_names
from lrcompress.errors import DatasetError, UnknownDatasetError, did_you_mean
from lrcompress.records.provenance import name_of

if TYPE_CHECKING:
    from lrcompress.data.dataset import Dataset

# In the order in which they are asked.
READERS: list[Reader] = [in_memory.InMemory(), Named(), Npz(), Images(), in_memory.Function()]


def expected() -> str:
    """Return what a data set may be, for the help and for errors."""
    *first, last = [reader.says for reader in READERS if reader.says]
    return f"{', '.join(first)}, or {last}"


def load(
    spec: Any,
    data_dir: Path | None = None,
    *,
    validation: Any = None,
    seed: int = 0,
    whole: bool = False,
) -> Dataset:
    """Load the data set that a user gives, with `validation` in the place of its own validation part."""
    from lrcompress.data.dataset import assemble

    name = name_of(spec)
    word = name if isinstance(spec, Path) else spec
    reader = next((reader for reader in READERS if reader.serves(word)), None)
    if reader is None:
        msg = f"Unknown data set {name!r}; expected {expected()}.{did_you_mean(name, NAMED)}"
        raise UnknownDatasetError(msg)
    source, arrays = reader.read(word, data_dir, seed)
    if validation is not None:
        own = {key: array for key, array in arrays.items() if not key.endswith("_val")}
        arrays = own | _validation(validation)
    return assemble(name, source, arrays, seed=seed, whole=whole)


def _validation(spec: Any) -> dict[str, Any]:
    """Return ``x_val``, ``y_val`` and any weights of a `.npz` file that holds them, or ``x`` and ``y``."""
    if not isinstance(spec, (str, Path)):
        found = in_memory.read({"val": spec} if not isinstance(spec, dict) else spec)
        return {key: array for key, array in found.items() if key.endswith("_val")}
    path = Path(spec)
    if path.suffix != ".npz" or not is_there(path):
        msg = (
            f"Validation data {spec} are not an existing .npz file; expected one with x_val and y_val, or "
            "x and y, new to the model."
        )
        raise DatasetError(msg)
    arrays = read_npz(path, VALIDATION, validation_names)
    return {f"{key.removesuffix('_val')}_val": array for key, array in arrays.items()}

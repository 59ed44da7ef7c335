"""Very large kernels stay on disk while they are worked on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lrcompress
from lrcompress.modelfile import find_head, open_model, read, read_kernel

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


@pytest.mark.parametrize("kind", ["hdf5", "stored", "deflated"])
def test_a_large_kernel_is_mapped(
    make: Maker, monkeypatch: pytest.MonkeyPatch, kind: str, tmp_path: Path
) -> None:
    """From a size on the kernel is a view of the file, with the same numbers and the same result."""
    if kind == "hdf5":
        path = make.small_hdf5()
    else:
        way = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        path = make.small_keras(compression=way)
    model = open_model(path)
    plain = read_kernel(model, find_head(model))
    first = lrcompress.factorize(path, rank=2, output=tmp_path / f"a{path.suffix}")
    monkeypatch.setattr(read, "MAPPED_BYTES", 0)

    mapped = read_kernel(model, find_head(model))
    second = lrcompress.factorize(path, rank=2, output=tmp_path / f"b{path.suffix}")

    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert np.array_equal(plain, mapped)
    assert first.output.read_bytes() == second.output.read_bytes()

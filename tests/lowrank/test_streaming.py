"""Kernels that are read in blocks from a file, memory that is bounded, bytes that are the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.errors import KernelError
from lrcompress.lowrank import matrix as passes
from lrcompress.lowrank import singular_values, truncated_svd
from lrcompress.lowrank import svd as engine
from tests.lowrank.layers import by_turns

DTYPES = ["float16", "float32", "float64"]


class Watched:
    """A kernel in a file that counts what is read of it."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        """Serve slices of a matrix as copies, as a file would."""
        self.matrix = matrix
        self.shape, self.dtype = matrix.shape, matrix.dtype
        self.largest = self.read = 0

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Return a copy of a slice."""
        block = np.array(self.matrix[key])
        self.largest, self.read = max(self.largest, block.size), self.read + block.size
        return block


def kernel_of(shape: tuple[int, int], dtype: str = "float32") -> NDArray[Any]:
    """Return a kernel with a falling spectrum and noise."""
    rng = np.random.default_rng(0)
    k = min(shape)
    low = rng.standard_normal((shape[0], k)) * np.arange(1, k + 1) ** -0.7
    return np.asarray(low @ rng.standard_normal((k, shape[1])), dtype)


@pytest.mark.parametrize(
    ("shape", "dtype", "rank"),
    by_turns([3, 20], [(3000, 40), (40, 3000), (900, 700), (700, 900)], DTYPES),
)
def test_read_in_blocks(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], dtype: str, rank: int
) -> None:
    """No read is larger than a block, and the result is that of the kernel in memory."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    matrix = kernel_of(shape, dtype)
    whole = truncated_svd(matrix, rank)
    monkeypatch.setattr(passes, "BLOCK_BYTES", 2**17)
    source = Watched(matrix)

    streamed = truncated_svd(source, rank)

    assert source.largest <= 2**17 // 2
    tolerance = 5e-3 if dtype == "float16" else 2e-3
    best = whole.certificate.frobenius_error
    assert streamed.certificate.frobenius_error == pytest.approx(best, rel=tolerance)
    assert streamed.certificate.algorithm == whole.certificate.algorithm
    assert streamed.B.dtype == matrix.dtype
    np.testing.assert_allclose(singular_values(source), singular_values(matrix), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3000, 60), (60, 3000)])
def test_three_passes(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    """By the Gram matrix a kernel is read for its scale, its products and its factors; no more."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    source = Watched(np.random.default_rng(0).standard_normal(shape).astype(np.float32))

    truncated_svd(source, 20)

    assert source.read == 3 * shape[0] * shape[1]


def test_hdf5_dataset_serves_as_it_is(tmp_path: Path) -> None:
    """A dataset of an open file is a kernel, and so is a memory map."""
    matrix = kernel_of((500, 80))
    with h5py.File(tmp_path / "kernel.h5", "w") as file:
        file["kernel"] = matrix
    np.save(tmp_path / "kernel.npy", matrix)

    with h5py.File(tmp_path / "kernel.h5") as file:
        from_file = truncated_svd(file["kernel"], 12)
    from_map = truncated_svd(np.load(tmp_path / "kernel.npy", mmap_mode="r"), 12)

    in_memory = truncated_svd(matrix, 12)
    for found in (from_file, from_map):
        np.testing.assert_allclose(found.product(), in_memory.product(), atol=1e-5)
        assert type(found.B) is type(found.C) is np.ndarray


def test_not_finite_is_found_in_a_file() -> None:
    """NaN in a kernel that is read in blocks is refused with its number."""
    matrix = kernel_of((500, 80))
    matrix[499, 79] = np.nan

    with pytest.raises(KernelError, match=r"1 of 40,000"):
        truncated_svd(Watched(matrix), 12)


@pytest.mark.parametrize(
    ("dtype", "rank", "shape"), by_turns([(6000, 600), (600, 6000)], DTYPES, [5, 20, 100])
)
def test_no_second_copy_of_the_kernel(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], dtype: str, rank: int
) -> None:
    """Beside the kernel, less memory is taken than another kernel in float32 would."""
    monkeypatch.setattr(passes, "BLOCK_BYTES", 2**20)
    kernel = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    truncated_svd(kernel, rank)  # what is imported on the way is not counted
    tracemalloc.start()

    truncated_svd(kernel, rank)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < kernel.size * max(4, kernel.itemsize)


LIMITED = """
import resource, sys
import numpy as np
import scipy.linalg
from lrcompress.lowrank import truncated_svd
path, shape = sys.argv[1], (int(sys.argv[2]), int(sys.argv[3]))
np.ones((600, 600)) @ np.ones((600, 600))  # what the BLAS allocates once
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
limit = used * 1024 + 200 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.fromfile(path, np.float32)
except MemoryError:
    print("does not fit")
kernel = np.memmap(path, np.float32, "r", shape=shape)
factors = truncated_svd(kernel, 30)
print(factors.certificate.algorithm, factors.certificate.optimality <= 1.001)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts private memory on Linux")
@pytest.mark.parametrize("shape", [(150_000, 512), (512, 150_000)])
def test_kernel_larger_than_memory(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A kernel of 307 MB is factorized in a process that may take 200 MB."""
    path = tmp_path / "kernel"
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for _ in range(30):
            file.write(rng.standard_normal(shape[0] * shape[1] // 30, dtype=np.float32))

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), *map(str, shape)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert done.stdout.splitlines() == ["does not fit", "gram True"]


BYTES = """
import hashlib, sys
import numpy as np
from lrcompress.lowrank import truncated_svd
for shape, rank, dtype in (
    ((512, 100), 60, "float32"), ((512, 100), 60, "float64"), ((1100, 1000), 60, "float32"),
    ((1000, 1100), 9, "float32"), ((1100, 1000), 300, "float64"),
):
    kernel = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    found = truncated_svd(kernel, rank)
    parts = (found.B, found.C, found.singular_values)
    certificate = found.certificate
    print(*(hashlib.sha256(part.tobytes()).hexdigest() for part in parts), certificate.algorithm,
          certificate.frobenius_error, certificate.optimum_frobenius_error)
"""


def printed(threads: str | None = None) -> str:
    """Return what a fresh process says of five kernels, with a number of BLAS threads."""
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-c", BYTES]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def test_two_processes_give_the_same_bytes() -> None:
    """Factors, singular values and certificates of every way are the same in another process."""
    first, second = printed(), printed()

    assert first == second
    assert len(first.splitlines()) == 5


def test_number_of_threads_changes_rounding_only() -> None:
    """With one thread and with two the ways are the same, and the errors to seven digits."""
    one, two = ([line.split() for line in printed(threads).splitlines()] for threads in ("1", "2"))

    for first, second in zip(one, two, strict=True):
        assert first[3] == second[3]
        for ours, theirs in zip(first[4:], second[4:], strict=True):
            assert float(ours) == pytest.approx(float(theirs), rel=1e-7)

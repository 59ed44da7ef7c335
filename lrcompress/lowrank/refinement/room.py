"""How much memory calibrating a layer takes, said and checked before it begins."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lrcompress.errors import KernelError
from lrcompress.events import remark
from lrcompress.lowrank.refinement.outputs import EXACT, block_rows
from lrcompress.lowrank.refinement.steps import can_step, curved_inputs

# Bytes from which what is needed is said.
WORTH_SAYING = 10**9
# Copies as large as the kernel: sums of outputs, the matrix that is truncated, and one on the way to it.
COPIES = 3
# Of the factors: of three methods, and what comes and goes with the steps.
FACTORS = 6


def needed(kernel_shape: tuple[int, int], rank: int, inputs: int) -> int:
    """Return how many bytes calibrating a head takes at most, beside its kernel and the inputs as they are."""
    m, n = kernel_shape
    entry = 8 if m * n <= EXACT else 4
    logits = 2 * block_rows(n)
    if can_step(inputs, n, rank):
        logits += min(inputs, curved_inputs(n, rank))
    return (
        COPIES * entry * m * n + FACTORS * entry * rank * (m + n) + 8 * inputs * m + 4 * n * logits
    )


def free_memory() -> int | None:
    """Return how many bytes are free for this process; None where the system does not tell."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return int(found[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def check_room(kernel_shape: tuple[int, int], rank: int, inputs: int) -> None:
    """Say what a large head will take, and refuse what does not fit into memory."""
    wanted, free = needed(kernel_shape, rank, inputs), free_memory()
    if wanted < WORTH_SAYING:
        return
    what = f"{kernel_shape[0]:,} x {kernel_shape[1]:,} at rank {rank}"
    if free is not None and wanted > free:
        msg = (
            f"calibrating a layer of {what} on {inputs:,} inputs takes up to {wanted / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free; give fewer inputs, a lower rank, or a method without data: centered or svd."
        )
        raise KernelError(msg, code="memory")
    remark(f"Calibrating a layer of {what} takes up to {wanted / 1e9:.1f} GB of memory.")

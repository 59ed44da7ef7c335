"""How many inputs are made, in batches of which size: as many as time and memory allow."""

from __future__ import annotations

import math
import time
from typing import Any

from lrcompress.errors import TrainingError
from lrcompress.live.synthetic.matching import FIRST_STEPS, Descent, shape_of
from lrcompress.lowrank import core_count

# So many samples are made, and more, up to the second, where their steps together take no more numbers
# between the layers: what is calibrated gains from each. Fewer, where they would take more than the last.
SAMPLES, MOST_SAMPLES, FEWEST_SAMPLES = 1_024, 8_192, 64
CHEAP, DEAR = 2**31, 2**35
# Samples of a batch, and numbers between the layers for it, at most.
BATCH, FEWEST_IN_BATCH, BATCH_NUMBERS = 256, 4, 2**28
# So many seconds, about, are taken at most: nobody waits for hours for what nobody asked for.
PATIENCE = 300.0


class Spent:
    """Tells the seconds since it was made that a network took: those of other programs do not count, half at most."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __call__(self) -> float:
        """Return them."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        # Where an accelerator computes, the processor hardly does.
        return max(wall / 2, min(wall, cpu / core_count()))


def affordable(few: Descent, samples: int) -> int:
    """Return how many samples can be made in time, half as many until they can."""
    few.measure()  # compiles
    spent = Spent()
    few.measure()
    each = spent() / few.samples
    least = min(samples, FEWEST_SAMPLES)
    while True:
        # A step also goes back through the network.
        wanted = each * (few.scales_sought * few.samples + 3 * FIRST_STEPS * samples)
        if wanted < PATIENCE:
            return samples
        if samples // 2 < least:
            minutes = f"{wanted / 60:,.0f} minutes here, more than {PATIENCE / 60:g}"
            msg = f"{samples:,} would take about {minutes}."
            raise TrainingError(msg, code="too_slow")
        samples //= 2


def numbers_each(model: Any) -> int:
    """Return about how many numbers lie between the layers for one sample."""
    nodes = [n for layer in model._flatten_layers(include_self=False) for n in layer._inbound_nodes]
    return sum(math.prod(shape_of(tensor)) for node in nodes for tensor in node.outputs)


def sample_count(wanted: int | None, cost: int) -> int:
    """Return how many samples to make, of which each costs so much."""
    if wanted is None:
        wanted = max(SAMPLES, min(MOST_SAMPLES, CHEAP // cost))
    return max(min(wanted, DEAR // cost), min(wanted, FEWEST_SAMPLES))


def batch_size(each: int) -> int:
    """Return a power of two: whatever the network, batches of a few sizes are compiled."""
    fitting = max(FEWEST_IN_BATCH, min(BATCH, BATCH_NUMBERS // each))
    return int(2 ** math.floor(math.log2(fitting)))

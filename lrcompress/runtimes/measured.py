"""What an exported model does beside the Keras model, and how fast: measured in its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrcompress.data.arrays import evenly, take
from lrcompress.events import progress
from lrcompress.live.evaluate import evaluate
from lrcompress.live.timing import interleaved, speed
from lrcompress.measure import compare
from lrcompress.modelfile import Chain
from lrcompress.runtimes import check
from lrcompress.runtimes.target import Int8, Runtime

# Test samples whose outputs are compared one by one.
COMPARED_SAMPLES = 1_000


@dataclass(frozen=True)
class Samples:
    """Scaled inputs that both models run on, and where they are from; without labels if random.

    `calibration` are training inputs, where activations are calibrated.
    """

    x: Any
    about: dict[str, Any]
    y: Any = None
    weights: Any = None
    calibration: Any = None


def measured(
    network: Any, runtime: Runtime, inputs: Samples, chains: tuple[Chain, ...], *, int8: Int8
) -> dict[str, Any]:
    """Return what became of the factors, the difference of outputs, and the errors."""
    found = check.difference(network, runtime, evenly(inputs.x, COMPARED_SAMPLES))
    if not int8:
        check.check(found)
    errors = None
    if inputs.y is not None:
        before, after = (
            evaluate(network, inputs.x, inputs.y, f"test, {name}",
                     sample_weight=inputs.weights, run=run)
            for name, run in (("Keras", None), ("exported", runtime))
        )  # fmt: skip
        errors = {
            "keras": before.to_json(),
            "exported": after.to_json(),
            "difference": compare(before, after).to_json(),
        }
    each = zip(chains, check.factors_kept([c.kernels for c in chains], runtime), strict=True)
    layers = tuple(chain.to_json() | {"factors": kept} for chain, kept in each)
    return {"layers": layers, "difference": found, "errors": errors}


def timed(
    runtime: Runtime, beside: Runtime | None, inputs: Samples, seconds: float
) -> dict[str, Any]:
    """Return seconds at one sample a call, in turns with the original where there is one."""
    one = take(inputs.x, slice(0, 1))
    calls = {"exported": lambda: runtime(one)}
    if beside is not None:
        calls["original"] = lambda: beside(one)
    found = interleaved(
        calls,
        seconds=seconds,
        after_round=lambda share: progress("timing", round(100 * share), 100),
    )
    times: dict[str, Any] = {"exported": found["exported"].to_json()}
    if beside is not None:
        ratio = speed(found["original"], found["exported"])
        times["original"] = {"latency": found["original"].to_json(), "speed": ratio.to_json()}
    return times

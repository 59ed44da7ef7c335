"""Text of `export`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lrcompress.errors import printable
from lrcompress.reporting.benchmarked import duration, times
from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import change, count, rate, size

if TYPE_CHECKING:
    from rich.console import RenderableType

NAMES = {"litert": "LiteRT", "onnx": "ONNX", "saved-model": "SavedModel"}
FACTORS = {
    "two": "still two products, {m} x {r} and {r} x {n}",
    "one": "the exporter multiplied them into one of {m} x {n}: nothing is saved here",
    "unknown": "not found in the exported file as {m} x {r} and {r} x {n}, nor as {m} x {n}",
}

SPEED = {
    "faster": "faster",
    "slower": "slower",
    "same": "as fast",
    "unclear": "no measurable difference",
}


def render_export(result: dict[str, Any]) -> list[RenderableType]:
    """Show sizes and latency, and that the exported model does what the Keras model does."""
    rows = [_row(result["input"], result)]
    if result["original"] is not None:
        rows.insert(0, _row(result["original"]["model"], result["original"]))
    form = NAMES[result["format"]] + (", 8-bit weights" if result["int8"] else "")
    columns = ["model", "Keras file", form, "latency", "middle half", "runs"]
    return [table("Exported", columns, rows), plain([*_verdicts(result), *_facts(result)])]


def _row(model: str, entry: dict[str, Any]) -> list[str]:
    timed = entry["latency"]
    return [
        PurePath(model).name,
        size(entry["bytes_before"]),
        size(entry["bytes_after"]),
        duration(timed["median"]),
        f"{duration(timed['q1'])} to {duration(timed['q3'])}",
        count(timed["runs"]),
    ]


def _verdicts(result: dict[str, Any]) -> list[str]:
    """Return what became of the factors, and how far the outputs are from Keras'."""
    lines = []
    for layer in result["layers"]:
        m, n = layer["kernel_shape"]
        text = FACTORS[layer["factors"]].format(m=m, n=n, r=layer["rank"])
        lines.append(f"{printable(layer['path'])}: {text}")
    found, inputs = result["difference"], result["inputs"]
    data = (
        "random inputs"
        if inputs["dataset"] is None
        else f"test samples of {printable(inputs['dataset'])}"
    )
    text = (
        f"outputs on {count(found['samples'])} {data}: at most {found['largest_difference']:.3g} from "
        f"Keras', whose largest is {found['largest_output']:.3g}"
    )
    if found["agreement"] is not None:
        text += f"; the same prediction for {_agreed(found['agreement'])}"
    lines.append(text)
    if inputs["dataset"] is None:
        lines.append(
            f"random inputs, because {printable(inputs['why_random'])}; --dataset gives real ones"
        )
    else:
        lines[-1] += f"; scaling {printable(inputs['scaling'])}"
    if result["errors"] is not None:
        before, after = result["errors"]["keras"], result["errors"]["exported"]
        paired = change(result["errors"]["difference"])
        samples = count(after["samples"])
        lines.append(
            f"on all test data, {samples} predictions: {rate(before)} in Keras, {rate(after)} exported, {paired}"
        )
    return lines


def _agreed(percent: float) -> str:
    """Return a share that is 100 % only where it is."""
    return "all" if percent == 100 else f"{min(percent, 99.99):.2f} %"


def _facts(result: dict[str, Any]) -> list[str]:
    lines = []
    original = result["original"]
    if original is not None:
        speed = original["speed"]
        lines.append(
            f"latency against the original, exported the same way: {SPEED[speed['verdict']]}; {times(speed)} times "
            "as fast [95 %]"
        )
    threads = "" if result["threads"] is None else f", {result['threads']} threads"
    lines.append(
        f"{printable(result['runtime'])}{threads}, one sample a call; exported by Keras "
        f"{result['versions']['keras']}; sizes without optimizer state"
    )
    lines.append(f"wrote {printable(result['output'])}")
    return lines

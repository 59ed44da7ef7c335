"""Write a model for LiteRT, ONNX or TensorFlow, and run it there."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.values import Int8Command, OneOf, Registered
from lrcompress.cli.verb import Answer, quietly, verb
from lrcompress.errors import printable
from lrcompress.reporting.latency import duration, middle_half, times
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import change, count, rate, size
from lrcompress.runtimes import TARGETS, end_of

FACTORS = {
    "two": "still two products, {m} x {r} and {r} x {n}",
    "three": "still three products, for {m} x {n}",
    "one": "the exporter multiplied them into one of {m} x {n}: nothing is saved here",
    "unknown": "not found in the exported file as {m} x {r} and {r} x {n}, nor as {m} x {n}",
}
KEPT = ("two", "three")
# Of more layers only those are named that are no factors any more.
MOST_LINES = 3
INT8 = {False: "", True: ", 8-bit weights", "full": ", 8-bit integers"}
SPEED = {
    "faster": "faster",
    "slower": "slower",
    "same": "as fast",
    "unclear": "no measurable difference",
}


class Format(OneOf):
    """A target, by its name or another word for it."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Take another word for the name."""
        said = str(value).lower()
        names = (name for name, target in TARGETS.items() if said in target.also)
        return super().convert(next(names, value), param, ctx)


FORMAT = Format(Registered(lambda: list(TARGETS)))


@click.command("export", cls=Int8Command)
@shared.model_argument("model")
@click.option("--format", type=FORMAT,
              help=f"Default: by the suffix of --output ({', '.join(t.suffix or 'none' for t in TARGETS.values())}), "
                   f"or {next(iter(TARGETS))}.")  # fmt: skip
@shared.int8_option(", ".join(t.title for t in TARGETS.values() if t.has_int8))
@click.option("--against", type=click.Path(path_type=Path), callback=shared.existing_model, metavar="FILE",
              help="The original, exported the same way and timed in turns. Default: as recorded.")  # fmt: skip
@shared.data_options
@shared.output_option(
    f"{', '.join(f'<stem>{end_of(target)}' for target in TARGETS.values())} beside MODEL"
)
@shared.overwrite_option
@verb
def command(model: Path, **options: Any) -> Answer:  # noqa: ANN401
    """Write MODEL for a phone or a server: LiteRT, ONNX or a SavedModel.

    The exported model runs in its runtime, on test data if they are available, and its outputs are
    compared with those of MODEL. Sizes and latency are shown beside those of the original, and
    whether the factors are still factors. Nothing is written if the outputs differ.

    \b
    Example:
        lrcompress export model-rank4.h5
        lrcompress export model-rank4.h5 --int8
        lrcompress export model-rank4.h5 --int8 full --dataset mnist
        lrcompress export model-rank4.h5 -o model.onnx --dataset mnist
    """  # noqa: D301
    from lrcompress.verbs.export import export

    result = export(model, quietly=quietly, **options)
    return Answer(result, render, [f"added to {result.record}"] if result.record else [])


def render(result: dict[str, Any]) -> Parts:
    """Show sizes and latency, and that the exported model does what the Keras model does."""
    entries = [result | {"model": result["input"]}]
    if result["original"] is not None:
        entries.insert(0, result["original"])
    form = TARGETS[result["format"]].title + INT8[result["int8"]]
    columns = [
        ("model", of("model", lambda path: PurePath(path).name)),
        ("Keras file", of("bytes_before", size)),
        (form, of("bytes_after", size)),
        ("latency", of("latency", lambda timed: duration(timed["median"]))),
        ("middle half", of("latency", middle_half)),
        ("runs", of("latency", lambda timed: count(timed["runs"]))),
    ]
    lines = [
        *_integers(result), *_factors(result), *_outputs(result), *_errors(result), *_latency(result)
    ]  # fmt: skip
    return [grid("Exported", columns, entries), plain([*lines, f"wrote {result['output']}"])]


def _integers(result: dict[str, Any]) -> list[str]:
    """Return in which numbers a file of 8-bit integers computes, and what it takes and gives."""
    found = result["full_integer"]
    if found is None:
        return []
    floats = ", ".join(found["float_operations"])
    lines = [
        f"weights and activations are 8-bit integers; calibrated on {count(found['calibration_samples'])} training "
        "samples",
        *[f"input {_numbers(one)}" for one in found["inputs"]],
        *[f"output {_numbers(one)}" for one in found["outputs"]],
    ]
    if floats:
        lines.append(f"still in float32, for want of 8-bit operations in LiteRT: {floats}")
    return lines


def _numbers(tensor: dict[str, Any]) -> str:
    """Return what the integers of an input or output stand for."""
    name = f"{printable(tensor['name'])}: {tensor['dtype']}"
    if tensor["scale"] is None:
        return name
    zero = tensor["zero_point"]
    shift = f"(q {'+' if zero < 0 else '-'} {abs(zero)})" if zero else "q"
    return f"{name}, q stands for {tensor['scale']:.6g} {shift}"


def _factors(result: dict[str, Any]) -> list[str]:
    """Return what became of the factors."""
    layers = result["layers"]
    kept = [layer for layer in layers if layer["factors"] in KEPT]
    few = [layer for layer in layers if len(layers) <= MOST_LINES or layer["factors"] not in KEPT]
    lines = []
    if len(layers) > MOST_LINES:
        lines.append(f"{len(kept)} of {len(layers)} factorized layers are still factors there")
    for layer in few:
        *m, n = layer["kernel_shape"]
        text = FACTORS[layer["factors"]].format(m=" x ".join(map(str, m)), n=n, r=layer["rank"])
        lines.append(f"{printable(layer['path'])}: {text}")
    return lines


def _outputs(result: dict[str, Any]) -> list[str]:
    """Return how far the outputs are from Keras', and on which inputs."""
    found, inputs = result["difference"], result["inputs"]
    name = inputs["dataset"]
    data = "random inputs" if name is None else f"test samples of {printable(name)}"
    text = (
        f"outputs on {count(found['samples'])} {data}: at most {found['largest_difference']:.3g} from "
        f"Keras', whose largest is {found['largest_output']:.3g}"
    )
    if found["agreement"] is not None:
        text += f"; the same prediction for {_agreed(found['agreement'])}"
    if name is not None:
        return [f"{text}; scaling {printable(inputs['scaling'])}"]
    why = printable(inputs["why_random"])
    return [text, f"random inputs, because {why}; --dataset gives real ones"]


def _agreed(percent: float) -> str:
    """Return a share that is 100 % only where it is."""
    return "all" if percent == 100 else f"{min(percent, 99.99):.2f} %"


def _errors(result: dict[str, Any]) -> list[str]:
    if result["errors"] is None:
        return []
    before, after = result["errors"]["keras"], result["errors"]["exported"]
    return [
        f"on all test data, {count(after['samples'])} predictions: {rate(before)} in Keras, "
        f"{rate(after)} exported, {change(result['errors']['difference'])}"
    ]


def _latency(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["original"] is not None:
        speed = result["original"]["speed"]
        lines.append(
            f"latency against the original, exported the same way: {SPEED[speed['verdict']]}; {times(speed)} times "
            "as fast [95 %]"
        )
    threads = "" if result["threads"] is None else f", {result['threads']} threads"
    lines.append(
        f"{printable(result['runtime'])}{threads}, one sample a call; exported by Keras "
        f"{result['versions']['keras']}; sizes without optimizer state"
    )
    return lines

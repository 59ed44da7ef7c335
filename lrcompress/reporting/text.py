"""Documents as terminal text: one function a command, each returning Rich renderables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.words import clean, count, points, rate, seconds, share, size, small

if TYPE_CHECKING:
    from rich.console import RenderableType


def _table(title: str, columns: list[str], rows: list[list[str]], left: int = 1) -> RenderableType:
    """Return a table whose first `left` columns are words and the others numbers."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold"
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(clean(cell)) for cell in row))
    return table


def _plain(lines: list[str]) -> RenderableType:
    from rich.text import Text

    return Text("\n".join(clean(line).rstrip() for line in lines))


def render_factorize(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `factorize` did."""
    parts: list[RenderableType] = []
    for layer in result["layers"]:
        m, n = layer["kernel_shape"]
        before, after = layer["parameters_before"], layer["parameters_after"]
        parts.append(
            _table(
                f"{layer['name']}: Dense {m} x {n} -> {m} x {layer['rank']} x {n}",
                ["", "before", "after", "saved", ""],
                [
                    [
                        "parameters, layer",
                        count(before),
                        count(after),
                        *_saved(before, after, count),
                    ],
                    [
                        "parameters, model",
                        count(result["parameters_before"]),
                        count(result["parameters_after"]),
                        *_saved(result["parameters_before"], result["parameters_after"], count),
                    ],
                    [
                        "file",
                        size(result["bytes_before"]),
                        size(result["bytes_after"]),
                        *_saved(result["bytes_before"], result["bytes_after"], size),
                    ],
                ],
            )
        )
        lines = [
            f"{layer['rank_choice']['message']}; method {result['method']}: {result['method_reason']}",
            _errors(layer),
        ]
        if result["optimizer_bytes"]:
            lines.append(
                f"of the file's bytes, {size(result['optimizer_bytes'])} were optimizer state, dropped"
            )
        if result["error_rate_before"] is not None:
            drop = result["error_rate_after"] - result["error_rate_before"]
            lines.append(
                f"test error {result['error_rate_before']:.2f} % -> {result['error_rate_after']:.2f} % "
                f"({points(drop)})"
            )
        lines += [f"wrote {result['output']}", f"wrote {result['record']}"]
        parts.append(_plain(lines))
    return parts


def _saved(before: float, after: float, unit: Any) -> list[str]:  # noqa: ANN401  # count or size
    return [unit(before - after), share((before - after) / before if before else None)]


def _errors(layer: dict[str, Any]) -> str:
    return (
        f"relative error of the kernel: Frobenius {small(layer['frobenius_error'])}, "
        f"spectral {small(layer['spectral_error'])}; certificate: {layer['optimality']:.6f} x the "
        f"smallest possible at rank {layer['rank']} ({layer['algorithm']})"
    )


def render_inspect(document: dict[str, Any]) -> list[RenderableType]:
    """Show what is in a model file."""
    version = (
        f"Keras {document['keras_version']}"
        if document["keras_version"]
        else "Keras of unknown age"
    )
    optimizer = document["optimizer_bytes"]
    parts: list[RenderableType] = [
        _plain(
            [
                f"{document['model']}: {document['class_name']}, {version}, {document['format']}, "
                f"{count(document['parameters'])} parameters, {size(document['bytes'])}"
                + (f" (of them {size(optimizer)} optimizer state)" if optimizer else "")
            ]
        ),
        _table(
            "Layers",
            ["layer", "class", "parameters", "share"],
            [
                [
                    layer["path"],
                    layer["class_name"],
                    count(layer["parameters"]),
                    share(layer["parameters"] / document["parameters"])
                    if document["parameters"]
                    else "-",
                ]
                for layer in document["layers"]
            ],
            left=2,
        ),
    ]
    head = document["head"]
    if head is None:
        others = ", ".join(dense["path"] for dense in document["dense_layers"])
        lines = [f"no final Dense layer to factorize: {document['reason']['message']}"]
        if others:
            lines.append(f"Dense layers that --layer could name: {others}")
        return [*parts, _plain(lines)]
    m, n = head["kernel_shape"]
    follows = f", followed by {', '.join(head['following'])}" if head["following"] else ""
    spectrum = ", ".join(
        f"{100 * float(k):g} % at rank {r}" for k, r in head["energy_ranks"].items()
    )
    parts.append(
        _plain(
            [
                f"final Dense layer: {head['path']}, {m} x {n}, {head['dtype']}, {head['activation']}{follows}",
                f"  {count(head['parameters'])} parameters, {share(head['share_of_model'])} of the model; "
                + (
                    f"ranks up to {head['break_even_rank']} save parameters"
                    if head["break_even_rank"]
                    else "no rank makes it smaller"
                ),
                f"  energy {spectrum}",
            ]
        )
    )
    if head["ranks"]:
        parts.append(
            _table(
                "What a rank would save",
                ["rank", "parameters", "of the layer", "of the model", "energy", "spectral error"],
                [
                    [
                        str(row["rank"]),
                        count(row["parameters_saved"]),
                        share(row["layer_reduction"]),
                        share(row["model_reduction"]),
                        share(row["energy"]),
                        small(row["spectral_error"]),
                    ]
                    for row in head["ranks"]
                ],
                left=0,
            )
        )
    return parts


def render_report(story: dict[str, Any]) -> list[RenderableType]:
    """Show the story of a run."""
    parts: list[RenderableType] = [
        _table(
            f"Report of {story['record']}",
            ["", "test error [95 %]", "against original", "parameters", "saved", "file", "saved"],
            [
                [
                    stage["name"],
                    rate(stage),
                    _drop(stage),
                    count(stage["parameters"]),
                    share(stage["parameters_reduction"]),
                    size(stage["bytes"]),
                    share(stage["bytes_reduction"]),
                ]
                for stage in story["stages"]
            ],
        )
    ]
    lines: list[str] = []
    for layer in story["layers"]:
        m, n = layer["kernel_shape"]
        before, after = layer["parameters_before"], layer["parameters_after"]
        lines += [
            f"layer {layer['name']}: Dense {m} x {n} -> {m} x {layer['rank']} x {n}, parameters "
            f"{count(before)} -> {count(after)}, saved {' = '.join(_saved(before, after, count))}",
            f"  {layer['rank_choice']['message']}; method {story['method']}: {story['method_reason']}",
            f"  {_errors(layer)}",
        ]
    lines += _data_lines(story)
    lines.append(_time_line(story))
    if story["optimizer_bytes"]:
        lines.append(
            f"files: {size(story['optimizer_bytes'])} of the original's bytes were optimizer state"
        )
    lines += [f"note: {warning}" for warning in story["warnings"]]
    return [*parts, _plain(lines)]


def _drop(stage: dict[str, Any]) -> str:
    drop = stage.get("drop")
    if isinstance(drop, dict):
        return f"{points(drop['difference'])} [{drop['low']:+.2f}, {drop['high']:+.2f}]"
    return points(stage["drop_points"])


def _data_lines(story: dict[str, Any]) -> list[str]:
    data = story["dataset"]
    if not data:
        return ["data set: none named; give --dataset to measure errors"]
    samples = next((s["samples"] for s in story["stages"] if s.get("samples")), None)
    measured = f", {count(samples)} test samples" if samples else ", nothing measured yet"
    return [f"data set: {data['name']}, scaling {data['scaling']}{measured}"]


def _time_line(story: dict[str, Any]) -> str:
    parts = [f"factorize {seconds(story['seconds'].get('total'))}"]
    for entry in story["finetune"]:
        parts.append(
            f"finetune {seconds(entry['seconds'])} ({entry['epochs']} epochs, "
            f"{entry['images_per_second']:,.0f} images/s, {entry['device']})"
        )
    return "time: " + "; ".join(parts)


def render_finetune(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `finetune` did."""
    rows = [
        [
            entry["what"] if entry["epoch"] == 0 else f"epoch {entry['epoch']}",
            f"{entry['loss']:.4f}" if "loss" in entry else "-",
            f"{entry['validation_error_rate']:.2f} %",
            f"{entry['validation_loss']:.4f}",
            "kept" if entry["kept"] else "",
        ]
        for entry in result["history"]
    ]
    teacher = "labels and the original's outputs" if result["distilled"] else "labels alone"
    original = result["error_rate_original"]
    drop = result["drop"]
    lines = [
        f"test error {result['error_rate_before']:.2f} % -> {result['error_rate_after']:.2f} %"
        + (f" (original {original:.2f} %" if original is not None else "")
        + (
            f", {points(drop['difference'])} [{drop['low']:+.2f}, {drop['high']:+.2f}])"
            if drop
            else ""
        ),
        f"trained on {teacher} of {result['dataset']}, scaling {result['scaling']}: {seconds(result['seconds'])}, "
        f"{result['images_per_second']:,.0f} images/s on {result['device']}",
        f"wrote {result['output']}",
        f"wrote {result['record']}",
    ]
    return [
        _table("Fine-tuning", ["", "loss", "validation error", "validation loss", ""], rows),
        _plain(lines),
    ]


def render_evaluate(results: list[dict[str, Any]]) -> list[RenderableType]:
    """Show what `evaluate` measured."""
    rows = [
        [
            entry["model"],
            rate(entry),
            "-" if entry["difference"] is None else _drop({"drop": entry["difference"]}),
            "-" if entry["difference"] is None else f"{entry['difference']['p_value']:.3g}",
            f"{entry['loss']:.4f}",
            count(entry["samples"]),
        ]
        for entry in results
    ]
    columns = ["model", "test error [95 %]", "against the first", "p (McNemar)", "loss", "samples"]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [_table("Evaluation", columns, rows), _plain([note])]


def render_scratch(results: dict[str, Any]) -> list[RenderableType]:
    """Show a table of `train-from-scratch` beside the published one."""
    settings = results["settings"]
    rows = []
    for row in results["rows"]:
        published = row["published"] or {}
        rows.append(
            [
                "full" if row["rank"] is None else str(row["rank"]),
                rate(row),
                f"{published['error_rate']:.2f} %" if published else "-",
                count(row["paper_parameters"]),
                count(published.get("parameters")),
                count(row["layer_parameters"]),
                count(row["model_parameters"]),
                f"{row['seconds']:,.0f}",
                count(published.get("seconds")),
            ]
        )
    columns = [
        "rank", "test error [95 %]", "published", "parameters, paper's count", "published",
        "layer, true", "model, true", "seconds", "published",
    ]  # fmt: skip
    title = (
        f"From scratch: {settings['dataset']}, {settings['epochs']} epochs, "
        f"batch {settings['batch_size']}, seed {settings['seed']}"
    )
    return [_table(title, columns, rows), _plain([f"device: {results['device']}"])]


def render_datasets(entries: list[dict[str, Any]]) -> list[RenderableType]:
    """Show the data sets and where each was found or would be sought."""
    rows = [
        [
            entry["name"],
            entry["description"],
            entry["found"] or f"not found; sought as {entry['name']}.npz, then downloaded by Keras",
        ]
        for entry in entries
    ]
    folders = ", ".join(entries[-1]["searched"])
    return [
        _table("Data sets", ["name", "what it is", "where"], rows, left=3),
        _plain([f"searched: {folders}"]),
    ]

"""Measure the test error of one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import data_options, model_argument, seed_option
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain, table
from lrcompress.reporting.words import beside, chance, change, count, padding, rate, test_column


@click.command("evaluate")
@model_argument("models", nargs=-1, metavar="MODEL...")
@data_options
@seed_option
@verb
def command(models: tuple[Path, ...], **options: Any) -> Answer:  # noqa: ANN401
    """Measure the test error of each MODEL, with a 95 % interval.

    Top-1 error for classes, and top-5 from 100 classes up; balanced error where a class is rare;
    binary error and AUC for multi-label models; RMSE for regression. Several models are compared with
    the first, paired on the same samples (McNemar's test for top-1 errors).

    \b
    Example:
        lrcompress evaluate model.h5 model-rank4.h5 --dataset mnist
    """  # noqa: D301
    from lrcompress.verbs.evaluate import evaluate

    return Answer(evaluate(list(models), **options), render)


def render(results: list[dict[str, Any]]) -> Parts:
    """Show what was measured: a row a model, or a row a model and output."""
    rows = [_row(name, entry, paired) for found in results for name, entry, paired in _each(found)]
    paired = [entry["difference"] for entry in results if entry["difference"] is not None]
    exact = all("only_first_wrong" in entry for entry in paired)
    p_value = "p (McNemar)" if exact else "p"
    columns = [
        "model",
        test_column(results),
        "and",
        "against the first",
        p_value,
        "loss",
        "samples",
    ]
    if not any(row[2] for row in rows):
        for cells in (columns, *rows):
            del cells[2]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [table("Evaluation", columns, rows), plain([*padding(results[0]), note])]


def _each(found: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Return name, figures and difference of a model, or of each of its outputs."""
    paired = found["difference"]
    if found["measure"] != "outputs":
        return [(found["model"], found, paired)]
    return [
        (f"{found['model']}: {name}", entry, None if paired is None else paired["outputs"][name])
        for name, entry in found["outputs"].items()
    ]


def _row(name: str, entry: dict[str, Any], paired: dict[str, Any] | None) -> list[str]:
    return [
        name,
        rate(entry),
        beside(entry),
        "-" if paired is None else change(paired),
        "-" if paired is None else chance(paired),
        f"{entry['loss']:.4f}",
        count(entry["samples"]),
    ]

"""Measure the test error of one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import data_options, model_argument, seed_option
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import beside, chance, change, count, padding, rate, test_column


@click.command("evaluate")
@model_argument("models", nargs=-1, metavar="MODEL...")
@data_options
@seed_option
@verb
def command(models: tuple[Path, ...], **options: Any) -> Answer:  # noqa: ANN401
    """Measure the test error of each MODEL, with a 95 % interval.

    Top-1 error for classes, top-5 error and perplexity too from 100 classes up, and perplexity first where
    these stand at each step of a sequence; balanced error where a class is rare; binary error and AUC for
    multi-label models; RMSE for regression. Several models are compared with the first, paired on the same
    samples (McNemar's test for top-1 errors).

    \b
    Example:
        lrcompress evaluate model.h5 model-rank4.h5 --dataset mnist
    """  # noqa: D301
    from lrcompress.verbs.evaluate import evaluate

    results = evaluate(list(models), **options)
    record = results[0].record
    return Answer(results, render, [f"added to {record}"] if record else [])


def render(results: list[dict[str, Any]]) -> Parts:
    """Show what was measured: a row a model, or a row a model and output."""
    entries = [entry for found in results for entry in _each(found)]
    differences = [found["difference"] for found in results if found["difference"] is not None]
    exact = all("only_first_wrong" in found for found in differences)
    columns = [
        ("model", of("model")),
        (test_column(results), rate),
        *([("and", beside)] if any(map(beside, entries)) else []),
        ("against the first", of("difference", lambda lost: "-" if lost is None else change(lost))),
        (
            "p (McNemar)" if exact else "p",
            of("difference", lambda lost: "-" if lost is None else chance(lost)),
        ),
        ("loss", of("loss", "{:.4f}".format)),
        ("samples", of("samples", count)),
    ]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [grid("Evaluation", columns, entries), plain([*padding(results[0]), note])]


def _each(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a model, or each of its outputs as one."""
    lost = found["difference"]
    if found["measure"] != "outputs":
        return [found]
    return [
        entry
        | {
            "model": f"{found['model']}: {name}",
            "difference": None if lost is None else lost["outputs"][name],
        }
        for name, entry in found["outputs"].items()
    ]

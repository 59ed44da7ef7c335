"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class ModelPath(click.ParamType[Path]):
    """An existing file; a folder is refused with the way out for a SavedModel."""

    name = "file"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, or fail with a usage error."""
        path = Path(value)
        if path.is_dir():
            saved = (path / "saved_model.pb").exists() or (path / "keras_metadata.pb").exists()
            what = "a SavedModel folder" if saved else "a folder"
            self.fail(
                f"{path} is {what}; expected a .h5, .hdf5 or .keras file: load the model where it "
                "was made and save it with model.save('model.keras').",
                param,
                ctx,
            )
        if not path.exists():
            self.fail(f"{path} does not exist; expected a .h5, .hdf5 or .keras file.", param, ctx)
        return path


def output_options(command: Command) -> Command:
    """Add --json, --quiet and --verbose."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Show the engine's own messages."),
        click.option("-q", "--quiet", is_flag=True, help="No progress and no messages."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    ):
        command = option(command)
    return command


def data_options(command: Command) -> Command:
    """Add --dataset, --data-dir and --scaling."""
    for option in (
        click.option(
            "--scaling", metavar="NAME",
            help="as-is, /255, /127.5-1 or standardized; default: as recorded, or detected.",
        ),
        click.option(
            "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
            help="Folder with NAME.npz files, searched first.",
        ),
        click.option(
            "--dataset", metavar="DATA",
            help="Name (see `lrcompress datasets`), .npz file, image folder, or module:function.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
    help="Of splits, order and dropout.",
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")


def output_option(default: str) -> Callable[[Command], Command]:
    """Return -o/--output with its default described."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Default: {default}.",
    )

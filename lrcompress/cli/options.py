"""Options that several commands share."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from lrcompress.cli.values import INT8, OneOf, datasets, families, layers, scalings

Command = TypeVar("Command", bound=Callable[..., Any])


def existing_model(
    ctx: click.Context, param: click.Parameter, value: Path | tuple[Path, ...] | None
) -> Path | tuple[Path, ...] | None:
    """Refuse what is not a file; a folder is refused with the way out for a SavedModel."""
    if isinstance(value, tuple):
        for path in value:
            existing_model(ctx, param, path)
    elif value is not None and value.is_dir():
        is_saved_model = (value / "saved_model.pb").exists()
        what = "a SavedModel folder" if is_saved_model else "a folder"
        msg = (
            f"{value} is {what}; expected a .h5, .hdf5 or .keras file: load the model where it was "
            "made and save it with model.save('model.keras')."
        )
        raise click.BadParameter(msg, ctx, param)
    elif value is not None and not value.exists():
        msg = f"{value} does not exist; expected a .h5, .hdf5 or .keras file."
        raise click.BadParameter(msg, ctx, param)
    return value


def model_argument(name: str, **how: Any) -> Callable[[Command], Command]:  # noqa: ANN401  # click's own
    """Return an argument that is a model file, required unless told otherwise, also where it may be several."""
    how = {"required": True} | how
    return click.argument(name, type=click.Path(path_type=Path), callback=existing_model, **how)


def check_one(options: Mapping[str, Any], *names: str) -> None:
    """Refuse more than one of some options."""
    given = [f"--{name.replace('_', '-')}" for name in names if options[name] not in (None, ())]
    if len(given) > 1:
        msg = f"Received {' and '.join(given)}; give one of them."
        raise click.UsageError(msg)


def known_scaling(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a word that is no scaling before anything is loaded."""
    if value is not None and not ctx.resilient_parsing:
        from lrcompress.data.named import check_scaling

        check_scaling(value)
    return value


data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder with NAME.npz files, searched first.",
)  # fmt: skip


class DatasetOption(click.Option):
    """A data set; its help names what the readers read, which are loaded when it is shown."""

    @property
    def help(self) -> str:
        """What `--help` and completion say."""
        from lrcompress.data.sources import expected

        words = expected()
        return f"{words[0].upper()}{words[1:]}; see `lrcompress datasets`."

    @help.setter
    def help(self, given: str | None) -> None:
        """Take none."""


def data_options(command: Command) -> Command:
    """Add --dataset, --data-dir and --scaling."""
    dataset = click.option("--dataset", metavar="DATA", shell_complete=datasets, cls=DatasetOption)
    scaling = click.option(
        "--scaling", metavar="NAME", shell_complete=scalings, callback=known_scaling,
        help="as-is, /255, /127.5-1, standardized, caffe, torch, bgr/255, x-128, ...; default: "
             "as recorded, or detected.",
    )  # fmt: skip
    return dataset(data_dir_option(scaling(command)))


def architecture_option(then: str) -> Callable[[Command], Command]:
    """Return --architecture, for a file of weights alone."""
    return click.option(
        "--architecture", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE.json",
        help=f"model.to_json() in a file, where MODEL holds weights alone{then}.",
    )  # fmt: skip


samples_option = click.option(
    "--samples", type=click.IntRange(min=2),
    help="Number of calibration inputs; default: as many as are useful.",
)  # fmt: skip
validation_option = click.option(
    "--validation", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npz",
    help="Validation data that the model was not trained on; default: x_val of the data, or a "
         "held-out tenth.",
)  # fmt: skip


def int8_option(where: str) -> Callable[[Command], Command]:
    """Return --int8, for an `Int8Command`."""
    return click.option(
        "--int8", type=OneOf(list(INT8)), default=None, metavar="[full]",
        callback=lambda ctx, param, value: False if value is None else INT8[value],
        help=f"Weights as 8-bit integers ({where}); full: activations, inputs and outputs, too, calibrated "
             "on --dataset.",
    )  # fmt: skip


def seed_of(what: str) -> Callable[[Command], Command]:
    """Return --seed."""
    return click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help=what
    )


seed_option = seed_of("Of splits, order and dropout.")


def seeds_options(command: Command) -> Command:
    """Add --seeds and --seed."""
    seeds = click.option(
        "--seeds", type=click.IntRange(min=1), default=1, show_default=True,
        help="How many, from the first on: mean and interval over them.",
    )  # fmt: skip
    return seeds(seed_of("The first seed: of weights, order and dropout.")(command))


def followed(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Print no results where this is one of several processes, and another one prints them."""
    from lrcompress.live.environment import is_follower

    if is_follower(value):
        # Errors and notes, on stderr, are this process's own.
        ctx.with_resource(contextlib.redirect_stdout(io.StringIO()))
    return value


distribute_option = click.option(
    "--distribute", type=OneOf(["auto", "none", "data"]), default="auto", show_default=True,
    callback=followed,
    help="Share each batch among devices: auto where there are several GPUs or hosts, data also on "
         "CPU devices.",
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")


def output_option(default: str) -> Callable[[Command], Command]:
    """Return -o/--output with its default described."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help=f"Default: {default}."
    )  # fmt: skip


def folder_option(default: str) -> Callable[[Command], Command]:
    """Return -o/--output for a folder, with what it holds and its default described."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help=default
    )  # fmt: skip


def run_option(what: str, name: str = "run") -> Callable[[Command], Command]:
    """Return --run, a run record."""
    return click.option("--run", name, type=click.Path(path_type=Path), metavar="FILE", help=what)


def layer_option(what: str, *, multiple: bool = False) -> Callable[[Command], Command]:
    """Return --layer, which completes the Dense layers of the model file on the line."""
    return click.option(
        "--layer", metavar="NAME", multiple=multiple, shell_complete=layers, help=what
    )


def layers_option(what: str) -> Callable[[Command], Command]:
    """Return --layers: families, names and paths."""
    return click.option(
        "--layers", metavar="LIST", multiple=True, shell_complete=families,
        help=f"all, or some of dense, conv, recurrent, embedding, attention, or names{what}.",
    )  # fmt: skip


synthetic_option = click.option(
    "--synthetic", type=OneOf(["auto", "no"]), default="auto", show_default=True,
    help="Without --dataset, --layers calibrates on inputs made from the network's BatchNormalization; no forbids it.",
)  # fmt: skip

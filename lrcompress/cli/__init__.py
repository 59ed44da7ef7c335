"""The command line: thin commands over `lrcompress.verbs`, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import functools
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from lrcompress import __version__
from lrcompress.cli import console
from lrcompress.cli.commands import __path__ as FOLDERS
from lrcompress.errors import LRCompressError, did_you_mean
from lrcompress.files import ended_like_control_c, temporary_files_together

# In which they are used; others follow by name.
ORDER = (
    "compress", "inspect", "factorize", "sweep", "finetune", "report", "evaluate", "benchmark", "export",
    "train-from-scratch", "compare", "modernize", "merge", "datasets", "doctor",
)  # fmt: skip


@functools.cache
def known_commands() -> dict[str, str]:
    """Return each file of `cli.commands` by the command's name, with its first line; none is imported for that."""
    found = {}
    for path in (file for folder in FOLDERS for file in Path(folder).glob("[!_]*.py")):
        with path.open(encoding="utf-8") as file:
            found[path.stem.replace("_", "-")] = file.readline().strip().strip('"')
    places = {name: place for place, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda one: (places.get(one[0], len(ORDER)), one[0])))


# What users say for commands of ours.
MEANT = {
    "decompose": "factorize", "shrink": "compress", "reduce": "compress", "optimize": "compress",
    "split": "factorize", "svd": "factorize", "train": "train-from-scratch", "fine-tune": "finetune",
    "convert": "export", "upgrade": "modernize", "info": "inspect", "show": "inspect",
    "test": "evaluate", "eval": "evaluate", "bench": "benchmark", "unsplit": "merge",
    "check": "doctor", "versions": "doctor",
}  # fmt: skip


class Application(click.Group):
    """A group that loads its commands late and reports every error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use."""
        return list(known_commands())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command's module."""
        if name not in known_commands():
            return None
        module = import_module(f"lrcompress.cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the one that was meant."""
        name = args[0] if args else ""
        if name == "help" and not ctx.resilient_parsing:
            # `help COMMAND` is `COMMAND --help`; alone it is that of the group.
            known = [word for word in args[1:] if word in known_commands()]
            if not known:
                click.echo(ctx.get_help())
                ctx.exit()
            return super().resolve_command(ctx, [known[0], "--help"])
        is_wrong = bool(name) and not name.startswith("-") and name not in known_commands()
        # While a line is being completed nothing is said.
        if is_wrong and not ctx.resilient_parsing:
            meant = MEANT.get(name.lower())
            near = f" Did you mean {meant!r}?" if meant else did_you_mean(name, known_commands())
            msg = f"No such command {name!r}; expected one of {', '.join(known_commands())}.{near}"
            raise click.UsageError(msg, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(known_commands().items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401  # click's own signature
    ) -> Any:  # noqa: ANN401
        """Run; errors leave as one line on stderr and, with --json, one document on stdout."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra.setdefault("obj", ["lrcompress", *arguments])
        run = functools.partial(super().main, arguments, prog_name, complete_var, False, **extra)
        if not standalone_mode:
            return run()
        own_process = args is None
        with contextlib.ExitStack() as stack:
            if own_process:
                console.make_streams_safe()
                stack.enter_context(ended_like_control_c())
                # Help starts without what locks load.
                if not {"--help", "-h"} & set(arguments):
                    stack.enter_context(temporary_files_together())
            with (
                _told(arguments),
                console.escaping(),
                console.libraries_held_back(own_process=own_process),
            ):
                code: object = run()
            sys.exit(code if isinstance(code, int) else 0)


@contextlib.contextmanager
def _told(arguments: list[str]) -> Iterator[None]:
    """Print an error, and exit with its code."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "lrcompress"
        message = f"{error.format_message()} See '{command} --help'."
        _fail(arguments, getattr(error, "code", "usage"), message, error.exit_code)
    except click.ClickException as error:
        _fail(arguments, "error", error.format_message(), error.exit_code)
    except LRCompressError as error:
        _fail(arguments, error.code, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(arguments, "interrupted", "Interrupted; no unfinished file was left behind.")
    except MemoryError:
        message = "Out of memory; close other programs, or use a machine with more."
        _fail(arguments, "memory", message)
    except OSError as error:
        console.drop_stdout()
        if error.errno == errno.EPIPE:
            # The reader of a pipe (head, less) has gone: nothing is left to say to it.
            sys.exit(1)
        where = "" if error.filename is None else f" at {error.filename}"
        message = f"The system refused{where}: {error.strerror or error}; free space, or give another place."
        _fail([], "output_write", message)


def _fail(arguments: list[str], code: str, message: str, exit_code: int = 1) -> NoReturn:
    console.show_error(code, message, as_json="--json" in arguments)
    sys.exit(exit_code)


@click.group(cls=Application, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lrcompress")
def main() -> None:
    """Make a trained Keras model smaller by low-rank factorization; the result loads in plain Keras.

    compress does the whole job: all layers, fine-tuning, export, report. factorize and finetune do it step
    by step: the kernel A (m x n) of the final Dense layer becomes B (m x r) times C (r x n), two stock
    Dense layers.

    \b
    Example:
        lrcompress compress model.h5 --dataset data.npz
        lrcompress compress model.h5 --dataset mnist --export litert --int8
        lrcompress factorize model.h5 --rank 4
        lrcompress finetune --epochs 2
        lrcompress report
    """  # noqa: D301  # \b is click's mark for text that is not re-wrapped

"""What every command does beside its own call: follow the work, and print what was found."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from lrcompress.cli.console import let_libraries_speak, note, nothing_on, show, show_json
from lrcompress.errors import TrainingError
from lrcompress.events import listening

if TYPE_CHECKING:
    from pathlib import Path

    from lrcompress.reporting.tables import Parts


@dataclass(frozen=True)
class Answer:
    """What a command has found and is about to say."""

    # The document that --json prints, or a result that has one, or a list of these.
    result: Any
    # Turns the document into what people read; notes follow it.
    render: Callable[[Any], Parts | str]
    then: Sequence[str] = ()
    # What stands before each warning of the result.
    warning: str = "Note"
    exit_code: int = 0


def verb(call: Callable[..., Answer | None]) -> Callable[..., None]:
    """Make a command of a call: with --json, --quiet and --verbose, progress, and its answer printed if it has one."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress and no messages.")
    @click.option("-v", "--verbose", is_flag=True, help="Show the engine's own messages.")
    @click.pass_context
    @functools.wraps(call)
    def command(
        ctx: click.Context,
        /,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        **options: Any,  # noqa: ANN401  # the command's own
    ) -> None:
        if verbose:
            let_libraries_speak()
        with following(
            str(ctx.info_name), quiet=quiet, verbose=verbose, command=ctx.obj,
            distribute=options.get("distribute"),
        ):  # fmt: skip
            answer = call(**options)
        if answer is None:
            return
        for warning in getattr(answer.result, "warnings", ()):
            note(f"{answer.warning}: {warning}")
        document = _document(answer.result)
        if as_json:
            show_json(document)
        else:
            show(answer.render(document))
        if answer.exit_code:
            ctx.exit(answer.exit_code)
        for line in answer.then:
            note(line)

    return command


def _document(result: Any) -> Any:  # noqa: ANN401
    if isinstance(result, list):
        return [_document(one) for one in result]
    return result.to_json() if hasattr(result, "to_json") else result


def data_set_of(record: Path) -> str | None:
    """Return the quoted name of the data set that a run knows and a command may name."""
    from lrcompress.records import runs

    name = runs.read(record).origin.dataset
    return None if name is None else quoted(name)


def quoted(word: object) -> str:
    """Return a word as a shell takes it."""
    return shlex.quote(str(word))


def given(flag: str) -> bool:
    """Return whether the command that runs was given `verbose`, `quiet` or `as_json`."""
    return bool(click.get_current_context().params.get(flag))


def quietly() -> contextlib.AbstractContextManager[None]:
    """Keep off the terminal what converters and runtimes write to stderr from native code, unless all is asked for."""
    return contextlib.nullcontext() if given("verbose") else nothing_on(2)


@contextlib.contextmanager
def following(
    name: str,
    *,
    quiet: bool,
    verbose: bool,
    command: Sequence[str] = (),
    distribute: str | None = None,
) -> Iterator[None]:
    """Show what a verb does in a ``with`` block; start Keras, and say so, when it needs it."""
    start = functools.cache(lambda: _start_keras(verbose=verbose, distribute=distribute or "none"))
    with contextlib.ExitStack() as stack:
        shown: dict[str, Any] = {}
        if not quiet:
            from lrcompress.cli.bar import Bar

            bar = stack.enter_context(contextlib.closing(Bar(name)))
            shown = {"progress": bar, "stage": bar.step}
        stack.enter_context(
            listening(before_keras=start, command=command or (), remark=note, **shown)
        )
        yield


def _start_keras(*, verbose: bool, distribute: str) -> None:
    """Import Keras and its engine with their start-up notes held back, unless they are wanted.

    The notes come from native code that writes to file descriptor 2 before any setting is read; some
    of what lets several processes talk writes to 1, which belongs to the results.
    """
    note("Starting Keras ...")
    if verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    with nothing_on(1), contextlib.nullcontext() if verbose else nothing_on(2):
        import_module("lrcompress.live.environment").start()
        device = import_module("lrcompress.live.engine").describe_device(distribute)
    note(f"Device: {device}")


@contextlib.contextmanager
def resumable(folder: Path | None) -> Iterator[None]:
    """Say what a Control-C leaves in a folder, and that the same command goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        msg = (
            f"Interrupted; {folder or 'the folder'} holds the rows that are done and the state of the one in work: "
            "the same command continues there."
        )
        raise TrainingError(msg, code="interrupted") from None

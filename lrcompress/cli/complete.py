"""What the shell completes beside commands, options and files: names, and layers of the file at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from lrcompress.errors import printable

# What --layers takes beside names of layers.
FAMILIES = {
    "all": "every layer that can be made smaller",
    "dense": "Dense, EinsumDense",
    "conv": "convolutions",
    "recurrent": "LSTM, GRU, SimpleRNN",
    "embedding": "Embedding",
    "attention": "MultiHeadAttention",
}


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Leave it to the shell to complete a file; for what may be one, or a name as well."""
    return [CompletionItem(incomplete, type="file")]


def datasets(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """Complete the name of a data set, or a file."""
    from lrcompress.data.named import NAMED

    found = [
        CompletionItem(name, help=what)
        for name, what in NAMED.items()
        if name.startswith(incomplete)
    ]
    # In this order, for bash forgets what came before a file.
    return [*files(ctx, param, incomplete), *found]


def scalings(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """Complete the name of a scaling."""
    from lrcompress.data.named import SCALINGS

    return [CompletionItem(name) for name in SCALINGS if name.startswith(incomplete)]


def layers(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """Complete a Dense layer of the model file that stands on the line; in silence if none does."""
    # The option that is being completed has no value yet, so that click has not come to arguments.
    words = [ctx.params.get("model"), *ctx.args]
    paths = [Path(word).expanduser() for word in words if word]
    try:
        from lrcompress.modelfile import open_model

        model = open_model(next(path for path in paths if path.is_file()))
        return [
            CompletionItem(layer.path, help=" x ".join(map(str, layer.kernel_shape)))
            for layer in model.sites
            # A name that no line can hold is none to complete.
            if layer.path.startswith(incomplete) and printable(layer.path) == layer.path
        ]
    except Exception:  # a line that is being typed is no place for errors
        return []


def families(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """Complete the last word of a list of families, or a layer of the model file on the line."""
    return _last_word(incomplete, FAMILIES) or layers(ctx, param, incomplete)


def words_among(
    names: Iterable[str],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[Any]]]:
    """Return what completes the last word of a list separated by commas."""
    return lambda ctx, param, incomplete: _last_word(incomplete, dict.fromkeys(names))


def _last_word(incomplete: str, words: Mapping[str, str | None]) -> list[CompletionItem[Any]]:
    """Return what may stand last in a list separated by commas, each with what it means."""
    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(before + comma + word, help=what)
        for word, what in words.items()
        if word.startswith(last) and word not in before.split(",")
    ]

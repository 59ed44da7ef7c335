"""What values of options may be, and how the shell completes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lrcompress.errors import did_you_mean, printable

Word = TypeVar("Word")
Items = list[CompletionItem[Any]]
# What users say for words of ours.
MEANT = {"off": "no", "none": "no", "false": "no", "yes": "auto"}


class Registered(Sequence[str]):
    """The names in a registry, loaded only when they are asked for."""

    def __init__(self, load: Callable[[], Sequence[str]]) -> None:
        self._load = load

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401  # one name, or a slice
        return self._load()[place]

    def __len__(self) -> int:
        return len(self._load())


def _method_names() -> list[str]:
    from lrcompress.lowrank import method_names

    return method_names()


METHODS = Registered(_method_names)
# What --int8 turns into 8-bit integers, in words and as functions take it.
INT8: dict[str, bool | str] = {"weights": True, "full": "full"}


class OneOf(click.Choice[str]):
    """A choice among words that suggests the one that was meant."""

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(())
        self.choices = choices  # type: ignore[assignment]  # click makes a tuple, which loads them

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return click's message with the suggestion."""
        meant = MEANT.get(str(value).lower())
        if meant in self.choices:
            return f"{value!r} is not one of {', '.join(map(repr, self.choices))}; say {meant!r}."
        message = super().get_invalid_choice_message(value, ctx)
        return message + did_you_mean(str(value), self.choices)


class Int8Command(click.Command):
    """A command whose --int8 takes a word of `INT8`, or none: an argument behind it is not taken for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say the word that is left out."""
        words = [
            f"{word}=weights"
            if word == "--int8" and {*args[i + 1 : i + 2]}.isdisjoint(INT8)
            else word
            for i, word in enumerate(args)
        ]
        return super().parse_args(ctx, words)


class Read(click.ParamType[Any]):
    """What a function reads of a word; its `ValueError` says what is wrong with one."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401
        """Return what was read."""
        try:
            return self._read(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def _size(word: str) -> int:
    from lrcompress.files.sizes import bytes_of

    return bytes_of(word)


def _drop(word: str) -> str:
    """Return a drop as `lrcompress.factorize` takes it."""
    with contextlib.suppress(ValueError):
        if 0 <= float(word.removesuffix("%")) < float("inf"):
            return word
    msg = f"{word!r} is not a drop; expected points of error (0.5), or percent of perplexity (1%)"
    raise ValueError(msg)


# Of a file: 200kB, 1.5MB, 512KiB, or a number of bytes.
SIZE = Read("size", _size)
# What may be lost: points of error (0.5), or percent of perplexity (1%).
DROP = Read("drop", _drop)


def list_of(
    what: str, example: str, read: Callable[[str], Word], names: Sequence[str] = ()
) -> Callable[[click.Context, click.Parameter, str | None], tuple[Word, ...] | None]:
    """Return what reads a list separated by commas or spaces; each is kept once, None stays None."""

    def parse(
        ctx: click.Context, param: click.Parameter, value: str | None
    ) -> tuple[Word, ...] | None:
        if value is None:
            return None
        found, near = [], ""
        for word in value.replace(",", " ").split():
            try:
                found.append(read(word))
            except ValueError:
                found, near = [], did_you_mean(word, names)
                break
        if not found:
            expected = f"some of {', '.join(names)}" if names else f"for example {example}"
            msg = f"{value!r} is not a list of {what}; expected {expected}.{near}"
            raise click.BadParameter(msg, ctx, param)
        return tuple(dict.fromkeys(found))

    return parse


def number(word: str) -> int:
    """Return a number of 1 and more."""
    if word.isdecimal() and int(word) >= 1:
        return int(word)
    raise ValueError


def numbers_of(what: str, example: str) -> Callable[..., tuple[int, ...] | None]:
    """Return what reads a list of numbers of 1 and more."""
    return list_of(what, example, number)


def names_of(what: str, names: Sequence[str]) -> Callable[..., tuple[str, ...] | None]:
    """Return what reads a list of some of these names."""
    return list_of(what, "", lambda word: names[names.index(word)], names)


# What --layers takes beside names of layers.
FAMILIES = {
    "all": "every layer that can be made smaller",
    "dense": "Dense, EinsumDense",
    "conv": "convolutions",
    "recurrent": "LSTM, GRU, SimpleRNN",
    "embedding": "Embedding",
    "attention": "MultiHeadAttention",
}


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Leave it to the shell to complete a file; for what may be one, or a name as well."""
    return [CompletionItem(incomplete, type="file")]


def datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of a data set, or a file."""
    from lrcompress.data.named import NAMED

    found = [
        CompletionItem(name, help=what)
        for name, what in NAMED.items()
        if name.startswith(incomplete)
    ]
    # In this order, for bash forgets what came before a file.
    return [*files(ctx, param, incomplete), *found]


def scalings(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of a scaling."""
    from lrcompress.data.named import SCALINGS

    return [CompletionItem(name) for name in SCALINGS if name.startswith(incomplete)]


def layers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
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


def families(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the last word of a list of families, or a layer of the model file on the line."""
    return _last_word(incomplete, FAMILIES) or layers(ctx, param, incomplete)


def words_among(names: Iterable[str]) -> Callable[[click.Context, click.Parameter, str], Items]:
    """Return what completes the last word of a list separated by commas."""
    return lambda ctx, param, incomplete: _last_word(incomplete, dict.fromkeys(names))


def _last_word(incomplete: str, words: Mapping[str, str | None]) -> Items:
    """Return what may stand last in a list separated by commas, each with what it means."""
    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(before + comma + word, help=what)
        for word, what in words.items()
        if word.startswith(last) and word not in before.split(",")
    ]

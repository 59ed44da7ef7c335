"""What values of options may be: one of some words, or a list of words or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from lrcompress.errors import did_you_mean

Word = TypeVar("Word")
# What users say for words of ours.
MEANT = {
    "off": "no",
    "none": "no",
    "false": "no",
    "yes": "auto",
}


class Registered(Sequence[str]):
    """The names in a registry, loaded only when they are asked for."""

    def __init__(self, load: Callable[[], Sequence[str]]) -> None:
        """Take what loads and returns them."""
        self._load = load

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401  # one name, or a slice
        """Return one, or several."""
        return self._load()[place]

    def __len__(self) -> int:
        """Return how many there are."""
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
        """Take the words, which are not looked at yet."""
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


class Size(click.ParamType[int]):
    """A size of a file: 200kB, 1.5MB, 512KiB, or a number of bytes."""

    name = "size"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return bytes."""
        from lrcompress.files import bytes_of

        try:
            return bytes_of(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Drop(click.ParamType[str]):
    """What may be lost: points of error (0.5), or percent of perplexity (1%)."""

    name = "drop"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return it as `lrcompress.factorize` takes it."""
        try:
            found = float(str(value).removesuffix("%"))
        except ValueError:
            found = -1.0
        if not 0 <= found < float("inf"):
            msg = f"{value!r} is not a drop; expected points of error (0.5), or percent of perplexity (1%)."
            self.fail(msg, param, ctx)
        return str(value)


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

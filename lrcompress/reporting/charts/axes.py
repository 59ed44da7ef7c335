"""Axes that are labelled at 1, 2 and 5 times powers of ten, with their grid and legend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Matplotlib's axis, or figure.
Axis = Any

_STEPS = (1, 2, 5, 10)


def single(draw: Callable[..., None], *numbers: Any, legend: str | None = "inside") -> Any:  # noqa: ANN401
    """Return what draws one axis with its grid on an empty figure; a legend ``below`` is the figure's."""

    def on(figure: Axis) -> None:
        axis = figure.subplots()
        draw(*numbers, axis)
        axis.grid(alpha=0.3)
        if legend == "below":
            figure.legend(loc="outside lower center", frameon=False, ncols=2)
        else:
            axis.legend(frameon=False)

    return on


def linear(axis: Axis, side: str) -> None:
    """Label a linear axis."""
    from matplotlib.ticker import MaxNLocator

    getattr(axis, f"{side}axis").set_major_locator(MaxNLocator("auto", steps=_STEPS))


def integers(axis: Axis) -> None:
    """Label a linear axis of ranks."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator("auto", steps=_STEPS, integer=True))


def logarithmic(axis: Axis, side: str) -> None:
    """Make an axis that shows all it is going to show logarithmic, and label it."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    getattr(axis, f"set_{side}scale")("log")
    low, high = getattr(axis, f"get_{side}lim")()
    of_side = getattr(axis, f"{side}axis")
    decades = high / low
    if decades < 8:
        of_side.set_major_locator(MaxNLocator(5, steps=_STEPS))
    else:
        of_side.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1000 else (1,)))
    of_side.set_minor_locator(NullLocator())
    of_side.set_major_formatter(lambda value, _: written(value))


def written(value: float) -> str:
    """Return a label: 0.05, 20, 1e−7."""
    digits, _, power = f"{value:g}".partition("e")
    return f"{digits}e{int(power)}".replace("-", "\N{MINUS SIGN}") if power else digits

"""The methods, a file each: which there are, and which one `auto` takes.

Only what a method says of itself is loaded here, its mathematics when it is called.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from lrcompress.errors import RankError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lrcompress.lowrank.factors import Factors
    from lrcompress.lowrank.methods.problem import Problem


# From the least to the most: each holds what those before it do.
Given = Literal["kernel", "moments", "inputs"]
GIVEN: tuple[Given, ...] = ("kernel", "moments", "inputs")


@dataclass(frozen=True)
class Setting:
    """What is known of a layer before any of its arrays is read."""

    softmax: bool = False  # whether softmax along the classes is what follows
    has_bias: bool = True  # or may be given one
    is_head: bool = True  # whether it makes predictions; a hidden layer hands its output on
    given: Given = "kernel"  # the most that there is to learn from


class Method:
    """A way to B, C and b'; one file of this folder, one name in METHODS.

    Attributes:
        name: What ``--method`` calls it.
        needs: The least that it learns from.
        minimises: What it brings near the original, and its certificate judges.
        spectrum_of: The matrix whose singular values its factors name.
        color: Of its lines in figures, and marker: of its points.
        hidden: Whether `auto` takes it for a hidden layer, only who asks for it gets it, or never.
        because: Why `auto` takes it without data, if there is more to say.
        closed_form: The method that it improves on step by step, rank after rank, so that it
            truncates no matrix; empty where it is a closed form itself.
    """

    name: str
    needs: Given = "kernel"
    minimises: str = "kernel"
    spectrum_of: str = "kernel"
    color: str = "#56B4E9"
    marker: str = "v"
    hidden: Literal["auto", "asked", "never"] = "auto"
    because: str = ""
    closed_form: str = ""

    def suits(self, setting: Setting) -> str | None:
        """Return None, or why `auto` passes it over; who asks for it is told."""
        return None

    def truncated(self, kernel: NDArray[Any], *, softmax: bool) -> NDArray[Any]:
        """Return the matrix whose energy a rank is chosen by."""
        return kernel

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Return the factors at some rising ranks, for the price of one."""
        raise NotImplementedError


class Registry(UserDict[str, Method]):
    """Methods by name; one of this folder is the ``METHOD`` of the module of its name."""

    def __init__(self, **needs: Given) -> None:
        """Take the names of those in this folder with what they need, so that who lacks it loads none."""
        self.data: dict[str, Any] = dict.fromkeys(needs)
        self._needs = needs

    def __getitem__(self, name: str) -> Method:
        if self.data[name] is None:
            self.data[name] = import_module(f"{__name__}.{name}").METHOD
        method: Method = self.data[name]
        return method

    def needs(self, name: str) -> Given:
        """Return the least that a method learns from."""
        return self._needs.get(name) or self[name].needs


# The first that suits is what `auto` takes.
METHODS = Registry(
    refined="inputs", weighted="inputs", whitened="moments", centered="kernel", svd="kernel"
)
AUTO = "auto"
# Below so many inputs a feature, the covariance of whitening is poorly known.
AMPLE = 5


def method_names() -> list[str]:
    """Return what may be asked for, the simplest method first."""
    return [AUTO, *reversed([*METHODS])]


def learns_from(method: str) -> Given:
    """Return the most that a method, or whichever `auto` takes, would learn from."""
    return GIVEN[-1] if method == AUTO else METHODS.needs(method)


def choose_method(method: str, setting: Setting) -> tuple[str, str]:
    """Return the method to use and why: `auto` takes the best that the data and the layer allow."""
    if method == AUTO:
        return _best(setting)
    if method not in METHODS:
        near = did_you_mean(method, method_names())
        msg = f"Unknown method {method!r}; expected {', '.join(method_names())}.{near}"
        raise RankError(msg, code="unknown_method")
    asked = METHODS[method]
    if not _is_given(method, setting):
        msg = f"Method {method} needs inputs to calibrate on; give --dataset, or use --method auto."
        raise RankError(msg, code="needs_data")
    if asked.hidden == "never" and not setting.is_head:
        best, _ = _best(replace(setting, given="kernel"))
        return best, f"instead of {method}, which would move the outputs of a hidden layer"
    against = asked.suits(setting)
    return method, f"as asked; {against}" if against else "as asked"


def _best(setting: Setting) -> tuple[str, str]:
    best = next(
        method
        for name in METHODS
        if _is_given(name, setting)
        and (method := METHODS[name])
        and (setting.is_head or method.hidden == AUTO)
        and method.suits(setting) is None
    )
    where = "" if setting.is_head else " for a hidden layer"
    if best.needs != "kernel":
        return best.name, f"the best method{where}, since there is data to calibrate on"
    if setting.is_head and not setting.softmax:
        where = " for a layer that softmax does not follow"
    because = f"; {best.because}" if best.because else ""
    return best.name, f"the best method without data{where}{because}"


def _is_given(method: str, setting: Setting) -> bool:
    return GIVEN.index(METHODS.needs(method)) <= GIVEN.index(setting.given)


def calibration_warnings(kernel_shape: tuple[int, int], count: int, method: str) -> list[str]:
    """Return what a user should know of a method that learned a layer from so few inputs."""
    m = kernel_shape[0]
    if METHODS.needs(method) == "kernel" or count >= AMPLE * m:
        return []
    few = f"{count:,} calibration inputs for a layer with {m:,} features"
    if count < m:
        return [
            f"{few}: fewer inputs than features, so {method} is damped and close to the best "
            f"method without data; give at least {AMPLE * m:,}."
        ]
    return [f"{few}: the result is less good than it could be; give at least {AMPLE * m:,}."]

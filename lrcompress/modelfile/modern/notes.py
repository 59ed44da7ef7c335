"""What modernizing has changed, collected layer by layer and told in a few lines."""

from __future__ import annotations

# How many layers a line names before it counts the rest.
_NAMED = 3


class Notes:
    """Changes that leave the outputs as they were, and warnings about what may not."""

    def __init__(self) -> None:
        """Start empty."""
        self._changes: dict[str, list[str]] = {}
        self._warnings: list[str] = []

    def changed(self, what: str, layer: str = "") -> None:
        """Note a change; `what` is a sentence without the layers it concerns."""
        layers = self._changes.setdefault(what, [])
        if layer and layer not in layers:
            layers.append(layer)

    def warn(self, sentence: str) -> None:
        """Note what the user has to know: a difference, or what Keras 3 cannot load."""
        if sentence not in self._warnings:
            self._warnings.append(sentence)

    @property
    def changes(self) -> tuple[str, ...]:
        """All changes, one line each."""
        return tuple(
            f"{what} ({_listed(layers)})" if layers else what
            for what, layers in self._changes.items()
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, one sentence each."""
        return tuple(self._warnings)


def _listed(layers: list[str]) -> str:
    """Return a few names and how many more there are."""
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return ", ".join(layers[:_NAMED]) + more

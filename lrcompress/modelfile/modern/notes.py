"""What modernizing has changed, collected layer by layer and told in a few lines."""

from __future__ import annotations

from lrcompress.errors import listed


class Notes:
    """Changes that leave the outputs as they were, and warnings about what may not."""

    def __init__(self) -> None:
        """Start empty."""
        self._changes: dict[str, list[str]] = {}
        self._warnings: dict[str, list[str]] = {}

    def changed(self, what: str, layer: str = "") -> None:
        """Note a change; `what` is a sentence without the layers it concerns."""
        layers = self._changes.setdefault(what, [])
        if layer and layer not in layers:
            layers.append(layer)

    def warn(self, sentence: str, layer: str = "") -> None:
        """Note what the user has to know: a difference, or what Keras 3 cannot load.

        Args:
            sentence: The same for all layers that it concerns, which are named behind it.
            layer: One of them.
        """
        layers = self._warnings.setdefault(sentence, [])
        if layer and layer not in layers:
            layers.append(layer)

    @property
    def changes(self) -> tuple[str, ...]:
        """All changes, one line each."""
        return _told(self._changes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, one line each."""
        return _told(self._warnings)


def _told(notes: dict[str, list[str]]) -> tuple[str, ...]:
    """Return each note with a few of its layers and how many more there are."""
    return tuple(f"{what} ({listed(layers)})" if layers else what for what, layers in notes.items())

"""What modernizing has changed, collected layer by layer and told in a few lines."""

from __future__ import annotations

from lrcompress.errors import first_three

_Told = dict[str, dict[str, None]]


class Notes:
    """Changes that leave the outputs as they were, and warnings of what may not, at one layer."""

    def __init__(self, era: int, layer: str = "", told: tuple[_Told, _Told] | None = None) -> None:
        self.era, self.layer = era, layer
        self._told = ({}, {}) if told is None else told
        self._changes, self._warnings = self._told

    def inside(self, name: str) -> Notes:
        """Return the same notes at a layer within this one, which is a model or a wrapper."""
        return Notes(self.era, f"{self.layer}/{name}" if self.layer else name, self._told)

    def changed(self, what: str) -> None:
        """Note a change, in the same words for all layers that it concerns."""
        self._changes.setdefault(what, {})[self.layer] = None

    def warn(self, sentence: str) -> None:
        """Note what the user has to know: a difference, or what Keras 3 cannot load."""
        self._warnings.setdefault(sentence, {})[self.layer] = None

    @property
    def changes(self) -> tuple[str, ...]:
        """All changes, one line each."""
        return _lines(self._changes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, one line each."""
        return _lines(self._warnings)


def _lines(told: _Told) -> tuple[str, ...]:
    """Return each note with a few of its layers and how many more there are."""
    named = {what: [layer for layer in layers if layer] for what, layers in told.items()}
    return tuple(
        f"{what} ({first_three(layers)})" if layers else what for what, layers in named.items()
    )

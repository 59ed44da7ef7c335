"""Names with slashes, which Keras 3 does not take: layers, and all that refers to them."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile.graph import Container, Path, build, unused_name
from lrcompress.modelfile.modern.calls import Reference, replaced
from lrcompress.modelfile.modern.layers import wrapped_layers
from lrcompress.modelfile.modern.notes import Notes


def rename(entry: dict[str, Any], compiled: dict[str, Any] | None, notes: Notes) -> dict[Path, str]:
    """Put an underscore for each slash in the names of a model's layers, in place.

    In its compile settings losses and metrics go by names of outputs. Returned is the new name of each
    renamed layer by the path that it had.
    """
    tree = build(entry)
    renamed: dict[Path, str] = {}
    if tree is None:
        return renamed
    _rename_in(tree, renamed)
    outer = {path[0]: name for path, name in renamed.items() if len(path) == 1}
    for settings in compiled.values() if compiled else ():
        for old, name in outer.items():
            if isinstance(settings, dict) and old in settings:
                settings[name] = settings.pop(old)
    _rename_model(entry)
    for path in renamed:
        notes.inside("/".join(path)).changed("slashes in names became underscores")
    return renamed


def _rename_in(tree: Container, renamed: dict[Path, str]) -> None:
    taken = {item.name for item in tree.items}
    new: dict[str, str] = {}
    for item in tree.items:
        if item.inner is not None:
            _rename_in(item.inner, renamed)
        _rename_wrapped(item.entry, item.path, renamed)
        if "/" in item.name:
            new[item.name] = renamed[item.path] = unused_name(item.name.replace("/", "_"), taken)
            taken.add(new[item.name])

    def refer(leaf: Reference) -> Reference:
        return [new.get(leaf[0], leaf[0]), *leaf[1:]]

    for item in tree.items:
        for holder in (item.entry, item.config):
            if item.name in new and holder.get("name") == item.name:
                holder["name"] = new[item.name]
        if "inbound_nodes" in item.entry:
            item.entry["inbound_nodes"] = replaced(item.entry["inbound_nodes"], tree, refer)
    config = as_dict(tree.entry.get("config"))
    for key in ("input_layers", "output_layers"):
        if key in config:
            config[key] = replaced(config[key], tree, refer)


def _rename_wrapped(entry: dict[str, Any], path: Path, renamed: dict[Path, str]) -> None:
    """Rename what a wrapper holds; the weights of a model in it are listed like a nested model's."""
    for wrapped in wrapped_layers(entry):
        inside = build(wrapped, path)
        if inside is not None:
            _rename_in(inside, renamed)
        _rename_wrapped(wrapped, path, renamed)
        _rename_model(wrapped)


def _rename_model(entry: dict[str, Any]) -> None:
    """Rename a layer or model that nothing refers to by name."""
    for holder in (entry, as_dict(entry.get("config"))):
        if isinstance(holder.get("name"), str):
            holder["name"] = holder["name"].replace("/", "_")

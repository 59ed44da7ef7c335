"""Mutations of JSON: wrong types, moved parts, cycles, names that mean something elsewhere."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

# Text that `json.dumps` cannot make, put in after it.
_MARKS = {
    "@deep@": "[" * 150 + "]" * 150,
    "@deeper@": "[" * 5_000 + "]" * 5_000,
    "@abyss@": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@long@": "9" * 6_000,
    "@inf@": "1e999",
    "@megabyte@": '"' + "x" * 2**20 + '"',
}
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, 10**9, 2**31, 2**63, 10**30, -(10**30), 1e300,
    float("nan"), float("inf"), "", "x", "\0", "a\nb", "a\rb", "\u2028", "\x1b[31m", "\ud800", "é",
    "../x", "/", "a/b", "..", ".", "//", "a\\b", "C:\\x", "x" * 5_000, "vars", "layers", "_layer",
    "Dense", "Functional", "Sequential", "InputLayer", "TimeDistributed", "Lambda", "softmax",
    "float16", "bfloat16", "int8", "mixed_float16", [], [[]], {}, [None], [None, -1], [0, 0],
    [None, 10**20], [[[]]], ["x", 0, 0], {"config": None}, {"class_name": "Dense"},
    {"class_name": "Dense", "config": {"name": "x", "units": 2}},
    {"class_name": "__tuple__", "items": [None, "x"]}, {"config": {"keras_history": ["x", 0, 0]}},
    *_MARKS,
)  # fmt: skip
# Keys whose values decide something; half of all changes are made to these.
_TELLING = {
    "name", "class_name", "config", "layers", "layer", "inbound_nodes", "input_layers", "output_layers",
    "units", "output_dim", "use_bias", "bias", "activation", "dtype", "module", "registered_name", "axis",
    "keras_history", "batch_shape", "batch_input_shape", "input_shape", "build_config", "trainable",
    "keras_version", "args", "kwargs", "shared_object_id", "lora_rank", "quantization_config", "items",
    "compile_config", "lrcompress",
}  # fmt: skip

Place = tuple[Any, Any]


def places(value: Any) -> list[Place]:  # noqa: ANN401 - any JSON
    """Return every container and key in a JSON value."""
    found: list[Place] = []
    pending = [value]
    while pending:
        holder = pending.pop()
        if isinstance(holder, (dict, list)):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            found.extend((holder, key) for key in keys)
            pending.extend(holder[key] for key in keys)
    return found


def _pick(rng: Random, value: Any, wanted: set[str] | None = None) -> Place:  # noqa: ANN401
    """Return one place, half the time a telling one; always one of the `wanted` keys, if given."""
    found = places(value)
    keys = wanted or (_TELLING if rng.random() < 0.5 else set())
    telling = [place for place in found if place[1] in keys]
    return rng.choice(telling if telling or wanted else found)


def replace(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Put something strange in the place of a node."""
    holder, key = _pick(rng, value)
    holder[key] = copy.deepcopy(rng.choice(STRANGE))


def remove(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Take a key or an item out."""
    holder, key = _pick(rng, value)
    del holder[key]


def duplicate(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Put an item into its list a second time."""
    lists = [place for place in places(value) if isinstance(place[0], list)]
    holder, at = rng.choice(lists)
    holder.insert(rng.randint(0, len(holder)), copy.deepcopy(holder[at]))


def shuffle(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Bring a list into another order."""
    lists = [h[k] for h, k in places(value) if isinstance(h[k], list) and len(h[k]) > 1]
    rng.shuffle(rng.choice(lists))


def swap(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Exchange two nodes; of each other's children, copies."""
    (one, a), (other, b) = _pick(rng, value), _pick(rng, value)
    one[a], other[b] = copy.deepcopy(other[b]), copy.deepcopy(one[a])


def nest(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Put a copy of a node inside another, the whole config inside itself included."""
    holder, key = _pick(rng, value)
    inner = copy.deepcopy(rng.choice((value, _pick(rng, value)[0])))
    if isinstance(holder[key], list):
        holder[key].append(inner)
    else:
        holder[key] = inner


def rename(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Call one thing, a layer mostly, by another's name."""
    named = [(h, k) for h, k in places(value) if k == "name" and isinstance(h[k], str)]
    holder, key = rng.choice(named)
    holder[key] = rng.choice([h[k] for h, k in named])


def rename_all(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Give a layer an odd name wherever it is spoken of, so that the graph still holds."""
    named = [h[k] for h, k in places(value) if k == "name" and isinstance(h[k], str)]
    old, new = rng.choice(named), rng.choice([item for item in STRANGE if isinstance(item, str)])
    for holder, key in places(value):
        if holder[key] == old:
            holder[key] = new


def cycle(rng: Random, value: Any) -> None:  # noqa: ANN401
    """Let a layer be fed by another one, perhaps a later one or itself."""
    layers = [
        h for h, k in places(value) if k == "inbound_nodes" and isinstance(h.get("config"), dict)
    ]
    names = [h["config"].get("name", h.get("name")) for h in layers]
    target = rng.choice(layers)
    history = [rng.choice(names), rng.choice((0, 0, 0, 1, -1, 10**20)), rng.choice((0, 0, 1))]
    modern = {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": history}}]}
    nodes = rng.choice(([[history]], [[[*history, {}]]], [modern], [{**modern, "kwargs": {}}] * 2))
    target["inbound_nodes"] = copy.deepcopy(nodes)


CHANGES = {
    "replace": replace, "remove": remove, "duplicate": duplicate, "shuffle": shuffle, "swap": swap,
    "nest": nest, "rename": rename, "rename-all": rename_all, "cycle": cycle,
}  # fmt: skip


def change(rng: Random, text: str | bytes, kind: str) -> str:
    """Return JSON text with one change."""
    value = [json.loads(text)]
    # The outer list makes the root itself a place; whatever takes it is what is written.
    CHANGES[kind](rng, value if rng.random() < 0.05 else value[0])
    made = json.dumps(value[0] if value else None)
    for mark, meant in _MARKS.items():
        made = made.replace(f'"{mark}"', meant, 3)
    return made

"""Mutations of an HDF5 file through h5py: arrays, groups, links, attributes, storage."""

from __future__ import annotations

import io
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np

NAMES = (
    "x", "..", ".", "a\\b", "é", "a\nb", "vars", "layers/dense_99/vars/0", "layers\\dense\\vars\\0",
    "model_weights/more/kernel:0", "model_weights", "layers", "optimizer", "top_level_model_weights",
    "optimizer_weights/a/b", "x" * 3_000,
)  # fmt: skip
_ODD_NAMES = (
    b"", b".", b"..", b"/", b"../x", b"/model_weights", b"a/b", b"\xff\xfe", b"a\nb", b"x" * 300,
    b"\0", "é".encode(),
)  # fmt: skip


def objects(file: h5py.File) -> tuple[list[str], list[str]]:
    """Return the paths of all groups and of all arrays; links are not followed."""
    groups, arrays = ["/"], []

    def note(name: str, item: Any) -> None:  # noqa: ANN401 - h5py gives any object
        (groups if isinstance(item, h5py.Group) else arrays).append("/" + name)

    file.visititems(note)
    return groups, [path for path in arrays if isinstance(file[path], h5py.Dataset)]


def _holder(rng: Random, file: h5py.File) -> Any:  # noqa: ANN401
    """Return some object that has attributes."""
    groups, arrays = objects(file)
    return file[rng.choice([g for g in groups + arrays if len(file[g].attrs)])]


def _group(rng: Random, file: h5py.File) -> h5py.Group:
    """Return some group."""
    return file[rng.choice(objects(file)[0])]


def _swap(
    file: h5py.File,
    path: str,
    values: Any,  # noqa: ANN401
    **settings: Any,  # noqa: ANN401
) -> None:
    """Put another array in the place of one."""
    attributes = dict(file[path].attrs)
    del file[path]
    made = file.create_dataset(path, data=values, **settings)
    for name, value in attributes.items():
        made.attrs[name] = value


def delete(rng: Random, file: h5py.File) -> None:
    """Delete a group or an array."""
    groups, arrays = objects(file)
    del file[rng.choice(groups[1:] + arrays)]


def retype(rng: Random, file: h5py.File) -> None:
    """Store an array as another type, some of which no weights have."""
    path = rng.choice(objects(file)[1])
    values = file[path][()]
    kind: Any = rng.choice(
        (
            "i1",
            "u2",
            "i8",
            "f2",
            "f8",
            ">f4",
            "c8",
            "?",
            "V2",
            "text",
            "record",
            "vlen",
            "S4",
            "enum",
            "ref",
            "g",
        )
    )
    if kind == "text":
        _swap(file, path, np.full(values.shape, "x", object), dtype=h5py.string_dtype())
    elif kind == "record":
        _swap(file, path, np.zeros(values.shape, [("a", "f4"), ("b", "i4")]))
    elif kind == "vlen":
        del file[path]
        file.create_dataset(path, values.shape, h5py.vlen_dtype(np.dtype("f4")))
    elif kind == "enum":
        _swap(file, path, np.zeros(values.shape, "i1"), dtype=h5py.enum_dtype({"A": 0}, "i1"))
    elif kind == "ref":
        del file[path]
        file.create_dataset(path, values.shape, h5py.ref_dtype)
    elif kind in ("V2", "S4"):
        _swap(file, path, np.zeros(values.shape, kind))
        if rng.random() < 0.5:
            file[path].attrs["dtype"] = "bfloat16"
    else:
        _swap(file, path, values.astype(kind))


def reshape(rng: Random, file: h5py.File) -> None:
    """Give an array another shape."""
    path = rng.choice(objects(file)[1])
    values = np.asarray(file[path][()])
    flat = values.ravel()
    made = rng.choice(
        (values.T, flat, values[None], values[:0], values[..., :0], values[..., :1], values[:1])
        if values.ndim
        else (values[None],)
    )
    made = rng.choice(
        (made, made, np.zeros((), "f4"), np.zeros(flat.size + 1, "f4"), np.zeros((0, 0), "f4"))
    )
    _swap(file, path, made)


def huge(rng: Random, file: h5py.File) -> None:
    """Declare an enormous array in the place of another and store next to nothing."""
    path = rng.choice(objects(file)[1])
    old = file[path].shape
    shape = rng.choice(
        (
            (2**40,), (2**33, 8), (2**62,), (2**24,), (2**20, *old[1:]), (2**26, 1), (5_000, 5_000),
            (*old[:-1], 2**16), (2**31, 2**31),
        )
    )  # fmt: skip
    del file[path]
    chunks = tuple(min(n, 64) for n in shape)
    packing = rng.choice((None, "gzip", "lzf"))
    file.create_dataset(path, shape, "f4", chunks=chunks, compression=packing)


def values(rng: Random, file: h5py.File) -> None:
    """Put odd numbers among the weights."""
    array = file[rng.choice(objects(file)[1])]
    odd = rng.choice((np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, 65_504.0, 1e30))
    if rng.random() < 0.5 or not array.shape:
        array[...] = odd
    else:
        array[tuple(rng.randrange(n) for n in array.shape)] = odd


def packing(rng: Random, file: h5py.File) -> None:
    """Store an array in chunks, packed or with a checksum: legal, though Keras does not."""
    path = rng.choice(objects(file)[1])
    settings: Any = rng.choice(
        (
            {"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {"shuffle": True},
            {"scaleoffset": 3}, {"maxshape": (None,) * file[path].ndim}, {"chunks": True},
        )
    )  # fmt: skip
    _swap(file, path, file[path][()], **settings)


def names(rng: Random, file: h5py.File) -> None:
    """Change a list of names: its items, its order, its type."""
    groups = objects(file)[0]
    lists = [
        (g, a)
        for g in groups
        for a in file[g].attrs
        if a.startswith(("layer_names", "weight_names"))
    ]
    path, attribute = rng.choice(lists)
    attrs = file[path].attrs
    found = [n if isinstance(n, bytes) else str(n).encode() for n in np.ravel(attrs[attribute])]
    made: Any = list(found)
    action = rng.choice(
        (
            "drop",
            "double",
            "shuffle",
            "odd",
            "cut",
            "number",
            "float",
            "text",
            "square",
            "scalar",
            "parts",
            "empty",
            "many",
        )
    )
    if action == "drop" and made:
        del made[rng.randrange(len(made))]
    elif action == "double" and made:
        made.insert(rng.randint(0, len(made)), rng.choice(made))
    elif action == "shuffle":
        rng.shuffle(made)
    elif action == "odd" and made:
        made[rng.randrange(len(made))] = rng.choice(_ODD_NAMES)
    elif action == "cut" and made:
        made = [name[: rng.randint(1, 5)] for name in made]
    elif action == "many":
        made = made * (40_000 // max(sum(map(len, made)), 1))
    del attrs[attribute]
    if action == "number":
        attrs[attribute] = rng.choice((3, -1, np.arange(5), np.zeros((2, 2))))
    elif action == "float":
        attrs[attribute] = np.array([])
    elif action == "text":
        attrs.create(
            attribute, [n.decode("utf-8", "replace") for n in made], dtype=h5py.string_dtype()
        )
    elif action == "square":
        attrs[attribute] = np.array([made, made], "S")
    elif action == "scalar":
        attrs[attribute] = made[0] if made else b"x"
    elif action == "parts":
        half = len(made) // 2
        attrs[f"{attribute}0"], attrs[f"{attribute}1"] = (
            np.array(made[:half], "S"),
            np.array(made[half:], "S"),
        )
    elif action == "empty":
        attrs[attribute] = h5py.Empty("S5")
    else:
        attrs[attribute] = np.array(made, f"S{max(map(len, made), default=1) or 1}")


def attribute(rng: Random, file: h5py.File) -> None:
    """Remove an attribute or give it an odd value, or add one."""
    attrs = _holder(rng, file).attrs
    name = rng.choice(list(attrs))
    action = rng.randrange(4)
    if action == 0:
        del attrs[name]
        return
    if action == 1:
        name = rng.choice(
            ("name", "dtype", "keras_version", "lrcompress", "backend", "more", "training_config")
        )
    value: Any = rng.choice(
        (
            3, -1, 1.5, float("nan"), "", "x", "a\nb", "é", b"\xff\xfe", "../x", "bfloat16", h5py.Empty("f4"),
            np.zeros(4), np.zeros((2, 2)), np.array([b"a", b"b"]), True, "{}", "[]", '{"a": NaN}',
            np.zeros(1, [("a", "f4")]), "x" * 60_000,
        )
    )  # fmt: skip
    attrs[name] = value


def link(rng: Random, file: h5py.File) -> None:
    """Add a link: soft, to another file, a second name, a group inside itself."""
    groups, arrays = objects(file)
    holder, name = file[rng.choice(groups)], rng.choice(NAMES)
    there = rng.choice(groups + arrays)
    if rng.random() < 0.5 and arrays:  # in the place of an array
        path = rng.choice(arrays)
        holder, name = file[path.rpartition("/")[0] or "/"], path.rpartition("/")[2]
        target = file[there]
        del holder[name]
    else:
        target = file[there]
    holder[name] = rng.choice(
        (
            h5py.SoftLink(there),
            h5py.SoftLink("nowhere"),
            h5py.ExternalLink("else.h5", "/"),
            target,
            target,
        )
    )


def elsewhere(rng: Random, file: h5py.File) -> None:
    """Put an array together from other files, or keep it in one."""
    groups, arrays = objects(file)
    path = rng.choice([*arrays, f"{rng.choice(groups)}/more"])
    shape = file[path].shape if path in file else (4,)
    if path in file:
        del file[path]
    if rng.random() < 0.5:
        file.create_dataset(path, shape, "f4", external=[("else.bin", 0, h5py.h5f.UNLIMITED)])
    else:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(rng.choice(("else.h5", ".")), "x", shape)
        file.create_virtual_dataset(path, layout)


def extra(rng: Random, file: h5py.File) -> None:
    """Add groups, arrays and types that no layer accounts for."""
    group, name = _group(rng, file), rng.choice(NAMES)
    kind = rng.randrange(5)
    if kind == 0:
        group.require_group(name)
    elif kind == 1:
        group.create_dataset(name, data=np.zeros(3, "f4"))
    elif kind == 2:
        group[name] = np.dtype("f8")
    elif kind == 3:
        for n in range(300):
            group.create_group(f"more_{n}")
    else:
        inner = group
        for _ in range(rng.choice((50, 1_200))):
            inner = inner.create_group("d")


def move(rng: Random, file: h5py.File) -> None:
    """Give a group or an array another name, perhaps another's."""
    groups, arrays = objects(file)
    path = rng.choice(groups[1:] + arrays)
    target = rng.choice((*groups[1:], *arrays, *NAMES))
    if target in file:
        file.move(target, "aside")
        file.move("aside" + path[len(target) :] if path.startswith(target) else path, target)
    else:
        file.move(path, target)


def copy(rng: Random, file: h5py.File) -> None:
    """Copy a group or an array to another place, into itself included."""
    groups, arrays = objects(file)
    file.copy(rng.choice(groups[1:] + arrays), file[rng.choice(groups)], rng.choice(NAMES))


CHANGES: dict[str, Callable[[Random, h5py.File], None]] = {
    "delete": delete, "retype": retype, "reshape": reshape, "huge": huge, "values": values,
    "packing": packing, "names": names, "attribute": attribute, "link": link,
    "elsewhere": elsewhere, "extra": extra, "move": move, "copy": copy,
}  # fmt: skip


def change(rng: Random, data: bytes, kind: str) -> bytes:
    """Return an HDF5 file with one change; `rewrite` keeps all and changes the layout alone."""
    if kind == "rewrite":
        return _rewritten(rng, data)
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        CHANGES[kind](rng, file)
    return buffer.getvalue()


def change_text(rng: Random, data: bytes, edit: Callable[[str], str]) -> bytes:
    """Return an HDF5 file with one of its JSON attributes edited."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        found = [n for n in ("model_config", "training_config") if n in file.attrs]
        weights = [4 if n == "model_config" else 1 for n in found]
        name = rng.choices(found, weights)[0]
        old = file.attrs[name]
        made = edit(old if isinstance(old, str) else old.decode())
        file.attrs[name] = np.array(made, dtype=h5py.string_dtype("ascii"))
    return buffer.getvalue()


def _rewritten(rng: Random, data: bytes) -> bytes:
    """Return the same content in the newest or the oldest layout, perhaps behind a user block."""
    buffer = io.BytesIO()
    newest = rng.random() < 0.6
    settings: dict[str, Any] = {"libver": "latest" if newest else "earliest", "track_order": newest}
    if rng.random() < 0.3:
        settings["userblock_size"] = 512
    with h5py.File(io.BytesIO(data), "r") as old, h5py.File(buffer, "w", **settings) as new:
        for name in old:
            old.copy(old[name], new, name)
        for name, value in old.attrs.items():
            text = isinstance(value, (str, bytes))
            new.attrs[name] = np.array(value, dtype=h5py.string_dtype("ascii")) if text else value
    return buffer.getvalue()

"""What the arrays of a layer are called in an HDF5 file, in the style of those that stand there."""

from __future__ import annotations

# The names of arrays by the beginning of a class's name.
_ARRAYS = {
    "Embedding": ("embeddings",),
    "SeparableConv": ("depthwise_kernel", "pointwise_kernel", "bias"),
}


def array_names(
    class_name: str, count: int, style: str | None, rename: tuple[str, str], *, same: bool
) -> list[str]:
    """Return the names of a new layer's arrays."""
    new = rename[1]
    parts = next((p for c, p in _ARRAYS.items() if class_name.startswith(c)), ("kernel", "bias"))
    first = f"{new}/{parts[0]}"
    if style is not None:
        base = _renamed(style, *rename)
        first = base if same else _named(base, new, parts[0])
    return [first, *(_sibling(first, part) for part in parts[1:count])][:count]


def _renamed(kernel: str, old: str, new: str) -> str:
    """Return a kernel's name in the style of another's: `N/N/kernel:0`, `N_W`; plain where it has none."""
    parts = [part for part in kernel.split("/") if part]
    replaced = [new if part == old else part for part in parts]
    if replaced[-1].startswith(f"{old}_"):
        replaced[-1] = new + replaced[-1][len(old) :]
    return f"{new}/{parts[-1]}" if replaced == parts else "/".join(replaced)


def _named(base: str, layer: str, part: str) -> str:
    """Return the name of an array of a layer of another class, right below what is named after the layer."""
    parts = base.split("/")
    if layer not in parts[:-1]:
        return _sibling(base, part)
    above = parts[: len(parts) - parts[::-1].index(layer)]
    return "/".join([*above, part + "".join(parts[-1].partition(":")[1:])])


def _sibling(kernel: str, part: str) -> str:
    """Return the name of another array of a layer in the style of its kernel's: `N/kernel:0`, `N_W`."""
    return bias_name(kernel) if part == "bias" else _with_stem(kernel, part)


def _with_stem(name: str, part: str) -> str:
    parent, slash, last = name.rpartition("/")
    stem, colon, number = last.partition(":")
    if stem.endswith(("_W", "_b")):
        part = f"{stem[:-1]}{'b' if part == 'bias' else 'W' if part == 'kernel' else part}"
    return f"{parent}{slash}{part}{colon}{number}"


def bias_name(kernel: str) -> str:
    """Return the name of a bias in the style of its kernel's: `N/kernel:0`, `N_W` and others."""
    stem = kernel.rpartition("/")[2].partition(":")[0]
    plain = "kernel" not in stem or stem.endswith("_W")
    return _with_stem(kernel, "bias" if plain else stem.replace("kernel", "bias"))

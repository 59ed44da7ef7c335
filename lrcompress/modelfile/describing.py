"""What one Dense layer of a model file is, or why it cannot be factorized."""

from __future__ import annotations

from lrcompress.errors import UnsupportedModelError
from lrcompress.kinds.terms import dense_entry, has_bias, quantization, units
from lrcompress.modelfile.archive import is_shared
from lrcompress.modelfile.dimensions import input_dimensions
from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.hdf5 import StoredArray
from lrcompress.modelfile.model import ModelFile, Site
from lrcompress.modelfile.order import leads_to_output
from lrcompress.modelfile.tail import ends_in, following
from lrcompress.modelfile.untrusted import as_dict

FLOATS = ("float32", "float16", "bfloat16", "float64")


def describe_dense(model: ModelFile, item: Item) -> Site:
    """Return a Dense by itself, with its arrays found and checked.

    Args:
        model: The file.
        item: Any layer of its tree.

    Raises:
        UnsupportedModelError: If it is quantized, has LoRA, is shared, or its arrays are missing.
    """
    kernel, bias = dense_arrays(model, item)
    entry = as_dict(dense_entry(item))
    after = following(model.tree, item) if model.tree is not None else []
    activation, keeps_order = ends_in(item, after)
    dimensions = input_dimensions(item)
    return Site(
        name=item.name,
        path="/".join(item.path),
        kernel_shape=(kernel.shape[0], kernel.shape[1]),
        dtype=kernel.dtype,
        use_bias=bias is not None,
        activation=activation,
        keeps_order=keeps_order,
        following=tuple(i.class_name for i in after),
        per_step=entry is not item.entry
        or entry.get("class_name") == "TimeDistributedDense"
        or (dimensions or 0) > 2,
        kernel=kernel,
        bias=bias,
    )


def dense_arrays(model: ModelFile, item: Item) -> tuple[StoredArray, StoredArray | None]:
    """Return where the kernel and the bias of a Dense are, after all checks.

    Args:
        model: The file.
        item: Any layer of its tree.

    Returns:
        The kernel, of two dimensions, and the bias, None where the layer has none.

    Raises:
        UnsupportedModelError: As `describe_dense` does.
    """
    tree, entry = model.tree, dense_entry(item)
    if tree is None or entry is None:
        msg = f"Layer {item.name} of {model.path} is a {item.class_name}; expected a Dense layer."
        raise UnsupportedModelError(msg, code="no_such_layer")
    path, config = "/".join(item.path), as_dict(entry.get("config"))
    _refuse_special(model, item, config)
    index = model.weights.index
    paths = model.weights.of_layer.get(item.path, ())
    arrays = [index.arrays[p] for p in paths if p in index.arrays]
    use_bias = has_bias(config)
    kernel = arrays[0] if arrays else None
    bias = arrays[1] if use_bias and len(arrays) > 1 else None
    n = kernel.shape[1] if kernel is not None and len(kernel.shape) == 2 else 0
    fits = len(arrays) == 1 + use_bias and n > 0 and units(config) in (n, None)
    if kernel is None or not fits or (use_bias and (bias is None or bias.shape != (n,))):
        msg = (
            f"The weights of Dense layer {path} in {model.path} do not fit its architecture "
            f"(found {[list(a.shape) for a in arrays]}); save the model again."
        )
        raise UnsupportedModelError(msg, code="config")
    if kernel.dtype.startswith("void"):
        msg = (
            f"Dense layer {path} of {model.path} stores its kernel as raw bytes without a type, as Keras "
            "writes bfloat16 to HDF5; expected an attribute dtype that says bfloat16: save the model as .keras."
        )
        raise UnsupportedModelError(msg, code="quantized")
    if kernel.dtype not in FLOATS:
        msg = (
            f"Dense layer {path} of {model.path} stores its kernel as {kernel.dtype}; "
            f"expected one of {', '.join(FLOATS)}: factorize the model before quantizing it."
        )
        raise UnsupportedModelError(msg, code="quantized")
    return kernel, bias


def _refuse_special(model: ModelFile, item: Item, config: dict[str, object]) -> None:
    """Refuse a Dense that Keras would not rebuild, or whose kernel is not all there is to it."""
    path, tree = "/".join(item.path), model.tree
    if not item.is_named or not leads_to_output(item):
        why = "leads to no output" if item.is_named else "has no name"
        msg = f"Dense layer {path} of {model.path} {why}; expected a layer in use: choose another."
        raise UnsupportedModelError(msg, code="config")
    if tree is not None and tree.paths[item.path] > 1:
        # Keras does not load such a model, and which of them is meant cannot be said.
        msg = (
            f"Dense layer {path} of {model.path} shares its name with another layer; expected names "
            "that differ: rename one in the model's own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    mode = quantization(config)
    if mode is not None:
        msg = (
            f"Dense layer {path} of {model.path} is quantized ({mode}); "
            "expected a float kernel: factorize the model before quantizing it."
        )
        raise UnsupportedModelError(msg, code="quantized")
    if config.get("lora_rank"):
        msg = (
            f"Dense layer {path} of {model.path} has LoRA enabled; expected a plain kernel: "
            "merge the adapters first (save the model after quantize or a weight merge)."
        )
        raise UnsupportedModelError(msg, code="lora")
    if tree is not None and is_shared(tree, item):
        msg = (
            f"Dense layer {path} of {model.path} is one object used in several nested models; "
            "expected it in one place: give the models their own layers, or choose with --layer."
        )
        raise UnsupportedModelError(msg, code="shared_dense")

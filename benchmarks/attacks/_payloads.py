"""Model files that hold code or name it, each made of an honest one; the code leaves a mark.

`payloads` gives the JSON of the layers, `write` the files. What runs writes the file ``RAN`` in the
current directory; what is only to be found there by name is `HELPERS`.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Json = dict[str, Any]
# Code in the current directory: modules by path.
HELPERS = dict.fromkeys(
    ("helpers.py", "keras_hub/__init__.py", "keras_cv/evil.py", "keras_nlp/__init__.py"),
    "open('RAN', 'w').close()\ndef data(): pass\nclass Evil: pass\n",
)
SECRET = "secret.txt"


def bytecode() -> str:
    """Return a lambda as Keras stores it."""
    code = compile("lambda x: (open('RAN', 'w').close(), x)[1]", "<file>", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(code)).decode()


def payloads() -> dict[str, Json]:
    """Return serialized layers by name; in files of HDF5 also without their modules."""
    held = {
        "class_name": "__lambda__",
        "config": {"code": bytecode(), "defaults": None, "closure": None},
    }
    value = {"class_name": "__lambda__", "config": {"value": [bytecode(), None, None]}}
    found = {
        "lambda": _layer("Lambda", function=held),
        "lambda_list": _layer("Lambda", function=[bytecode(), None, None], function_type="lambda"),
        "lambda_shape": _layer("Lambda", function="relu", output_shape=held),
        "lambda_raw": _layer("Lambda", function="relu", output_shape=bytecode(), output_shape_type="raw"),
        "lambda_inside": _layer("TimeDistributed", layer=_layer("Lambda", function=held)),
        "activation": _dense(activation=value),
        "regularizer": _dense(kernel_regularizer=value),
        "build_config": _dense() | {"build_config": {"input_shape": value}},
        "compile_config": _dense() | {"compile_config": {"loss": value, "optimizer": "adam"}},
        "call": _dense() | {"inbound_nodes": [{"args": [], "kwargs": {"mask": value}}]},
        "torch": _layer("TorchModuleWrapper", module={"class_name": "__bytes__", "config": {"value": "x"}}),
        "saved_model": _layer("TFSMLayer", filepath=".", call_endpoint="serving_default"),
        "saved_model_by_source": _layer("TFSMLayer", "keras.src.export.tfsm_layer", filepath="."),
        "typespec": {"class_name": "__typespec__", "module": "helpers", "spec_name": "Evil",
                     "registered_name": None, "config": []},
        "old_typespec": {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []},
        "of_any_text": _layer("deserialize", config=_layer("Lambda", function=held)),
        "json_text": _layer("model_from_json", "keras.models", json_string=json.dumps(value)),
    }  # fmt: skip
    for lookup in ("StringLookup", "IntegerLookup", "TextVectorization"):
        found[f"file_of_{lookup}"] = _layer(lookup, vocabulary=SECRET, max_tokens=None)
    for module, name in (
        ("helpers", "Evil"), ("keras_hub", "Evil"), ("keras_cv.evil", "Evil"), ("keras_nlp", "Evil"),
        ("keras.utils", "get_file"), ("keras.saving", "load_model"), ("keras.models", "load_model"),
        ("keras.config", "enable_unsafe_deserialization"), ("keras.utils", "load_img"),
        ("keras.applications.vgg16", "VGG16"), ("keras.src.utils.torch_utils", "TorchModuleWrapper"),
        ("keras.datasets.mnist", "load_data"), ("subprocess", "Popen"), ("os", "system"),
    ):  # fmt: skip
        found[f"class_{module}_{name}"] = _layer(name, module)
        function = {
            "class_name": "function",
            "module": module,
            "config": name,
            "registered_name": name,
        }
        found[f"function_{module}_{name}"] = _dense(activation=function)
        trick = function | {"registered_name": "relu"}
        found[f"lambda_{module}_{name}"] = _layer(
            "Lambda", function=trick, arguments={"origin": "http://[::1]:9/x"}
        )
        found[f"loss_{module}_{name}"] = _dense() | {"compile_config": {"loss": function}}
    return found


def write(source: Path, folder: Path) -> Iterator[Path]:
    """Write all payloads into copies of an honest model file, of its format.

    Args:
        source: A Sequential model, `.keras` or `.h5`, whose last layer is a Dense.
        folder: Gets the files, and what they name.
    """
    for path, text in HELPERS.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    (folder / SECRET).write_text("secret\n")
    for name, layer in payloads().items():
        forms = {"": layer}
        if source.suffix == ".h5":
            forms["_bare"] = _bare(layer)
        for form, entry in forms.items():
            target = folder / f"{name.replace('.', '-')}{form}{source.suffix}"
            write_layer(source, target, entry)
            yield target


def write_layer(source: Path, target: Path, layer: Json) -> None:
    """Write a copy of a model file with one more layer, before its last one."""

    def changed(text: str | bytes) -> str:
        config = json.loads(text)
        entry = dict(layer)
        # What is said of compiling stands at the top, where Keras looks for it.
        compiled = entry.pop("compile_config", None)
        config["config"]["layers"].insert(-1, entry)
        if compiled is not None:
            config["compile_config"] = compiled
        return json.dumps(config)

    if source.suffix == ".h5":
        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            config = changed(file.attrs["model_config"])
            file.attrs["model_config"] = config
            if "compile_config" in json.loads(config):
                loss = json.loads(config)["compile_config"]["loss"]
                training = json.loads(file.attrs["training_config"]) | {"loss": loss}
                file.attrs["training_config"] = json.dumps(training)
        return
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changed(content) if name == "config.json" else content)


def write_others(archive: Path, hdf5: Path, folder: Path) -> Iterator[Path]:
    """Write files that are two things at once, and one whose weights are a pickle."""
    lambda_layer = payloads()["lambda"]
    write_layer(archive, folder / "_bad.keras", lambda_layer)
    write_layer(hdf5, folder / "_bad.h5", lambda_layer)
    bad_zip, bad_hdf5 = ((folder / f"_bad{s}").read_bytes() for s in (".keras", ".h5"))
    # HDF5 to who reads the begin, an archive to who goes by the suffix and reads the end.
    both = {"hdf5_first.keras": hdf5.read_bytes() + bad_zip}
    # HDF5 is sought at 0, 512 and every doubling.
    for offset in (512, 8192, 65536):
        start = archive.read_bytes()[:-22]
        if len(start) <= offset or offset == 512:
            both[f"zip_first_{offset}.h5"] = start[:offset].ljust(offset, b"\0") + bad_hdf5
    padded = io.BytesIO(b"\0" * 2**20 + archive.read_bytes())
    both["zip_in_zip.h5"] = padded.getvalue()
    for name, content in both.items():
        (folder / name).write_bytes(content)
        yield folder / name
    pickled = io.BytesIO()
    np.savez(pickled, x=np.array([{}], dtype=object))
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(folder / "pickle.keras", "w") as new:
        for name in old.namelist():
            if name != "model.weights.h5":
                new.writestr(name, old.read(name))
        new.writestr("model.weights.npz", pickled.getvalue())
    yield folder / "pickle.keras"


def _layer(class_name: str, module: str = "keras.layers", **config: object) -> Json:
    return {
        "module": module,
        "class_name": class_name,
        "config": {"name": "added", "trainable": True, "dtype": "float32"} | config,
        "registered_name": None,
    }


def _dense(**config: object) -> Json:
    return _layer("Dense", units=256, **config)


def _bare(value: Json) -> Json:
    """Return a layer in the notation of Keras 2: its class has no module."""
    return {k: v for k, v in value.items() if k not in ("module", "registered_name")}

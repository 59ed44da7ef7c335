"""What benchmarks/fuzz.py has found: the smallest file for each finding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import lrcompress
from lrcompress.errors import LRCompressError, UnsupportedModelError
from lrcompress.modelfile import legacy, open_model
from lrcompress.modelfile.hdf5.arrays import names
from lrcompress.modelfile.hdf5.index import MAX_CHUNKS, MAX_DEPTH
from tests.modelfile.conftest import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.modelfile.conftest import Maker


def test_groups_without_end_below_each_other_are_refused(make: Maker) -> None:
    """1,200 nested groups took minutes to write: the time grows with the square of the depth."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        group = file.create_group("more")
        for _ in range(MAX_DEPTH):
            group = group.create_group("d")
    assert open_model(path).parameters

    with h5py.File(path, "r+") as file:
        file["more" + "/d" * MAX_DEPTH].create_group("d")

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("packed", [None, "gzip"])
def test_an_array_of_a_million_empty_pieces_is_refused(make: Maker, packed: str | None) -> None:
    """Each piece costs microseconds to read, also if it was never written."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.create_dataset(
            "more", (64 * (MAX_CHUNKS + 1),), "f4", chunks=(64,), compression=packed
        )

    assert refusal(path).code == "hostile"


def test_many_arrays_share_the_limit_on_pieces(make: Maker) -> None:
    """The limit holds for a file, not for each of its arrays."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        for n in range(11):
            file.create_dataset(f"more_{n}", (64 * MAX_CHUNKS // 10,), "f4", chunks=(64,))

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "a\x1b[31mb"])
def test_a_name_of_an_object_does_not_break_a_message(make: Maker, name: str) -> None:
    """A link's name stands in the refusal, on one line and without control sequences."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file[name] = h5py.SoftLink("/model_weights")

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb"])
def test_a_name_of_a_layer_does_not_break_a_message(make: Maker, tmp_path: Path, name: str) -> None:
    """Names in `weight_names` that name nothing stand in the refusal to write."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file["model_weights/hidden"].attrs["weight_names"] = np.array([name.encode()])

    with pytest.raises(LRCompressError) as caught:
        lrcompress.factorize(path, rank=1, method="svd", force=True, output=tmp_path / "out.h5")

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
def test_half_a_character_in_a_config_is_refused(make: Maker, kind: str) -> None:
    """JSON can spell a lone surrogate, which no output takes: `inspect` ended in a traceback."""
    layers = [make.input(), make.dense("\ud800", 5, activation="softmax")]
    config = make.sequential(*layers)
    if kind == "hdf5":
        path = make.hdf5(config, {"x": {}})
    else:
        path = make.keras(config, {"layers/dense/vars/0": make.array(6, 5)})

    assert refusal(path).code == "config"


def test_text_that_is_not_utf8_is_refused(make: Maker) -> None:
    """h5py passes wrong bytes of variable-length text on as lone surrogates."""
    path = make.small_hdf5()
    config = json.dumps(make.sequential(make.input(), make.dense("probs", 5)))
    with h5py.File(path, "r+") as file:
        wrong = np.array(config.encode().replace(b"probs", b"pr\x80bs"), dtype=h5py.string_dtype())
        file.attrs["model_config"] = wrong

    assert refusal(path).code == "config"


@pytest.mark.parametrize("attribute", ["keras_version", "training_config"])
def test_other_text_that_is_not_utf8_is_refused(make: Maker, attribute: str) -> None:
    """The same in the other attributes that are shown."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = np.array(b'"\x80"', dtype=h5py.string_dtype())

    assert refusal(path).code == "config"


@pytest.mark.parametrize("name", [b"metadata.json", b"config.json", b"model.weights.h5"])
def test_a_member_that_claims_more_than_the_file_has_is_refused(make: Maker, name: bytes) -> None:
    """Gigabytes were set aside for it before the first byte was read."""
    path = make.small_keras()
    content = bytearray(path.read_bytes())
    header = content.rindex(name) - 46
    assert content[header : header + 4] == b"PK\x01\x02"
    content[header + 20 : header + 24] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)

    error = refusal(path)

    assert error.code == "truncated"
    assert "ends behind it" in str(error)


@pytest.mark.parametrize("more", [64, -8])
def test_a_stored_member_of_two_sizes_is_refused(make: Maker, more: int) -> None:
    """It was copied short, without its checksum compared; only the check of the output saw it."""
    path = make.small_keras()
    content = bytearray(path.read_bytes())
    size = content.rindex(b"metadata.json") - 46 + 24
    old = int.from_bytes(content[size : size + 4], "little")
    content[size : size + 4] = (old + more).to_bytes(4, "little")
    path.write_bytes(content)

    error = refusal(path)

    assert error.code == "truncated"
    assert "two sizes" in str(error)


def test_two_layers_of_one_name_are_not_mixed_up(make: Maker, tmp_path: Path) -> None:
    """The other layer was taken for the Dense and split; only the check of the output saw it."""
    config = make.sequential(
        make.input(),
        make.dense("d", 5),
        make.layer("Activation", "d", activation="softmax"),
    )
    path = make.hdf5(config, {"d": make.pair("d", 6, 5)})

    with pytest.raises(LRCompressError) as caught:
        lrcompress.factorize(path, rank=1, method="svd", force=True, output=tmp_path / "out.h5")

    assert caught.value.code == "config"
    assert "shares its name" in str(caught.value)


def test_a_layer_that_is_listed_thousands_of_times_is_read_once(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 0, cases 4312 and 9948: the list cost seconds, and Keras could not have written it."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["layer_names"] = np.array([b"hidden", b"probs"] * 2_500)
    asked: list[str] = []

    def counted(group: h5py.Group, attribute: str) -> list[str]:
        asked.append(group.name)
        return names(group, attribute)

    monkeypatch.setattr(legacy, "names", counted)

    with pytest.raises(UnsupportedModelError, match="hidden is listed twice") as refused:
        lrcompress.factorize(path, rank=2, output=tmp_path / "out.h5")

    assert refused.value.code == "config"
    assert len(asked) < 20
    assert not (tmp_path / "out.h5").exists()


def test_a_doubled_layer_without_weights_is_listed_once(make: Maker, tmp_path: Path) -> None:
    """Seed 0, case 543: two Dropouts of one name in the config, one in the list of layers."""
    dropout = make.layer("Dropout", "drop", rate=0.5)
    config = make.sequential(make.input(), make.dense("d", 8), dropout, dropout, make.dense("e", 5))
    weights = {"d": make.pair("d/d", 6, 8), "drop": {}, "e": make.pair("e/e", 8, 5)}

    result = lrcompress.factorize(make.hdf5(config, weights), rank=2, output=tmp_path / "out.h5")

    with h5py.File(result.output) as file:
        listed = file["model_weights"].attrs["layer_names"].astype(str).tolist()
    assert listed == ["d", "drop", "e_lowrank", "e"]

"""What is not written, and that nothing is left behind when it is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lrcompress.errors import (
    KernelError,
    ModelFileError,
    OutputError,
    RankError,
    UnsupportedModelError,
    VerificationError,
)
from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    find_head,
    open_model,
    read_bias,
    read_kernel,
    write_replaced,
)
from lrcompress.modelfile.hdf5.space import WriteWindow
from lrcompress.modelfile.rewrite import write as writing
from tests.modelfile.models import factors

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


@pytest.mark.parametrize(
    ("first", "second"),
    [((8, 2), (3, 5)), ((7, 2), (2, 5)), ((8, 2), (2, 4)), ((8, 0), (0, 5)), ((8,), (5,))],
)
def test_factors_of_other_shapes_are_refused(
    small: ModelFile, tmp_path: Path, first: Any, second: Any
) -> None:
    """Factors that do not multiply to the kernel's shape are a mistake of the caller."""
    replacement = Replacement(find_head(small), np.ones(first), np.ones(second))

    with pytest.raises(RankError, match=r"expected \(8, r\) and \(r, 5\)"):
        write_replaced(small, [replacement], tmp_path / "out.h5")


def test_a_bias_of_another_shape_is_refused(small: ModelFile, tmp_path: Path) -> None:
    """A bias must have the layer's units."""
    head = find_head(small)

    with pytest.raises(RankError, match=r"expected \(5,\)"):
        write_replaced(
            small,
            [Replacement(head, np.ones((8, 1)), np.ones((1, 5)), np.ones(4))],
            tmp_path / "out.h5",
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_factors_that_are_not_finite_are_refused(
    small: ModelFile, tmp_path: Path, value: Any
) -> None:
    """Neither NaN nor a number too large for the stored type is written."""
    replacement = Replacement(find_head(small), np.full((8, 1), value), np.ones((1, 5)))

    with pytest.raises(KernelError, match="finite"):
        write_replaced(small, [replacement], tmp_path / "out.h5")

    assert not (tmp_path / "out.h5").exists()


def test_one_layer_twice_is_refused(small: ModelFile, tmp_path: Path) -> None:
    """A layer can be split once."""
    head = find_head(small)

    with pytest.raises(RankError, match="twice"):
        write_replaced(small, [factors(head), factors(head)], tmp_path / "out.h5")


def test_a_layer_of_another_file_is_refused(make: Maker, tmp_path: Path) -> None:
    """Layers carry where their arrays stand, so those of another file do not fit."""
    legacy, archive = open_model(make.small_hdf5()), open_model(make.small_keras())

    with pytest.raises(UnsupportedModelError, match="was not read from") as caught:
        write_replaced(archive, [factors(find_head(legacy))], tmp_path / "out.keras")

    assert caught.value.code == "no_such_layer"


def test_outputs_are_guarded(small: ModelFile, tmp_path: Path) -> None:
    """The input is never the output, and an existing file needs a word."""
    taken = tmp_path / "taken.h5"
    taken.write_bytes(b"mine")
    replacement = factors(find_head(small))

    with pytest.raises(OutputError) as itself:
        write_replaced(small, [replacement], small.path, overwrite=True)
    with pytest.raises(OutputError) as exists:
        write_replaced(small, [replacement], taken)

    assert (itself.value.code, exists.value.code) == ("output_is_input", "output_exists")
    assert taken.read_bytes() == b"mine"
    write_replaced(small, [replacement], taken, overwrite=True)
    assert open_model(taken).parameters > 0


def test_an_input_replaced_in_between_is_noticed(make: Maker, tmp_path: Path) -> None:
    """A description belongs to the file it was read from."""
    model = open_model(make.small_hdf5())
    replacement = factors(find_head(model))
    config = make.sequential(make.input(), make.dense("probs", 5))
    make.hdf5(config, {"probs": make.pair("probs", 6, 5)})

    with pytest.raises(ModelFileError) as caught:
        write_replaced(model, [replacement], tmp_path / "out.h5")

    assert caught.value.code == "changed"


def test_new_weights_in_the_same_file_are_noticed(make: Maker, tmp_path: Path) -> None:
    """Factors of an older checkpoint do not go into a newer one of the same architecture."""
    model = open_model(make.small_hdf5())
    head = find_head(model)
    make.small_hdf5()
    os.utime(model.path, ns=(1, 1))

    for use in (
        lambda: read_kernel(model, head),
        lambda: read_bias(model, head),
        lambda: write_replaced(model, [factors(head)], tmp_path / "out.h5"),
    ):
        with pytest.raises(ModelFileError, match="changed while it was read"):
            use()


@pytest.mark.parametrize("victim", ["kernel", "other", "attribute", "missing", "extra"])
@pytest.mark.parametrize("kind", ["hdf5", "keras"])
def test_a_file_that_does_not_read_back_is_not_put_in_place(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, victim: str
) -> None:
    """Whatever goes wrong in writing, the check afterwards finds it and nothing is left."""
    model = open_model(make.small_hdf5() if kind == "hdf5" else make.small_keras())
    head = find_head(model)
    hidden = find_head(model, "hidden").layers[-1].serialized.arrays[0].source
    write = writing.write_plan

    def spoil(plan: Any, source: Any, index: Any, target: Any, go_on: Any) -> None:
        write(plan, source, index, target, go_on)
        if victim == "kernel":
            target[
                head.layers[-1].serialized.arrays[0].source
                if kind == "hdf5"
                else "layers/dense_2/vars/0"
            ][0, 0] += 1
        elif victim == "other":
            target[hidden][0, 0] += 1
        elif victim == "attribute":
            group = target["model_weights/hidden" if kind == "hdf5" else "layers/dense/vars"]
            group.attrs["weight_names" if kind == "hdf5" else "name"] = b"other"
        elif victim == "missing":
            del target[hidden]
        else:
            target["more"] = 1.0

    monkeypatch.setattr(writing, "write_plan", spoil)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(VerificationError, match="was not written"):
        write_replaced(model, [factors(head)], tmp_path / f"out{model.path.suffix}")

    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_archive_is_not_copied(make: Maker, tmp_path: Path) -> None:
    """A changed byte among the weights is found by the archive's own checksum."""
    path = make.small_keras()
    bias = read_bias(open_model(path), find_head(open_model(path)))
    assert bias is not None
    content = bytearray(path.read_bytes())
    content[content.index(bias.tobytes())] ^= 1
    path.write_bytes(content)
    model = open_model(path)

    with pytest.raises(ModelFileError, match="is damaged") as caught:
        write_replaced(model, [factors(find_head(model))], tmp_path / "out.keras")

    assert caught.value.code == "truncated"


def test_an_interruption_leaves_nothing_behind(
    small: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C in the middle of writing leaves the folder as it was."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_plan", interrupt)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(KeyboardInterrupt):
        write_replaced(small, [factors(find_head(small))], tmp_path / "out.h5")

    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_an_output_error(
    small: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space left is not blamed on the input, and HDF5 closes its file without hearing of it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(WriteWindow, "_put", full)

    with pytest.raises(OutputError, match="No space left"):
        write_replaced(small, [factors(find_head(small))], tmp_path / "out.h5")


def test_the_input_is_not_touched(small: ModelFile, tmp_path: Path) -> None:
    """Not one byte and not the time stamp of the input changes."""
    before = small.path.read_bytes(), small.path.stat().st_mtime_ns

    write_replaced(small, [factors(find_head(small))], tmp_path / "out.h5")

    assert (small.path.read_bytes(), small.path.stat().st_mtime_ns) == before


def test_weights_that_do_not_follow_the_architecture_are_refused(
    make: Maker, tmp_path: Path
) -> None:
    """An archive whose groups carry other names than derived is not moved around by guess."""
    config = make.sequential(make.input(), make.dense("a", 6), make.dense("b", 6))
    arrays = {
        f"layers/dense{s}/vars/{i}": make.array(*[6] * (2 - i)) for s in ("", "_1") for i in (0, 1)
    }
    swapped = {"layers/dense/vars": "b", "layers/dense_1/vars": "a"}
    model = open_model(make.keras(config, arrays, names=swapped))

    with pytest.raises(UnsupportedModelError, match="not of a") as caught:
        write_replaced(model, [factors(find_head(model))], tmp_path / "out.keras")

    assert caught.value.code == "config"

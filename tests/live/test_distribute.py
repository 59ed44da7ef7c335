"""Other engines, several devices and several processes: the results are those of one, and one process writes.

Those that train start fresh programs: virtual devices must be set up before an engine starts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.errors import TrainingError
from lrcompress.live import devices, environment
from lrcompress.live.devices import Replicas
from lrcompress.records.runs import record_path

Refuses = Callable[..., Any]
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs JAX: pip install jax"
)
# Seconds after which programs wait for each other for ever; busy cores alone take less.
LIMIT = 1800
# An odd batch, which two devices round up, and a last one that is not full.
WORDS = ["--dataset", "digits", "--scaling", "/16", "--epochs", "1", "--json"]
TWO_CPUS = """
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
"""
COMMAND = "import sys; from lrcompress.cli import main; main(sys.argv[1:], prog_name='lrcompress')"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a monkeypatch after the environment has forgotten all environment."""
    for name in (environment.ADDRESSES, environment.NUMBER, environment.INDEX, "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def start(
    engine: str, words: list[Any], folder: Path, *, before: str = "", **variables: str
) -> Any:
    """Start a command under an engine."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"KERAS_BACKEND": engine} | variables
    return subprocess.Popen(
        [sys.executable, "-c", before + COMMAND, *map(str, words)], cwd=folder, text=True,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(program: Any) -> str:
    """Return what a program that must succeed printed."""
    printed, errors = program.communicate(timeout=LIMIT)
    assert program.returncode == 0, errors
    return str(printed)


def finetuned(printed: str, folder: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what `finetune --json` printed, and the weights of its output."""
    import h5py

    found: list[np.ndarray] = []
    with h5py.File(folder / "out.h5", "r") as file:
        file["model_weights"].visititems(
            lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None
        )
    return json.loads(printed), found


def last_entry(model: Path) -> dict[str, Any]:
    """Return the last fine-tuning that a model's run record holds."""
    entry = json.loads(record_path(model).read_text())["finetune"][-1]
    assert isinstance(entry, dict)
    return entry


def assert_same(one: tuple[Any, Any], several: tuple[Any, Any]) -> None:
    """Assert that two runs went the same way, up to rounding."""
    (first, weights), (second, others) = one, several
    for left, right in zip(first["history"], second["history"], strict=True):
        assert left.keys() == right.keys()
        numbers = {key: value for key, value in left.items() if isinstance(value, float)}
        assert {key: right[key] for key in numbers} == pytest.approx(numbers, rel=1e-4)
    assert first["error_rate_after"] == second["error_rate_after"]
    assert len(weights) == 5 == len(others)
    for left, right in zip(weights, others, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, (0, 1)),
        ({environment.NUMBER: "1", environment.INDEX: "0"}, (0, 1)),
        ({environment.ADDRESSES: "a:1,b:1", environment.INDEX: "1"}, (1, 2)),
        ({environment.ADDRESSES: "a:1", environment.NUMBER: "3", environment.INDEX: "2"}, (2, 3)),
    ],
)
def test_processes_are_read(
    variables: dict[str, str], found: tuple[int, int], alone: pytest.MonkeyPatch
) -> None:
    """The number of processes is said, or that of the addresses; alone without either."""
    for name, value in variables.items():
        alone.setenv(name, value)

    assert environment.read_processes() == found
    assert environment.is_follower("auto") == (found[0] > 0)
    assert not environment.is_follower("none")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({environment.NUMBER: "two"}, ("'two'", "whole number")),
        ({environment.NUMBER: "2", environment.INDEX: "0"}, ("0 addresses", "2 processes")),
        ({environment.ADDRESSES: "a:1,b:1,c:1", environment.NUMBER: "2"}, ("3 addresses",)),
        ({environment.ADDRESSES: "a:1,b:1"}, ("is not set", "0 to 1")),
        ({environment.ADDRESSES: "a:1,b:1", environment.INDEX: "2"}, ("is 2", "0 to 1")),
    ],
)
def test_processes_that_do_not_go_together(
    variables: dict[str, str], words: tuple[str, ...], alone: pytest.MonkeyPatch, refuses: Refuses
) -> None:
    """Variables that contradict each other are refused before an engine waits for anybody."""
    for name, value in variables.items():
        alone.setenv(name, value)

    with refuses(TrainingError, "processes", *words):
        environment.read_processes()


def test_shares_are_equally_large() -> None:
    """A batch grows to a multiple of the devices; samples are filled up from the order's begin."""
    team = Replicas(("gpu:0", "gpu:1", "gpu:2"))

    assert [team.rounded(n) for n in (1, 3, 31, 32)] == [3, 3, 33, 33]
    assert team.evened(np.array([4, 2, 9, 7])).tolist() == [4, 2, 9, 7, 4, 2]
    assert Replicas().evened(np.array([4, 2])).tolist() == [4, 2]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    """Another process reads the folder, and what it writes is gone afterwards."""
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "results.json").write_text("there")
    (folder / "row.lock").touch()
    first, second = (Replicas(("cpu:0", "cpu:1"), index, 2) for index in range(2))

    with first.folder(folder) as own:
        assert own == folder
    with second.folder(folder) as own:
        found = sorted(path.name for path in own.iterdir())
        text = (own / "results.json").read_text()
        (own / "new").write_text("replaced")
        (own / "new").replace(own / "results.json")

    assert found == ["results.json"]
    assert text == (folder / "results.json").read_text() == "there"
    assert not own.exists()
    with second.folder(tmp_path / "missing") as own:
        assert not own.exists()


@pytest.mark.keras
@pytest.mark.parametrize("choice", ["auto", "data"])
@pytest.mark.parametrize("engine", ["tensorflow", "torch"])
def test_hosts_need_jax(
    engine: str, choice: str, alone: pytest.MonkeyPatch, refuses: Refuses
) -> None:
    """Several processes under another engine are refused, and the way that works is named."""
    alone.setattr(devices.keras.backend, "backend", lambda: engine)
    alone.setenv(environment.ADDRESSES, "a:1,b:1")
    alone.setenv(environment.INDEX, "0")

    with refuses(
        TrainingError, "hosts_need_jax", engine, "KERAS_BACKEND=jax", environment.ADDRESSES
    ):
        devices.replicas_for(choice)
    assert devices.replicas_for("none") == Replicas()


@pytest.mark.keras
def test_tensorflows_own_hosts_are_refused(alone: pytest.MonkeyPatch, refuses: Refuses) -> None:
    """Workers of TF_CONFIG would train apart and overwrite each other; one worker is no cluster."""
    alone.setattr(devices.keras.backend, "backend", lambda: "tensorflow")
    alone.setenv("TF_CONFIG", json.dumps({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}))

    with refuses(TrainingError, "hosts_need_jax", "2 processes", "KERAS_BACKEND=jax"):
        devices.join("auto")
    alone.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["b:1"]}}))
    devices.join("auto")
    alone.setenv("TF_CONFIG", "{")
    devices.join("auto")


@pytest.mark.keras
def test_pytorch_has_no_data_parallelism(alone: pytest.MonkeyPatch, refuses: Refuses) -> None:
    """Asked for, it is refused; by itself one device computes."""
    alone.setattr(devices.keras.backend, "backend", lambda: "torch")

    with refuses(TrainingError, "engine_cannot_distribute", "torch", "KERAS_BACKEND"):
        devices.replicas_for("data")
    assert devices.replicas_for("auto") == Replicas()


@pytest.mark.keras
def test_other_words_are_refused(refuses: Refuses) -> None:
    """A word that Python was given is checked as the command line checks its own."""
    with refuses(TrainingError, "distribute", "'all'", "auto, none, data"), devices.over("all"):
        pass


@pytest.mark.keras
@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_finetune_under_another_engine(
    engine: str, small_file: Path, tmp_path: Path, load_keras: Callable[[Path], Any]
) -> None:
    """What this engine factorized is trained there: the error comes back, and the file loads here.

    The whole training tests run under another engine by KERAS_BACKEND; see docs/contributing.md.
    """
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"needs {engine}: pip install {engine}")
    words = ["finetune", small_file, "-o", "out.keras", "--distribute", "none", *WORDS]

    result = json.loads(end(start(engine, words, tmp_path)))

    assert f"({engine})" in result["device"]
    assert result["error_rate_after"] < result["error_rate_before"]
    x = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    assert load_keras(tmp_path / "out.keras").predict(x, verbose=0).shape == (3, 10)


@pytest.mark.keras
def test_two_devices_under_tensorflow(
    small_file: Path, tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    """Two virtual devices fine-tune to the result of one, with the batch rounded up."""
    import lrcompress

    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("compares with this process, which runs another engine")
    words = ["finetune", small_file, "-o", "out.h5", "--distribute", "data", *WORDS]
    result = lrcompress.finetune(
        small_file, dataset="digits", scaling="/16", epochs=1, batch_size=16,
        output=tmp_path / "out.h5",
    )  # fmt: skip

    program = start("tensorflow", [*words, "--batch-size", 15], tmp_path / "two", before=TWO_CPUS)
    several = finetuned(end(program), tmp_path / "two")

    one = finetuned(json.dumps(result.to_json()), tmp_path)
    assert several[0]["device"] == "cpu:0, cpu:1 (tensorflow), each batch shared by 2 devices"
    assert last_entry(small_file)["settings"]["batch_size"] == 16
    assert_same(one, several)


@pytest.fixture(scope="module")
def jax_alone(
    small_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return a fine-tuning under JAX on one device."""
    folder = tmp_path_factory.mktemp("jax")
    words = ["finetune", small_file, "-o", "out.h5", *WORDS, "--batch-size", 16]
    return finetuned(end(start("jax", words, folder)), folder)


@needs_jax
@pytest.mark.keras
def test_two_devices_under_jax(
    jax_alone: tuple[Any, Any], small_file: Path, tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    """Two virtual devices fine-tune to the result of one, with the batch rounded up."""
    words = ["finetune", small_file, "-o", "out.h5", "--distribute", "data", *WORDS]
    flags = "--xla_force_host_platform_device_count=2"
    program = start("jax", [*words, "--batch-size", 15], tmp_path, XLA_FLAGS=flags)

    several = finetuned(end(program), tmp_path)

    assert several[0]["device"] == "cpu:0, cpu:1 (jax), each batch shared by 2 devices"
    assert last_entry(small_file)["settings"]["batch_size"] == 16
    assert_same(jax_alone, several)


@needs_jax
@pytest.mark.keras
def test_two_processes_under_jax(
    jax_alone: tuple[Any, Any], small_file: Path, tmp_path: Path, alone: pytest.MonkeyPatch
) -> None:
    """Two processes, each with a device, come to the result of one; the first writes and prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    words = ["finetune", small_file, "-o", "out.h5", *WORDS, "--batch-size", 15]
    variables = {environment.ADDRESSES: address, environment.NUMBER: "2"}
    before = record_path(small_file).read_text()
    programs = [
        start("jax", words, tmp_path / str(i), **variables, **{environment.INDEX: str(i)})
        for i in range(2)
    ]

    printed = [end(program) for program in programs]

    assert printed[1] == ""
    assert list((tmp_path / "1").iterdir()) == []
    entries = [
        json.loads(text)["finetune"] for text in (before, record_path(small_file).read_text())
    ]
    assert len(entries[1]) == len(entries[0]) + 1
    assert entries[1][-1]["settings"]["batch_size"] == 16
    several = finetuned(printed[0], tmp_path / "0")
    assert several[0]["device"].endswith("(jax), each batch shared by 2 devices in 2 processes")
    assert_same(jax_alone, several)

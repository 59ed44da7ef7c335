"""Model files that hold code, or lead Keras to code: Keras is never given one of them."""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from lrcompress.errors import LRCompressError, TrainingError
from lrcompress.files import sha256
from lrcompress.modelfile import check_loadable, open_for_keras, open_model

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]
# Names that no module comes with lead nowhere: Keras itself says that it does not know them.
HARMLESS = ("loss_helpers", "_bare.h5")
DATA = ("--dataset", "digits")
COMMANDS = (
    ("evaluate", *DATA), ("finetune", *DATA, "--epochs", 1), ("sweep", *DATA), ("benchmark",), ("export",),
    ("factorize", "--rank", 4, *DATA), ("compare", *DATA, "--ranks", 2),
    ("train-from-scratch", *DATA, "--ranks", 2, "--model"), ("evaluate", *DATA, "good.keras"),
    ("export", "good.keras", "--against"), ("factorize", "--rank", 4, "-o", "x"), ("modernize", "-o", "x"),
)  # fmt: skip


@pytest.fixture(scope="module")
def kinds() -> Iterator[Any]:
    """Return the module that makes such files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import attacks._payloads as module

        yield module


@pytest.fixture(scope="module")
def written(kinds: Any, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return such files, of every kind and both formats."""
    folder = tmp_path_factory.mktemp("code")
    sources = [examples / f"digits_cnn{suffix}" for suffix in (".keras", ".h5")]
    made = [path for source in sources for path in kinds.write(source, folder)]
    return made + list(kinds.write_others(*sources, folder))


@pytest.fixture
def files(written: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files; they lie in the current directory, also for `run`."""
    monkeypatch.chdir(written[0].parent)
    monkeypatch.syspath_prepend(str(written[0].parent))
    return written


def ran() -> bool:
    """Return whether code of a file has run, or a module that it names was imported."""
    return Path("RAN").exists() or bool(
        {"helpers", "keras_cv", "keras_hub", "keras_nlp"} & sys.modules.keys()
    )


@pytest.mark.safety
def test_files_that_hold_code_are_refused(files: list[Path]) -> None:
    """Every kind is refused in one line that names the file, by its JSON alone."""
    passed = []
    for path in files:
        try:
            open_for_keras(path)
            passed.append(path.name)
        except LRCompressError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
            assert error.code in (
                "holds_code",
                "keras_cannot_load",
                "npz_weights",
                "not_keras",
                "truncated",
            )

    assert len(files) > 200
    assert [name for name in passed if not any(part in name for part in HARMLESS)] == []
    assert not any("lambda" in name or "activation" in name for name in passed)
    assert not ran()


@pytest.mark.safety
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_command_gives_them_to_keras(
    files: list[Path], examples: Path, run: Run, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """All commands that load a model refuse before Keras starts; the others edit the file."""

    def start(**_: Any) -> None:
        pytest.fail("Keras was started")

    monkeypatch.setattr("lrcompress.cli.verb._start_keras", start)
    Path("good.keras").write_bytes((examples / "digits_cnn.keras").read_bytes())
    other = {".keras": ".h5", ".h5": ".keras"}[suffix]
    for kind in ("lambda", "lambda_os_system", "class_helpers_Evil", "saved_model"):
        path = f"{kind}{suffix}"
        for words in COMMANDS:
            line = [f"x{other}" if word == "x" else word for word in words]
            result = run(line[0], *line[1:], path, "-q")
            assert result.exit_code == 1, (line, path)
            assert path in result.stderr
            assert "is not given files" in result.stderr or "is not part of Keras" in result.stderr
            assert len(result.stderr.splitlines()) == 1
    assert run("inspect", f"lambda{suffix}").exit_code == 0
    assert run("factorize", f"lambda{suffix}", "--rank", 4, "-o", f"small{suffix}").exit_code == 0
    assert run("merge", f"small{suffix}", "-o", f"whole{suffix}").exit_code == 0
    assert not ran()


@pytest.mark.safety
@pytest.mark.keras
def test_the_code_is_live_and_kept_out_by_keras_too(files: list[Path]) -> None:
    """Keras runs it when told that it may, and none of it in its safe mode.

    But for packages that it imports by itself, such as keras_hub: not even the newest looks where
    they are from.
    """
    import keras

    skipped = ("_bare.h5", "keras_", "class_", "loss_", "lambda_keras")
    for path in files:
        if not any(part in path.name for part in skipped):
            with contextlib.suppress(Exception):  # Keras raises anything here
                keras.saving.load_model(path)
    assert not ran()

    model = keras.saving.load_model("lambda.keras", safe_mode=False)
    model(keras.ops.zeros((1, 8, 8, 1)))
    assert ran()
    Path("RAN").unlink()


@pytest.mark.safety
def test_a_suffix_that_says_something_else(examples: Path, tmp_path: Path) -> None:
    """What is looked at is what Keras would read, which goes by the suffix."""
    for source, suffix in (
        (".keras", ".h5"),
        (".h5", ".keras"),
        (".h5", ".H5"),
        (".keras", ".zip"),
    ):
        path = tmp_path / f"model{suffix}"
        path.write_bytes((examples / f"digits_cnn{source}").read_bytes())
        assert open_model(path).parameters
        with pytest.raises(TrainingError, match="Keras goes by the suffix"):
            open_for_keras(path)
        path.unlink()


@pytest.mark.safety
@pytest.mark.keras
def test_what_the_caller_registered_is_loaded(
    kinds: Any, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers and functions of the caller's own work; that they are there opens no door to others."""
    import keras

    import lrcompress

    monkeypatch.chdir(tmp_path)
    package = "lrcompress_safety"

    @keras.saving.register_keras_serializable(package)
    class Own(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 1 * x

    @keras.saving.register_keras_serializable(package)
    def own(x: Any) -> Any:
        return keras.ops.relu(x)

    base = keras.saving.load_model(examples / "digits_cnn.keras")
    added = [Own(), keras.layers.Activation(own), keras.layers.Lambda(own)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *base.layers[:-1], *added, base.layers[-1]])
    model.compile("adam", "categorical_crossentropy")
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"own{suffix}"
        model.save(path)
        result = lrcompress.evaluate([path], dataset="digits", scaling="/16")[0]
        assert result.error_rate is not None

    name = f"{package}>own"
    for module in ("keras.utils", "os"):
        trick = {
            "class_name": "function",
            "module": module,
            "config": "get_file",
            "registered_name": name,
        }
        layer = kinds._layer("Lambda", function=trick)
        kinds.write_layer(examples / "digits_cnn.keras", tmp_path / "trick.keras", layer)
        with pytest.raises(TrainingError):
            open_for_keras(tmp_path / "trick.keras")
    layer = kinds._bare(kinds._layer("deserialize")) | {"registered_name": name}
    kinds.write_layer(examples / "digits_cnn.h5", tmp_path / "trick.h5", layer)
    with pytest.raises(TrainingError, match="makes objects of any text"):
        open_for_keras(tmp_path / "trick.h5")


@pytest.mark.safety
@pytest.mark.keras
def test_a_teacher_that_holds_code(files: list[Path]) -> None:
    """`finetune` does without an original that Keras must not see, and says why."""
    from lrcompress.verbs.finetune import load_teacher

    for name in ("lambda.keras", "lambda_bare.h5", "hdf5_first.keras", "pickle.keras"):
        path = Path(name)
        stage = {"sha256": sha256(path), "bytes": path.stat().st_size}
        teacher, warnings = load_teacher(path, stage)

        assert teacher is None
        assert name in warnings[0]
        assert warnings[0].endswith("Fine-tuned on labels alone.")
    assert not ran()


def test_real_files_are_no_code(zoo: Path) -> None:
    """What people publish passes, but for Lambdas with byte code and classes of their own."""
    refused: dict[str, list[str]] = {"holds_code": [], "keras_cannot_load": []}
    passed = 0
    for path in sorted(zoo.iterdir()):
        try:
            model = open_model(path)
        except LRCompressError:
            continue
        try:
            check_loadable(model)
            passed += 1
        except TrainingError as error:
            refused[error.code].append(path.name)
    assert passed > 70
    assert len(refused["holds_code"]) < 8
    assert len(refused["keras_cannot_load"]) < 6


@pytest.mark.safety
def test_versions_of_keras() -> None:
    """Those that do not keep their own safe mode are refused, as pyproject.toml leaves them out."""
    from packaging.requirements import Requirement

    from lrcompress.live.storing import check_version

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = Requirement(
        next(line for line in text.splitlines() if '"keras>=' in line).strip(' ",')
    )
    for version in (
        "3.6.0", "3.8.0", "3.10.0", "3.11.3", "3.12.0", "3.12.1", "3.12.3", "3.12.4", "3.12.5", "3.13.2",
        "3.14.1", "3.15.0", "3.15.1", "3.16.0", "4.0.0",
    ):  # fmt: skip
        if wanted.specifier.contains(version):
            check_version(version)
            continue
        with pytest.raises(TrainingError, match=r"expected 3\.12\.4") as error:
            check_version(version)
        assert error.value.code == "unsafe_keras"
    check_version("3.16.0.dev202611300000")


def test_the_walk_over_a_config_is_linear(examples: Path, kinds: Any, tmp_path: Path) -> None:
    """A config of very many objects is looked through once."""
    layer = kinds._dense(junk=[{"class_name": "x", "config": {}}] * 100_000)
    kinds.write_layer(examples / "digits_cnn.keras", tmp_path / "big.keras", layer)

    assert json.dumps(open_for_keras(tmp_path / "big.keras").config)


@pytest.mark.parametrize(
    ("module", "name", "held"),
    [
        ("keras.src.backend.torch.optimizers.torch_adam", "Adam", False),
        ("keras.src.backend.torch.optimizers.torch_adam", "torch", True),
        ("keras.src.backend.torch.core", "Adam", True),
    ],
)
def test_optimizers_under_pytorch(
    module: str, name: str, held: bool, examples: Path, tmp_path: Path
) -> None:
    """They say that they are from Keras' own files for PyTorch; nothing else from there passes."""
    with zipfile.ZipFile(examples / "digits_cnn.keras") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    config = json.loads(members["config.json"])
    config["compile_config"]["optimizer"] = {
        "module": module, "class_name": name, "config": {}, "registered_name": name,
    }  # fmt: skip
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "torch.keras", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)

    with pytest.raises(TrainingError) if held else contextlib.nullcontext():
        check_loadable(open_model(tmp_path / "torch.keras"))

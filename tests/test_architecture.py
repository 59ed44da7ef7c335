"""The doors between the rooms, and what a light command may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import lrcompress
from lrcompress.lowrank import METHODS
from lrcompress.runtimes import TARGETS

PACKAGE = Path(lrcompress.__file__).parent
ENGINES = {"keras", "tensorflow", "jax", "torch"}
# These any room but the three of pure arrays may import.
FOUNDATIONS = {"errors", "events", "files"}
# Room to (rooms of ours, other packages) that it may import; the standard library is free.
DOORS: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "events": ({"errors"}, set()),
    "files": ({"errors"}, {"filelock"}),
    "records": ({"errors", "events", "files"}, {"msgspec"}),
    "lowrank": ({"errors", "events"}, {"numpy", "scipy", "threadpoolctl"}),
    "kinds": ({"errors", "lowrank"}, {"numpy"}),
    "measure": ({"errors"}, {"numpy", "scipy"}),
    "data": (FOUNDATIONS | {"kinds", "measure", "records"}, {"numpy", "PIL"}),
    "modelfile": (FOUNDATIONS | {"kinds", "records"}, {"numpy", "h5py"}),
    "compression": (FOUNDATIONS | {"kinds", "lowrank", "measure", "modelfile", "records"}, {"numpy"}),
    "live": (
        FOUNDATIONS | {"compression", "data", "kinds", "lowrank", "measure", "modelfile", "records"},
        {"numpy", "scipy", "h5py", "keras", "absl"},
    ),
    "train": (FOUNDATIONS | {"data", "live", "lowrank", "measure", "records"}, {"numpy", "keras", "msgspec"}),
    "runtimes": (FOUNDATIONS | {"data", "kinds", "live", "measure", "modelfile"}, {"numpy", "keras"}),
    "studies": (
        FOUNDATIONS
        | {"compression", "data", "live", "lowrank", "measure", "modelfile", "records", "train"},
        {"numpy", "keras"},
    ),
    "verbs": (
        FOUNDATIONS
        | {"compression", "data", "kinds", "live", "lowrank", "measure", "modelfile", "records",
           "reporting", "runtimes", "studies", "train"},
        {"numpy"},
    ),
    # Of the mathematics, what the registered methods say of themselves.
    "reporting": (FOUNDATIONS | {"lowrank", "records"}, {"rich", "matplotlib", "jinja2"}),
    "cli": (
        # Of data, lowrank and modelfile only what completes words, of runtimes the targets: verbs load
        # more than a Tab should.
        FOUNDATIONS
        | {"data", "live", "lowrank", "modelfile", "records", "reporting", "runtimes", "verbs"},
        {"click", "rich"},
    ),
}  # fmt: skip
# The rooms that load Keras: outside them they are imported inside functions only.
KERAS = {"live", "train", "runtimes", "studies"}
# What stands in those rooms and loads no Keras.
LIGHT = {
    "lrcompress.live.environment",
    "lrcompress.runtimes",
    "lrcompress.studies.request",
}
# Single modules that may import more. Keras downloads data sets, has no data parallelism of its own
# under TensorFlow, and what it exports runs elsewhere; results name the type of factors.
EXCEPTIONS = {
    ("data/named.py", "keras"),
    ("records/results.py", "lowrank"),
    ("live/devices.py", "tensorflow"),
    ("runtimes/litert.py", "ai_edge_litert"),
    ("runtimes/integers.py", "ai_edge_litert"),
    ("runtimes/integers.py", "tensorflow"),
    ("runtimes/litert.py", "tensorflow"),
    ("runtimes/onnx.py", "onnx"),
    ("runtimes/onnx.py", "onnxruntime"),
    ("runtimes/saved_model.py", "tensorflow"),
}


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Return the room a module stands in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """Return (module, line) of every import, wherever it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if node.module == "lrcompress" else str(node.module), node.lineno)
                      for name in names]  # fmt: skip
    return found


def test_rooms_import_only_through_their_doors() -> None:
    """Each imports the rooms and packages that the architecture allows it; the public names name everything."""
    wrong = []
    for path in modules():
        room, place = room_of(path), path.relative_to(PACKAGE).as_posix()
        if room in ("__init__", "__main__"):
            continue
        ours, others = DOORS[room]
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8"))):
            top, *rest = name.split(".")
            if top == "lrcompress":
                fine = not rest or rest[0] in ("__version__", room) or rest[0] in ours
            else:
                fine = top in sys.stdlib_module_names or top in others
            last = rest[0] if top == "lrcompress" and rest else top
            if not fine and (place, last) not in EXCEPTIONS:
                wrong.append(f"{place}, line {line}: {name}")

    assert wrong == []


def test_keras_is_loaded_late() -> None:
    """Outside the rooms of Keras, nothing imports them at module level."""
    wrong = []
    for path in modules():
        if room_of(path) in KERAS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top_level = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        for node in top_level:
            names = [name for name, _ in imported(ast.Module([node], []))]
            wrong += [
                f"{path.relative_to(PACKAGE)}: {name}"
                for name in names
                if name.startswith("lrcompress.")
                and name.split(".")[1] in KERAS
                and name not in LIGHT
            ]

    assert wrong == []


# Runs commands one after the other in one process, and prints after each which engines are loaded.
PROBE = """
import json, sys
from lrcompress.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words, prog_name="lrcompress")
    except SystemExit as exit:
        code = exit.code
    loaded = sorted({name.split(".")[0] for name in sys.modules} & set(%r))
    print("\\nLOADED", json.dumps([words[0], code, loaded]))
"""


def test_light_commands_load_no_engine(tmp_path: Path, examples: Path) -> None:
    """Help, inspect, factorize without data, report and datasets start neither Keras nor TensorFlow."""
    model = str(examples / "digits_cnn.h5")
    commands = [
        ["--help"], ["factorize", "--help"], ["finetune", "--help"], ["train-from-scratch", "--help"],
        ["inspect", model], ["factorize", model, "--rank", "4"], ["report"], ["datasets"], ["doctor"],
    ]  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-c", PROBE % sorted(ENGINES), json.dumps(commands)],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip

    told = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line[:7] == "LOADED "]
    assert [json.loads(line) for line in told] == [[words[0], 0, []] for words in commands]


def test_no_module_and_no_room_grows_too_large() -> None:
    """A module has at most 330 lines and half of them fewer than 140; a folder 16 files beside its door."""
    lines = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in modules())
    folders = Counter(path.parent for path in modules() if path.name != "__init__.py")

    assert lines[-1] <= 330
    assert lines[len(lines) // 2] < 140
    assert [folder.name for folder, files in folders.items() if files > 16] == []


def test_importing_the_package_loads_almost_nothing() -> None:
    """`import lrcompress` loads neither an engine nor NumPy."""
    code = "import sys, lrcompress; print(sorted({'numpy', 'h5py', 'keras', 'click'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


def test_a_target_of_export_is_named_in_its_own_file_alone() -> None:
    """Nobody else knows its name, suffix or packages: choices and messages come from TARGETS."""
    words = {target.name for target in TARGETS.values()}
    for target in TARGETS.values():
        words |= {*target.packages, *filter(None, [target.suffix])}

    found = [
        f"{path.relative_to(PACKAGE)}, line {node.lineno}: {node.value}"
        for path in modules()
        if room_of(path) != "runtimes"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in words
    ]

    assert found == []


def test_nobody_compares_the_name_of_a_method() -> None:
    """What depends on the method is asked of the method; arms of a comparison only share names with them."""
    compared = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if path.parent.name != "methods"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and part.value in set(METHODS)
    }

    assert compared <= {"studies/arms.py"}


def test_public_names_exist() -> None:
    """Every name in `__all__` can be had and has a docstring."""
    for name in lrcompress.__all__:
        assert getattr(lrcompress, name).__doc__, name

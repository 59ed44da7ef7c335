"""The way of a kernel: how much of lrcompress one `factorize --rank 4` runs through, as JSON.

    python benchmarks/way_of_a_kernel.py [MODEL]

Another checkout is measured by putting it first on PYTHONPATH. Counts repeat exactly: modules of
lrcompress that are imported, those of them in which a function runs, openings of the model file,
calls of what builds its architecture, calls of what looks for the head.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
# Functions that build an architecture or look for the head, here and in older checkouts: (module, name).
BUILDERS = {("topology", "build"), ("graph", "build")}
FINDERS = {(module, name) for module in ("find", "finding") for name in ("find_head", "head_paths")}


def measured(model: Path) -> dict[str, Any]:
    """Run the command in this process and count."""
    calls: Counter[tuple[str, str]] = Counter()
    entered: set[str] = set()
    opened: Counter[str] = Counter()
    package = ""

    importing = running = 0

    def on_call(frame: FrameType, event: str, _: object) -> None:
        nonlocal importing, running
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(package):
            return
        step = 1 if event == "call" else -1
        name = (Path(code.co_filename).stem, code.co_name)
        if code.co_name == "<module>":
            importing += step
        elif not importing and step == 1:
            # What runs while modules are imported is no station of a kernel.
            entered.add(code.co_filename)
        if name in BUILDERS:
            # One building of nested models is one.
            calls[name] += step == 1 and not running
            running += step
        elif step == 1:
            calls[name] += 1

    def counting(opener: Callable[..., T]) -> Callable[..., T]:
        def open_counted(file: object, *args: object, **kwargs: object) -> T:
            if isinstance(file, (str, Path)) and Path(file) == model:
                opened[str(file)] += 1
            return opener(file, *args, **kwargs)

        return open_counted

    from lrcompress import __file__ as home
    from lrcompress.cli import main

    package = str(Path(home).parent) + os.sep
    builtins.open = io.open = counting(io.open)
    os.open = counting(os.open)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.setprofile(on_call)
        threading.setprofile(on_call)
        try:
            main(["factorize", str(model), "--rank", "4", "--quiet"], prog_name="lrcompress")
        except SystemExit as end:
            if end.code:
                raise
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
            os.chdir(ROOT)
    imported = sorted(name for name in sys.modules if name.split(".")[0] == "lrcompress")
    return {
        "model": model.name,
        "modules_imported": len(imported),
        "modules_entered": len(entered),
        "openings_of_the_input": sum(opened.values()),
        "architectures_built": sum(calls[key] for key in BUILDERS),
        "searches_for_the_head": sum(calls[key] for key in FINDERS),
        "imported": imported,
        "entered": sorted(Path(name).relative_to(package).as_posix() for name in entered),
    }


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "digits_cnn.keras"
    said = io.StringIO()
    stdout, sys.stdout = sys.stdout, said
    found = measured(chosen.absolute())
    sys.stdout = stdout
    print(json.dumps(found, indent=1))

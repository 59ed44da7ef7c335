"""Names of layers, files and data sets that would drive a terminal, through every command on one."""

from __future__ import annotations

import json
import os
import pty
import select
import sys
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

MODEL = Path(__file__).parents[2] / "examples" / "digits_cnn.keras"
# A title and a colour; their one-byte forms; text turned round; a second line; markup.
NAMES = (
    "\x1b]0;TITLE\x07\x1b[31mred",
    "\x9b31m\x9d0;TITLE\x9c",
    "\u202egnp.exe",
    "a\r\nError: b",
    "[red]a[/red]\x08",
)
SECONDS = 300


def attack(work: Path, count: int | None) -> dict[str, int]:
    """Run every command on a terminal with each kind of name; see the package."""
    counts = {"commands": 0, "names_shown": 0, "bad_sequences": 0, "bad_tracebacks": 0}
    for number, name in enumerate(NAMES):
        folder = work / str(number)
        folder.mkdir()
        _renamed(folder / "named.keras", name)
        for words in commands(name):
            if counts["commands"] == count:
                return counts
            seen = on_a_terminal(words, folder)
            counts["commands"] += 1
            counts["names_shown"] += ascii(name)[1:5].encode() in seen
            counts["bad_sequences"] += bool(drives(seen, name))
            counts["bad_tracebacks"] += b"Traceback" in seen
    return counts


def commands(name: str) -> Iterator[list[str]]:
    """Yield the commands, each after those that write what it reads."""
    data = ["--dataset", "digits", "--scaling", "/16"]
    model, file = "named.keras", f"{name.replace('/', '')}.keras"
    yield ["inspect", model]
    yield ["inspect", model, "--json"]
    yield ["inspect", model, "--layer", "nosuch"]
    yield ["inspect", model, "--layer", name]
    yield ["inspect", file]
    yield ["inspect", file, "--json"]
    yield [name]
    yield ["inspect", model, f"--{name}"]
    yield ["factorize", model, "--rank", "4", "-o", "small.keras"]
    yield ["factorize", model, "--rank", "4", "-o", "small.keras"]
    yield ["factorize", model, "--rank", "4", "-o", file]
    yield ["factorize", model, "--rank", "4", "-o", "json.keras", "--json"]
    yield ["factorize", model, "--rank", "400", "-o", "no.keras"]
    yield ["factorize", model, "--rank", "4", "-o", "data.keras", *data]
    yield ["factorize", model, "--layers", "dense", "-o", "all.keras"]
    yield ["sweep", model]
    yield ["sweep", model, "--json"]
    yield ["sweep", model, *data, "--ranks", "2,4", "--plot", "sweep.png"]
    yield ["finetune", "small.keras", "--epochs", "1", *data]
    yield ["finetune", "small.keras", "--dataset", name]
    yield ["finetune", "--run", f"{name.replace('/', '')}.lrcompress.json"]
    yield ["report"]
    yield ["report", "--json"]
    yield ["report", "--format", "markdown"]
    yield ["report", "--format", "html"]
    yield ["report", "--format", "csv"]
    yield ["report", file]
    yield ["report", "small.lrcompress.json", "-o", f"{name.replace('/', '')}.html"]
    yield ["evaluate", model, *data]
    yield ["evaluate", model, "small.keras", *data, "--json"]
    yield ["evaluate", model, "--dataset", f"{name}.npz"]
    yield ["evaluate", model, "--dataset", "digits", "--data-dir", name]
    yield ["evaluate", model, "--dataset", "digits", "--scaling", name]
    yield ["benchmark", model, "--seconds", "0", "--batch-sizes", "1"]
    yield ["export", model, "--format", "saved-model", "-o", "exported", *data]
    yield ["modernize", model, "-o", "modern.keras"]
    yield ["merge", "small.keras", "-o", "merged.keras"]
    yield ["datasets", "--data-dir", name]


def _renamed(path: Path, name: str) -> None:
    """Write the example with another name for its last layer."""
    with zipfile.ZipFile(MODEL) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "config.json":
                own = json.loads(content)["config"]["layers"][-1]["config"]["name"]
                content = content.replace(json.dumps(own).encode(), json.dumps(name).encode())
            new.writestr(member, content)


def on_a_terminal(words: list[str], folder: Path) -> bytes:
    """Return what a command writes to a terminal of its own."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "lrcompress", *words])
    seen, end = b"", time.monotonic() + SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
    else:
        os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(terminal)
    return seen


def drives(seen: bytes, name: str) -> bool:
    """Tell whether the name came through, or a character that only a stranger would send.

    The colours and bars of lrcompress are sequences too, of its own; a title is none of them.
    """
    text = seen.decode("utf-8", "replace")
    strange = {c for c in text if unicodedata.category(c)[0] == "C"} - set("\n\r\t\x1b")
    return name in text or bool(strange) or "\x1b]" in text or "\nError: b" in text

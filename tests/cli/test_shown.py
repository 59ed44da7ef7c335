"""What strangers named (layers, files, data sets) reaches the terminal, a page or a figure as text alone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from lrcompress.cli import console
from lrcompress.cli.commands import merge
from lrcompress.errors import printable

EVIL = "\x1b]0;TITLE\x07\x9b31m\u202e[red]a\r\nb\x7f\udcff"
KEPT = "größe λ 日本\N{NO-BREAK SPACE}%"


def raw(text: str) -> set[str]:
    """Return the characters of an output that drive a terminal; lines and tabs are its layout."""
    return {c for c in text if unicodedata.category(c)[0] == "C"} - set("\n\t")


@pytest.fixture
def named(examples: Path, tmp_path: Path) -> Path:
    """Return a model whose last layer a stranger named."""
    path = tmp_path / "named.keras"
    with zipfile.ZipFile(examples / "digits_cnn.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            if name == "config.json":
                config = json.loads(member)
                own = config["config"]["layers"][-1]["config"]["name"]
                member = member.replace(json.dumps(own).encode(), json.dumps(EVIL[:-1]).encode())
            new.writestr(name, member)
    return path


def test_what_drives_a_terminal_is_spelt_out() -> None:
    """On one line, and nothing else changes."""
    assert not raw(printable(EVIL))
    assert "\n" not in printable(EVIL)
    assert printable("\x1b[31m") == r"\x1b[31m"
    assert printable(KEPT) == KEPT


def test_no_command_passes_a_name_on(run: Callable[..., Result], named: Path) -> None:
    """Names of layers, of files and of data sets, in results, errors and JSON."""
    wrong = EVIL[:-1].replace("\n", "")
    for words in (
        ["inspect", named], ["inspect", named, "--json"], ["inspect", named, "--layer", wrong],
        ["inspect", wrong], ["inspect", wrong, "--json"], [wrong], ["inspect", named, f"--{wrong}"],
        ["factorize", named, "--rank", 4, "-o", "out.keras"], ["report"], ["report", "--json"],
        ["report", "--format", "markdown"], ["report", "--format", "html"], ["report", "--format", "csv"],
        ["factorize", named, "--rank", 4, "-o", f"{wrong}.keras"], ["sweep", named, "--ranks", "4", "--json"],
        ["evaluate", named, "--dataset", f"{wrong}.npz"], ["sweep", named, "--ranks", "4", "--plot", "p.svg"],
        ["finetune", named, "--dataset", wrong], ["datasets", "--data-dir", wrong],
        ["modernize", named, "-o", "new.keras"], ["merge", named], ["export", named, "-o", wrong],
    ):  # fmt: skip
        result = run(*words)

        assert not raw(result.output), words
        assert not raw(result.stderr), words
        if "--json" in words:
            json.loads(result.stdout)


def test_a_name_makes_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Above a table: what stands behind a line break in it would pass for something we say."""
    layer = {"path": EVIL[:-1], "kernel_shape": [256, 10], "rank": 4}
    layer |= {"first_name": "first", "first_names": ["first"], "class_name": "Dense"}
    sizes = dict.fromkeys(("parameters_before", "parameters_after"), 1)
    whole = dict.fromkeys(("bytes_before", "bytes_after", "optimizer_bytes"), 0)

    console.show(merge.render({"layers": 2 * [layer | sizes], "output": "m", **sizes, **whole}))

    title = f"{printable(EVIL[:-1])}: Dense 256 x 4 x 10 -> 256 x 10"
    assert capsys.readouterr().out.splitlines()[:2] == [title, title]


def test_markup_of_a_name_is_text(run: Callable[..., Result], named: Path) -> None:
    """Rich would draw [red] and leave it out."""
    assert "[red]a" in run("inspect", named).stdout


def test_markdown_makes_nothing_live() -> None:
    """No person is told, no issue named and no page linked by the name of a layer."""
    from lrcompress.reporting.markdown import plain

    assert plain("@root") == "@&#8203;root"
    assert plain("https://a.b/c#1") == "https:&#8203;//a.b/c\\#&#8203;1"
    assert plain("WWW.a.b or me@a.b") == "WWW.&#8203;a.b or me@&#8203;a.b"
    assert plain("a [b](c) <i>|`x`") == "a \\[b\\](c) \\<i\\>\\|\\`x\\`"


def test_json_keeps_the_name(run: Callable[..., Result], named: Path) -> None:
    """Escaped as JSON does, so that a script reads what the file says."""
    document = json.loads(run("inspect", named, "--json").stdout)

    assert document["layers"][-1]["path"] == EVIL[:-1]


def test_what_libraries_print_is_escaped() -> None:
    """Warnings and prints of Keras go by the same stream."""
    stream = io.StringIO()
    escaped: Any = console.Escaping(stream)

    print(f"a layer {EVIL[:-1]}\n\tnext {KEPT}", file=escaped)

    assert not raw(stream.getvalue())
    assert stream.getvalue().endswith(f"\n\tnext {KEPT}\n")


def test_the_streams_come_back(run: Callable[..., Result]) -> None:
    """Who calls the command from Python keeps the own stdout."""
    before = sys.stdout, sys.stderr

    run("datasets")

    assert (sys.stdout, sys.stderr) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_device_is_one_line(examples: Path) -> None:
    """Nothing more is to be had, and it is no traceback."""
    for words in (["inspect", str(examples / "digits_cnn.keras")], ["datasets", "--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "lrcompress", *words], stdout=full, stderr=subprocess.PIPE, text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} if "--json" in words else None, check=False,
            )  # fmt: skip

        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "No space left" in done.stderr

"""The habits of a shell: pipes, colours, widths, completion, quiet, suggestions, broken pipes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import BashComplete
from click.testing import Result

from lrcompress.cli import known_commands, main

Run = Callable[..., Result]
ESCAPE = "\x1b"
FIGURE = re.compile(r"\d[\d.,]*\d|\d")


@pytest.fixture
def model(examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example model in the working directory."""
    return Path(shutil.copy(examples / "digits_cnn.h5", tmp_path / "model.h5"))


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what tells a terminal's looks, and with more."""
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TF_CPP_MIN_LOG_LEVEL")
    return {key: value for key, value in os.environ.items() if key not in unwanted} | more


def command(*arguments: Any) -> list[str]:
    """Return what starts a process of the command."""
    return [sys.executable, "-m", "lrcompress", *map(str, arguments)]


def on_terminal(folder: Path, columns: int, *arguments: Any, **more: str) -> str:
    """Return what a command prints on a terminal so many columns wide."""
    pty = pytest.importorskip("pty", reason="a terminal in a test needs a Unix system")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments), cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(**({"TERM": "xterm"} | more)),
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end has gone
            break
        if not block:
            break
        said += block
    os.close(ours)
    assert process.wait() == 0
    # What is drawn over is not there any more.
    return re.sub(r"[^\n]*\r", "", said.decode().replace("\r\n", "\n"))


def test_no_width_hides_a_figure(run: Run, model: Path, tmp_path: Path) -> None:
    """However wide the terminal is, each figure stands there whole, and no line is too long."""
    piped = run("inspect", "model.h5").stdout

    for columns in (40, 60, 80, 200):
        shown = on_terminal(tmp_path, columns, "inspect", "model.h5", NO_COLOR="1")

        # A table in parts says in each what its rows are of, so that ranks stand there several times.
        assert set(FIGURE.findall(shown)) == set(FIGURE.findall(piped))
        # A command that is to be copied stands in one line.
        lines = [line for line in shown.splitlines() if not line.startswith("Next: ")]
        assert max(map(len, lines)) <= columns
        assert ESCAPE not in shown


def test_a_table_keeps_its_figures_at_every_width() -> None:
    """It wraps headers and words, puts intervals below, comes in parts, and at last goes row by row."""
    from rich.console import Console

    from lrcompress.reporting.tables import table

    columns = ["arm", "test error", "against full rank", "parameters", "saved", "file", "saved"]
    rows = [
        ["full rank", "0.81 % [0.65, 1.01]", "-", "1,199,882", "-", "9.60 MB", "-"],
        ["SVD, nothing trained", "12.34 % [11.70, 13.00]", "+11.53 pt [+10.90, +12.16]",
         "1,192,042", "0.65 %", "9.54 MB", "0.66 %"],
    ]  # fmt: skip
    forms = []
    for width in range(16, 130):
        console = Console(width=width, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(table("Comparison", columns, rows))
        text = capture.get()
        rules = len(re.findall("─+", text))

        assert sorted(FIGURE.findall(text)) == sorted(FIGURE.findall(str(rows))), width
        assert max(map(len, text.splitlines())) <= width
        # Whose share was saved is told by the column before.
        told = [" ".join(pair.split()) for pair in re.findall(r"(?:parameters|file) +saved", text)]
        assert rules == 0 or told == ["parameters saved", "file saved"]
        forms.append((rules, rules == 1 and "12.34 % [11.70" in text))

    # Row by row; in parts; as one with intervals below their figures; as it is.
    ordered = list(dict.fromkeys(forms))
    assert ordered[0] == (0, False)
    parts = [rules for rules, _ in ordered[1:]]
    assert parts == sorted(parts, reverse=True)
    assert ordered[-2:] == [(1, False), (1, True)]


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"TERM": "dumb"}, False)])
def test_colours(model: Path, tmp_path: Path, more: dict[str, str], coloured: bool) -> None:
    """A terminal gets bold titles and a bar, unless its kind forbids it, or NO_COLOR, as above."""
    said = on_terminal(tmp_path, 80, "inspect", "model.h5", **more)

    assert (ESCAPE in said) is coloured


def test_a_pipe_gets_plain_lines(model: Path, tmp_path: Path) -> None:
    """Nothing is wrapped, cut or coloured in a pipe, whatever the environment wishes."""
    name = "long_name_" * 30
    renamed = tmp_path / f"{name[:150]}.h5"
    model.rename(renamed)

    done = subprocess.run(
        command("factorize", renamed.name, "--rank", 4), cwd=tmp_path, check=True, text=True,
        capture_output=True, env=environment(FORCE_COLOR="1", COLUMNS="40", TERM="xterm-256color"),
    )  # fmt: skip

    assert ESCAPE not in done.stdout + done.stderr
    assert f"wrote {name[:150]}-rank4.h5\n" in done.stdout
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []


def test_an_encoding_without_the_signs(model: Path, tmp_path: Path) -> None:
    """Where the encoding of stdout lacks signs, tables do without and names are escaped."""
    model.rename(tmp_path / "λ.h5")
    for words in (["inspect", "λ.h5"], ["inspect", "λ.h5", "--json"]):
        done = subprocess.run(
            command(*words), cwd=tmp_path, capture_output=True,
            env=environment(PYTHONIOENCODING="latin-1", PYTHONUTF8="1"),
        )  # fmt: skip

        assert done.returncode == 0, done.stderr
        assert b"\\u03bb.h5" in done.stdout


@pytest.mark.parametrize("name", known_commands())
def test_every_command_has_the_same_habits(name: str) -> None:
    """--json, -q/--quiet and -v/--verbose are there, and mean the same."""
    found = main.get_command(main.make_context("lrcompress", [], resilient_parsing=True), name)
    assert found is not None

    options = {option: p.help for p in found.params for option in p.opts if hasattr(p, "help")}

    assert options["-q"] == options["--quiet"] == "No progress and no messages."
    assert options["-v"] == options["--verbose"] == "Show the engine's own messages."
    assert options["--json"] == "Print one JSON document."


# With so few samples that training is short.
ALL = """
import json, pathlib, sys
from lrcompress.cli import main
from lrcompress.data import named
named.BUNDLED = pathlib.Path(sys.argv[2])
for words in json.loads(sys.argv[1]):
    sys.argv = ["lrcompress", *words]
    try:
        main(prog_name="lrcompress")
    except SystemExit as ended:
        print("\\n=== ended", ended.code, flush=True)
"""
# In an order in which each finds what it needs; options before and after the files.
LIGHT = [
    ["inspect", "model.h5", "-q"],
    ["datasets", "-q"],
    ["sweep", "-q", "model.h5"],
    ["factorize", "-q", "model.h5", "--rank", "4"],
    ["report", "-q"],
    ["merge", "model-rank4.h5", "--quiet"],
    ["modernize", "--quiet", "model.h5"],
    ["compress", "-q", "model.h5"],
    ["doctor", "-q"],
]
HEAVY = [
    ["factorize", "model.h5", "--rank", "4", "--dataset", "digits", "-q"],
    ["finetune", "-q", "--scope", "head", "--epochs", "1"],
    ["evaluate", "--dataset", "digits", "-q", "model.h5", "model-rank4.h5"],
    ["benchmark", "--seconds", "0", "--batch-sizes", "1", "-q"],
    ["sweep", "model.h5", "--dataset", "digits", "--ranks", "2", "--plot", "sweep.png", "-q"],
    ["export", "-q", "model-rank4.h5", "--format", "saved-model"],
    ["modernize", "model.h5", "-o", "model.keras", "-q"],
    ["train-from-scratch", "--dataset", "digits", "--ranks", "2", "--epochs", "1", "-q"],
    ["compare", "--dataset", "digits", "--ranks", "2", "--budget", "2", "--finetune-epochs", "1",
     "--arms", "svd,finetuned", "-q"],
]  # fmt: skip


@pytest.mark.parametrize("lines", [LIGHT, pytest.param(HEAVY, marks=pytest.mark.keras)])
def test_quiet_says_nothing(
    model: Path, tenths: Path, tmp_path: Path, lines: list[list[str]]
) -> None:
    """With -q a command that succeeds prints its result, and not a word on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(lines), tenths], cwd=tmp_path, capture_output=True,
        text=True, env=environment(),
    )  # fmt: skip

    assert done.stderr == ""
    results, codes = (
        re.split(r"\n=== ended \w+\n", done.stdout),
        re.findall(r"\n=== ended (\w+)\n", done.stdout),
    )
    assert codes == ["0"] * len(lines)
    assert [line for line, result in zip(lines, results, strict=False) if not result.strip()] == []


def test_quiet_is_tried_with_every_command() -> None:
    """The test above leaves none out."""
    assert {line[0] for line in LIGHT + HEAVY} == set(known_commands())


@pytest.mark.keras
def test_engine_notes_only_with_verbose(model: Path, tmp_path: Path) -> None:
    """Stderr holds lrcompress' own lines; with -v it holds what the engine has to say, too."""
    words = ["evaluate", "model.h5", "--dataset", "digits"]
    usual, verbose = (
        subprocess.run(command(*words, *more), cwd=tmp_path, capture_output=True, text=True,
                       check=True, env=environment())
        for more in ([], ["-v"])
    )  # fmt: skip

    # A busy machine is told every ten seconds that it is still at work.
    said, more = (re.sub(r"(?m)^.* elapsed\n", "", found.stderr) for found in (usual, verbose))
    assert re.fullmatch(r"Starting Keras \.\.\.\nDevice: .*\n(test, model.h5 \.\.\.\n)?", said)
    assert len(more.splitlines()) > len(said.splitlines())
    assert verbose.stdout == usual.stdout


WARNS = """
import logging, sys, warnings
import lrcompress.verbs.inspect as inspecting
whole = inspecting.inspect
def inspect(*args, **options):
    warnings.warn("a library warns")
    logging.getLogger("library").warning("a library logs")
    return whole(*args, **options)
inspecting.inspect = inspect
from lrcompress.cli import main
main(prog_name="lrcompress")
"""


def test_warnings_of_libraries(model: Path, tmp_path: Path) -> None:
    """What libraries warn of and log is shown with -v only."""
    usual, verbose = (
        subprocess.run([sys.executable, "-c", WARNS, "inspect", "model.h5", *more], cwd=tmp_path,
                       capture_output=True, text=True, check=True, env=environment())
        for more in ([], ["-v"])
    )  # fmt: skip

    assert [line.split()[0] for line in usual.stderr.splitlines()] == ["Next:"]
    assert "a library warns" in verbose.stderr
    assert "a library logs" in verbose.stderr
    assert verbose.stdout == usual.stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["factorise", "model.h5"], "factorize"),
        (["factorize", "model.h5", "--rnak", "4"], "--rank"),
        (["factorize", "model.h5", "--rank", "4", "--method", "refind"], "refined"),
        (["factorize", "model.h5", "--rank", "4", "--layer", "predcitions"], "predictions"),
        (["inspect", "model.h5", "--layer", "predcitions"], "predictions"),
        (["sweep", "model.h5", "--method", "svd,centred"], "centered"),
        (["evaluate", "model.h5", "--dataset", "mnits"], "mnist"),
        (["train-from-scratch", "--dataset", "digts"], "digits"),
        (["compare", "--dataset", "digits", "--arms", "svd,finetune"], "finetuned"),
        (["finetune", "--optimizer", "orginal"], "original"),
        (["export", "model.h5", "--format", "onxx"], "onnx"),
        (["report", "--format", "markdwon"], "markdown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_suggestions(run: Run, model: Path, words: list[str], meant: str) -> None:
    """A misspelt name of any kind is answered with the one that was meant, in one line."""
    result = run(*words)

    assert result.exit_code in (1, 2)
    # Older releases of Click suggest an option without quotes.
    assert re.search(rf"Did you mean '?{meant}'?\?", result.stderr), result.stderr
    assert [line.startswith("Error: ") for line in result.stderr.splitlines()][-1]


@pytest.mark.keras
@pytest.mark.parametrize("name", ["tensorfow", "jaxx"])
def test_a_backend_that_is_none(model: Path, tmp_path: Path, name: str) -> None:
    """A misspelt backend is told in one line, too."""
    done = subprocess.run(
        command("evaluate", "model.h5", "--dataset", "digits", "-q"), cwd=tmp_path, text=True,
        capture_output=True, env=environment(KERAS_BACKEND=name),
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"backend '{name}', as KERAS_BACKEND says" in done.stderr
    assert "Did you mean '" in done.stderr


def completed(*words: str) -> list[str]:
    """Return what a line completes to; the last word is the one that is being typed."""
    complete = BashComplete(main, {}, "lrcompress", "_LRCOMPRESS_COMPLETE")
    *before, last = words
    return [
        "FILE" if item.type == "file" else item.value
        for item in complete.get_completions(before, last)
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["fac"], ["factorize"]),
        (["factorize", ""], ["FILE"]),
        (["inspect", "model.h5", "--lay"], ["--layer"]),
        (["factorize", "model.h5", "--method", "re"], ["refined"]),
        (["evaluate", "model.h5", "--dataset", "mn"], ["FILE", "mnist"]),
        (["train-from-scratch", "--dataset", "cif"], ["FILE", "cifar10", "cifar100"]),
        (["sweep", "model.h5", "--scaling", "st"], ["standardized", "standardized-columns"]),
        (["sweep", "model.h5", "--method", "svd,re"], ["svd,refined"]),
        (["compare", "--arms", "svd,fu"], ["svd,full", "svd,full-finetuned"]),
        (["inspect", "model.h5", "--layer", ""], ["dense", "predictions"]),
        (["factorize", "model.h5", "--rank", "4", "--layer", "pre"], ["predictions"]),
        (["merge", "--layer", "pre"], []),
        (["inspect", "gone.h5", "--layer", ""], []),
        (["inspect", "notes.h5", "--layer", ""], []),
        (["no-command", ""], list(known_commands())),
    ],
    ids=" ".join,
)
def test_completion(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    words: list[str], found: list[str],
) -> None:  # fmt: skip
    """Commands, options, names, files, and the layers of the file on the line; never a message."""
    monkeypatch.chdir(model.parent)
    (model.parent / "notes.h5").write_text("no model", encoding="utf-8")

    assert completed(*words) == found
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", known_commands())
def test_every_option_is_explained_as_it_is_completed(name: str) -> None:
    """What `--help` says of an option, zsh and fish show beside it."""
    found = BashComplete(main, {}, "lrcompress", "_LRCOMPRESS_COMPLETE").get_completions(
        [name], "--"
    )

    assert len(found) > 3
    assert [item.value for item in found if not item.help] == []


def test_completing_loads_little(tmp_path: Path) -> None:
    """A Tab waits for no NumPy where no file must be opened."""
    probe = (
        "import sys, atexit; "
        "atexit.register(lambda: print(sorted({'numpy', 'h5py', 'keras', 'rich'} & set(sys.modules)))); "
        "from lrcompress.cli import main; main(prog_name='lrcompress')"
    )
    for line in ("lrcompress ", "lrcompress finetune --", "lrcompress evaluate --dataset "):
        number = str(len(line.split(" ")) - 1)
        done = subprocess.run(
            [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True,
            env=environment(_LRCOMPRESS_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=number),
        )  # fmt: skip

        assert done.stdout.splitlines()[-1] == "[]"
        assert len(done.stdout.splitlines()) > 2
        assert done.stderr == ""


SHELLS = {
    "bash": (
        'eval "$(_LRCOMPRESS_COMPLETE=bash_source lrcompress)"; COMP_WORDS=(lrcompress fac) COMP_CWORD=1; '
        '_lrcompress_completion lrcompress 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    ),
    "zsh": (
        'compdef() { :; }; eval "$(_LRCOMPRESS_COMPLETE=zsh_source lrcompress)"; '
        'compadd() { print -- "$@"; }; _describe() { print -- ${(P)3}; }; '
        "words=(lrcompress fac) CURRENT=2; _lrcompress_completion"
    ),
    "fish": ("_LRCOMPRESS_COMPLETE=fish_source lrcompress | source; complete -C 'lrcompress fac'"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_in_the_shell(shell: str, tmp_path: Path) -> None:
    """The line of the documentation makes the shell complete a command."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    scripts = Path(sys.executable).parent
    if not (scripts / "lrcompress").exists():
        pytest.skip("the command is not installed beside this Python")

    done = subprocess.run(
        [shell, "-c", SHELLS[shell]], cwd=tmp_path, capture_output=True, text=True,
        env=environment(PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}", HOME=str(tmp_path)),
    )  # fmt: skip

    assert "factorize" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "words", [["inspect", "model.h5"], ["inspect", "model.h5", "--json"], ["--help"]]
)
def test_a_reader_that_goes_away(model: Path, tmp_path: Path, words: list[str]) -> None:
    """`| head` may end first: no traceback, and exit code 1 for what was not said."""
    ours, theirs = os.pipe()
    os.close(ours)

    done = subprocess.run(
        command(*words), cwd=tmp_path, stdout=theirs, stderr=subprocess.PIPE, env=environment()
    )

    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix closes the streams")
@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_closed_streams(model: Path, tmp_path: Path, closed: str, code: int) -> None:
    """A job without stdout or stderr does its work, and its model is whole."""
    line = " ".join(command("factorize", "model.h5", "--rank", 4))

    done = subprocess.run(["sh", "-c", f"{line} {closed}"], cwd=tmp_path, env=environment())

    assert done.returncode == code
    assert (tmp_path / "model-rank4.h5").stat().st_size > 100_000


def test_control_c(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C ends a command in one line, with exit code 1."""
    from lrcompress.verbs import inspect

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "inspect", interrupted)

    result = run("inspect", "model.h5")

    assert result.exit_code == 1
    assert result.stderr.strip() == "Error: Interrupted; no unfinished file was left behind."

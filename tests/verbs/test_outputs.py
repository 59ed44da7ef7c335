"""Outputs take no other's place, survive each other, and what killed runs leave goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import LRCompressError, OutputError
from lrcompress.files import (
    check_output,
    check_output_folder,
    replacing,
    replacing_folder,
    together,
)
from lrcompress.records import runs
from lrcompress.runtimes import TARGETS

beside_saved_model = TARGETS["saved-model"].beside
posix = pytest.mark.skipif(os.name != "posix", reason="modes, pipes and signals")
Run = Callable[..., Result]


@pytest.fixture
def model(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the example, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(examples / "digits_cnn.keras", "model.keras"))


def names(folder: Path | str = ".") -> list[str]:
    """Return the names in a folder, hidden ones too."""
    return sorted(path.name for path in Path(folder).iterdir())


def killed(body: Callable[[], Any]) -> None:
    """Run a body in a fork that kills itself at its end."""
    child = os.fork()
    if child == 0:
        body()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def saved_model(folder: Path, text: str = "old") -> Path:
    """Make a folder that passes for a SavedModel."""
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.index"):
        (folder / name).write_text(text)
    return folder


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """The one that finishes first has the place; the other leaves nothing."""
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match="already exists"), replacing(path) as temporary:
        temporary.write_text("late")
        path.write_text("early")

    assert path.read_text() == "early"
    assert names(tmp_path) == ["a.txt"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system knows none, nothing is replaced either."""

    def link(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    for text in ("first", "second"):
        try:
            with replacing(tmp_path / "a.txt") as temporary:
                temporary.write_text(text)
        except OutputError as error:
            assert error.code == "output_exists"

    assert (tmp_path / "a.txt").read_text() == "first"


def test_a_pair_appears_together_or_not_at_all(tmp_path: Path) -> None:
    """Where the second cannot be put in its place, the first goes again."""
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(OutputError, match="already exists"), together(first, second):
        for path in (first, second):
            with replacing(path):
                pass
        assert not first.exists()
        second.write_text("mine")

    assert names(tmp_path) == ["second"]


@posix
def test_signal_between_model_and_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C between the two waits for the second."""
    first, second = tmp_path / "first", tmp_path / "second"
    link = os.link

    def linked(source: Path, target: Path) -> None:
        link(source, target)
        if target == first:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "link", linked)
    # A shell has what it runs in the background ignore Control-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), together(first, second):
            for path in (first, second):
                with replacing(path):
                    pass
    finally:
        signal.signal(signal.SIGINT, before)

    assert names(tmp_path) == ["first", "second"]


@posix
def test_what_a_killed_run_left_goes(tmp_path: Path) -> None:
    """What is in use stays, what is abandoned goes, and another's folder is not followed."""

    def work() -> None:
        place = replacing(tmp_path / "a.txt")
        place.__enter__().write_text("half")
        globals()["kept"] = place

    killed(work)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("notes")
    (tmp_path / ".lrcompress-link.partial").symlink_to("mine")
    with replacing(tmp_path / "b.txt"):
        in_use = {p.name for p in tmp_path.glob(".lrcompress-*") if not p.is_symlink()}
        assert len(in_use) == 1
        check_output(tmp_path / "c.txt")
        assert in_use <= set(names(tmp_path))

    assert (tmp_path / "mine" / "notes").read_text() == "notes"
    assert names(tmp_path) == [".lrcompress-link.partial", "b.txt", "mine"]


@posix
@pytest.mark.parametrize("name", ["pipe", "/dev/null", "/dev/stdout", "folder"])
def test_only_files_are_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes, devices and folders stay, with --overwrite too."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()

    with pytest.raises(OutputError):
        check_output(Path(name), overwrite=True)
    with pytest.raises(OutputError), replacing(Path(name), overwrite=True):
        pass


@posix
@pytest.mark.parametrize(
    "name", ["n" * 251 + ".keras", "n" * 240 + ".keras", os.fsdecode(b"\xff.keras")]
)
def test_names_that_cannot_be(name: str, model: Path, run: Run) -> None:
    """A name for which there is no file, or no record, is refused before anything is written."""
    result = run("factorize", model, "--rank", "3", "-o", name)

    assert result.exit_code == 1
    assert "cannot be the name of a file" in result.stderr
    assert names() == ["model.keras"]


@posix
def test_long_names_and_foreign_inputs(model: Path, run: Run) -> None:
    """A long name that has a record gets both; an input that is not UTF-8, neither."""
    name = "n" * 214 + ".keras"
    assert run("factorize", model, "--rank", "3", "-o", name).exit_code == 0
    runs.read(runs.record_path(Path(name)))
    assert len(names()) == 3

    source = model.rename(os.fsdecode(b"m\xff.keras"))
    result = run("factorize", source, "--rank", "3", "-o", "out.keras")

    assert result.exit_code == 1
    assert "not UTF-8" in result.stderr
    assert len(names()) == 3


@posix
def test_permissions(model: Path, run: Run) -> None:
    """What is replaced keeps its own; what is made of a private model is private."""
    model.chmod(0o600)
    outputs = (Path("out.keras"), Path("out.lrcompress.json"))
    line = ("factorize", model, "--rank", "3", "-o", outputs[0])

    assert run(*line).exit_code == 0
    assert [stat.S_IMODE(path.stat().st_mode) for path in outputs] == [0o600, 0o600]

    model.chmod(0o644)
    assert run(*line, "--overwrite").exit_code == 0
    assert [stat.S_IMODE(path.stat().st_mode) for path in outputs] == [0o600, 0o600]
    assert run("merge", outputs[0], "-o", "merged.keras").exit_code == 0
    assert stat.S_IMODE(Path("merged.keras").stat().st_mode) == 0o600


def test_orphaned_record(model: Path, run: Run) -> None:
    """A record whose model is gone is replaced with --overwrite only."""
    line = ("factorize", model, "--rank", "3", "-o", "out.keras")
    assert run(*line).exit_code == 0
    Path("out.keras").unlink()
    record = Path("out.lrcompress.json").read_bytes()

    result = run(*line)

    assert result.exit_code == 1
    assert "out.lrcompress.json already exists" in result.stderr
    assert Path("out.lrcompress.json").read_bytes() == record
    assert run(*line, "--overwrite").exit_code == 0


def test_report_is_no_model(model: Path, run: Run) -> None:
    """A report never takes the place of a model, an input, or what has a model's name."""
    assert run("factorize", model, "--rank", "3", "-o", "out.keras").exit_code == 0
    shutil.copy(model, "page.html")
    before = {path: path.read_bytes() for path in Path().iterdir()}

    for name in (model, "out.keras", "out.lrcompress.json", "page.html", "new.h5"):
        line = ("report", "out.lrcompress.json", "--format", "html", "-o", name, "--overwrite")
        assert run(*line).exit_code == 1, name

    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_records_are_extended_side_by_side(model: Path, run: Run) -> None:
    """Two that have read the same record both leave their entry."""
    assert run("factorize", model, "--rank", "3", "-o", "out.keras").exit_code == 0
    read = [runs.read(Path("out.lrcompress.json")) for _ in range(2)]

    for number, record in enumerate(read):
        with runs.updating(record) as (current, _):
            current.document["warnings"].append(f"entry {number}")

    found = json.loads(Path("out.lrcompress.json").read_text())["warnings"]
    assert found[-2:] == ["entry 0", "entry 1"]
    assert not list(Path().glob(".*"))


@pytest.mark.parametrize(
    "stranger", ["model.keras", "notes.txt", "variables/notes.txt", "assets/a", None]
)
def test_only_a_saved_model_is_replaced(stranger: str | None, tmp_path: Path) -> None:
    """A folder that holds anything else stays, whatever it is."""
    folder = saved_model(tmp_path / "sm")
    if stranger is not None:
        (folder / stranger).parent.mkdir(exist_ok=True)
        (folder / stranger).write_text("mine")
        with pytest.raises(OutputError, match="not part of a SavedModel"):
            check_output_folder(folder, beside_saved_model, overwrite=True)
        return
    with replacing_folder(folder, beside_saved_model, overwrite=True) as new:
        saved_model(new / "x")
    assert names(folder) == ["x"]
    assert names(tmp_path) == ["sm"]


@pytest.mark.parametrize("way", ["sm/../sm", "sm/.", "sm/", "link"])
def test_folder_by_other_names(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is called, there is one whole folder in the end; a link is replaced itself."""
    monkeypatch.chdir(tmp_path)
    saved_model(Path("sm"))
    if os.name == "posix":
        Path("link").symlink_to("sm")
    elif way == "link":
        pytest.skip("links")
    path = Path(way)

    check_output_folder(path, beside_saved_model, overwrite=True)
    with replacing_folder(path, beside_saved_model, overwrite=True) as new:
        (new / "saved_model.pb").write_text("new")

    assert (path / "saved_model.pb").read_text() == "new"
    assert Path("sm", "saved_model.pb").read_text() == ("old" if way == "link" else "new")
    assert not list(tmp_path.glob(".*"))


def test_folder_of_an_input_or_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is replaced, by whatever name."""
    folder = saved_model(tmp_path / "sm")
    monkeypatch.chdir(folder)
    for path in (Path(), folder, tmp_path / "sm" / ".." / "sm"):
        with pytest.raises(OutputError, match="current folder"):
            check_output_folder(path, beside_saved_model, overwrite=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="the input"):
        check_output_folder(
            folder, beside_saved_model, inputs=(folder / "fingerprint.pb",), overwrite=True
        )


@posix
def test_killed_between_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old folder is put back by the next that looks."""
    folder, replace = saved_model(tmp_path / "sm"), Path.replace

    def replaced(self: Path, target: Path) -> Path:
        replace(self, target)
        os.kill(os.getpid(), signal.SIGKILL)
        return target

    def work() -> None:
        Path.replace = replaced  # type: ignore[method-assign, assignment]
        with replacing_folder(folder, beside_saved_model, overwrite=True) as new:
            saved_model(new / "x")

    killed(work)
    assert not folder.exists()

    with pytest.raises(OutputError, match="already exists"):
        check_output_folder(folder, beside_saved_model)

    assert (folder / "saved_model.pb").read_text() == "old"
    assert names(tmp_path) == ["sm"]


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_ended_by_a_signal(name: str, model: Path) -> None:
    """Nothing is left, and the exit status tells the signal; while it works."""
    # Under nohup, whose children are to live on, SIGHUP is ignored from the start.
    default = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    program = (
        f"import signal, sys, time; signal.signal(signal.{name}, signal.{default})\n"
        "from lrcompress.modelfile.rewrite import write\n"
        "def wait(*arguments): print('now', flush=True); time.sleep(60)\n"
        "write.write_model = wait\n"
        "from lrcompress.cli import main\n"
        "sys.argv[1:] = ['factorize', 'model.keras', '--rank', '3', '-o', 'out.keras', '-q']\n"
        "main()\n"
    )
    Path("temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"TMPDIR": "temporary"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"

    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)

    assert process.returncode == (1 if name == "SIGINT" else 128 + getattr(signal, name))
    assert said.strip() == "Error: Interrupted; no unfinished file was left behind."
    assert names() == ["model.keras", "temporary"]
    assert names("temporary") == []


@posix
def test_pipes_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in the place of a file of data, a record or results is refused at once."""
    monkeypatch.chdir(tmp_path)
    for name in ("pipe.npz", "pipe.lrcompress.json", "compare.json"):
        os.mkfifo(name)
    from lrcompress.data.npz import read_npz
    from lrcompress.files import sha256
    from lrcompress.studies.rows import find_past_runs

    signal.alarm(20)
    try:
        with pytest.raises(LRCompressError, match="not a regular file"):
            read_npz(Path("pipe.npz"), ["x_train"], list)
        with pytest.raises(LRCompressError, match="not a regular file"):
            runs.read(Path("pipe.lrcompress.json"))
        with pytest.raises(LRCompressError):
            find_past_runs([Path()], {}, {})
        with pytest.raises(OSError, match="not a regular file"):
            sha256(Path("pipe.npz"))
    finally:
        signal.alarm(0)


@posix
def test_images_that_are_pipes(tmp_path: Path) -> None:
    """One line, at once."""
    pytest.importorskip("PIL")
    from lrcompress.data.images import read_image_folder

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / "1.png")

    signal.alarm(20)
    try:
        with pytest.raises(LRCompressError):
            read_image_folder(tmp_path, 0)
    finally:
        signal.alarm(0)


@posix
def test_a_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    """A record that names eight terabytes of nothing costs nothing."""
    path = tmp_path / "model.keras"
    with path.open("wb") as file:
        try:
            file.truncate(2**43)
        except OSError:
            pytest.skip("the file system has no such files")

    started = time.process_time()
    assert not runs.intact(path, {"bytes": 100, "sha256": "0" * 64})
    assert time.process_time() - started < 5


def test_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    """A kernel whose products and decompositions BLAS would share out."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((500, 350)).astype(np.float32)
    program = (
        "import sys, hashlib, numpy as np\n"
        "from lrcompress.lowrank import one_blas_thread, truncated_svd\n"
        f"a = np.load({str(tmp_path / 'a.npy')!r})\n"
        "with one_blas_thread():\n"
        "    found = [truncated_svd(a.astype(t), r) for t in ('f4', 'f8') for r in (4, 90, 150)]\n"
        "print(hashlib.sha256(b''.join(f.B.tobytes() + f.C.tobytes() for f in found)).hexdigest())\n"
    )
    np.save(tmp_path / "a.npy", matrix)
    said = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": count, "OMP_NUM_THREADS": count},
        ).stdout
        for count in ("1", "2", "3")
    }  # fmt: skip

    assert len(said) == 1


def test_a_copied_model_takes_no_place(tmp_path: Path) -> None:
    """A comparison that takes rows over copies models, and once only."""
    from lrcompress.studies.rows import copy_model

    source, target = tmp_path / "a.keras", tmp_path / "b.keras"
    source.write_text("model")
    copy_model(source, target)
    copy_model(source, target)
    target.write_text("mine")

    with pytest.raises(OutputError, match="already exists"):
        copy_model(source, target)
    assert target.read_text() == "mine"


@pytest.mark.keras
def test_a_strangers_model_is_not_trained_over(tmp_path: Path) -> None:
    """A file by the name of a row's model that no row speaks of stays."""
    (tmp_path / "digits-rank2.keras").write_text("mine")

    with pytest.raises(OutputError, match="belongs to no row here"):
        lrcompress.train_from_scratch("digits", ranks=[2], epochs=1, output=tmp_path)

    assert (tmp_path / "digits-rank2.keras").read_text() == "mine"


@posix
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 1)])
def test_signal_in_code_made_from_text(name: str, status: int) -> None:
    """Python itself would end by SIGINT, where a module with a data class is being imported."""
    default = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    program = (
        f"import signal; signal.signal(signal.{name}, signal.{default})\n"
        "from lrcompress.files import ended_like_control_c\n"
        "with ended_like_control_c():\n"
        "    try:\n"
        f"        exec('import signal; signal.raise_signal(signal.{name})')\n"
        "    except KeyboardInterrupt:\n"
        "        raise SystemExit(1)\n"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == status

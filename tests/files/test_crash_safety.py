"""Outputs appear whole or not at all and inputs never change: killed, disk full, raced, linked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from lrcompress.errors import OutputError
from lrcompress.files import alone_in, tidy
from lrcompress.modelfile import open_model
from lrcompress.records import runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, links and file modes")

Run = Callable[..., Result]

# Runs the command line once a job, each in a fork of its own, and prints what became of it.
# A job may stop or kill itself before its n-th step, from the moment the first output is begun:
# a step is a call of the system that changes a disk, or any call or return whatsoever.
DRIVER = """
import atexit, json, os, resource, signal, sys, tempfile, threading
from pathlib import Path
# All that a run needs, once: importing it would be most of each job.
import filelock, h5py, msgspec, numpy, rich.console, rich.table, scipy.linalg
import lrcompress.verbs.factorize, lrcompress.cli.commands.factorize
from lrcompress.files import output

CHANGES = ("chmod", "close", "fsync", "link", "open", "rename", "replace", "truncate", "unlink")

def count(job, found):
    written, armed = output._written, False
    def step(frame, event, argument):
        if not armed:
            return
        found["any"] += 1
        name = getattr(argument, "__name__", "")
        system = event == "c_call" and name in CHANGES and (
            argument.__module__ in ("posix", "io", "_io"))
        if system:
            found["system"].append(name)
        if job.get("any") == found["any"] or (
                system and job.get("system") == len(found["system"])):
            sys.setprofile(None)
            os.kill(os.getpid(), getattr(signal, job["signal"]))
    def begin(path):
        # All that is done before an output is begun would be slow with a step at each call.
        nonlocal armed
        armed = True
        sys.setprofile(step)
        return written(path)
    output._written = begin
    threading.setprofile(step)

def watch(job, found):
    path = os.path.realpath(job["watch"])
    same = lambda name: isinstance(name, (str, bytes, os.PathLike)) and (
        os.path.realpath(os.fsdecode(name)) == path)
    def heard(event, arguments):
        if event == "open" and same(arguments[0]):
            found["opened"] += 1
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT):
                found["changed"].append(str(arguments))
        elif event in ("os.remove", "os.rename", "os.truncate", "os.chmod", "os.utime", "os.link"):
            if any(same(argument) for argument in arguments[:2]):
                found["changed"].append(event)
        elif event == "tempfile.mkdtemp" and os.path.isdir("/proc/self/fd"):
            # The input is open now, also in HDF5, whose calls cannot be heard.
            for link in Path("/proc/self/fd").iterdir():
                if link.exists() and os.readlink(link) == path:
                    info = Path("/proc/self/fdinfo", link.name).read_text().split()
                    mode = int(info[info.index("flags:") + 1], 8) & os.O_ACCMODE
                    found["held"].append(mode)
    sys.addaudithook(heard)

def child(job, pipes):
    for number, (_, end) in enumerate(pipes, 1):
        os.dup2(end, number)
    found = {"any": 0, "system": [], "opened": 0, "changed": [], "held": []}
    code = 70
    try:
        if "limit" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"],) * 2)
        if job.get("named"):
            tempfile._O_TMPFILE_WORKS = False
        if "watch" in job:
            watch(job, found)
        if "signal" in job:
            count(job, found)
        lrcompress.cli.main(job["arguments"])
    except SystemExit as end:
        code = end.code
    finally:
        sys.setprofile(None)
        os.write(pipes[2][1], json.dumps(found).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(code or 0)  # taking the interpreter down would take longer than the job

def fill(job):
    # Leaves so many bytes of a file system, and of files the old output alone.
    folder, old = Path(job["folder"]), job.get("old")
    for path in folder.iterdir():
        path.unlink()
    if old:
        (folder / old).write_bytes(b"precious")
    stat = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(stat.f_bavail * stat.f_frsize - job["free"]))

def run(job):
    if "free" in job:
        fill(job)
    pipes = [os.pipe() for _ in range(3)]
    pid = os.fork()
    if pid == 0:
        child(job, pipes)
    for _, end in pipes:
        os.close(end)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    then = None
    if os.WIFSTOPPED(status):
        then = run(job["then"])
        os.kill(pid, signal.SIGCONT)
        status = os.waitpid(pid, 0)[1]
    out, err, found = (open(end, encoding="utf-8").read() for end, _ in pipes)
    left = {p.name: p.read_bytes()[:9].decode("latin-1") for p in Path(job.get("folder", "/none")).glob("*")}
    return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err, "then": then,
            "found": json.loads(found or "null"), "left": left}

print(json.dumps([run(job) for job in json.load(sys.stdin)]))
"""


def drive(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Run jobs one after the other and return what became of each."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps(jobs), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def command(source: Path, output: Path, rank: int = 4) -> list[str]:
    """Return the arguments of a run that replaces `output`."""
    return ["factorize", str(source), "--rank", str(rank), "-o", str(output), "--overwrite", "-q"]


def state(path: Path) -> tuple[bytes, int, int, int]:
    """Return all of a file that a run could change: bytes, time, mode and identity."""
    stat = path.stat()
    return path.read_bytes(), stat.st_mtime_ns, stat.st_mode, stat.st_ino


def one_line(result: dict[str, Any], *words: str) -> None:
    """Check that a run failed with one line and no traceback."""
    lines = result["err"].strip().splitlines()
    assert (result["code"], len(lines), result["out"]) == (1, 1, ""), result
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def interrupted(arguments: list[str], **options: Any) -> list[dict[str, Any]]:
    """Return jobs that are interrupted at all calls of the system, and some anywhere."""
    (result,) = drive({"arguments": arguments, **options})
    assert result["code"] == 0, result
    calls, steps = result["found"]["system"], result["found"]["any"]
    jobs: list[dict[str, Any]] = [
        {"system": number, "call": call, **options} for number, call in enumerate(calls, 1)
    ]
    return jobs + [{"any": step, **options} for step in range(1, steps, steps // 8)]


@pytest.fixture(params=["h5", "keras"])
def model(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the example of either format; afterwards it must be as it was."""
    folder = tmp_path / "input"
    folder.mkdir()
    path = Path(
        shutil.copy(examples / f"digits_cnn.{request.param}", folder / f"model.{request.param}")
    )
    before = state(path)
    yield path
    assert state(path) == before


@pytest.fixture
def wholes(run: Run, model: Path, tmp_path: Path) -> dict[int, Path]:
    """Return the whole outputs of ranks 3 and 4, each with its record in a folder of its own."""
    outputs = {}
    for rank in (3, 4):
        outputs[rank] = tmp_path / f"whole-{rank}" / f"out{model.suffix}"
        outputs[rank].parent.mkdir()
        assert run(*command(model, outputs[rank], rank)).exit_code == 0
        open_model(outputs[rank])
    return outputs


def agreed(output: Path) -> bool:
    """Return whether a record, which must be whole, is that of the model beside it."""
    stage = runs.read(runs.record_path(output)).stage("factorized")
    assert stage is not None
    return bool(stage["sha256"] == runs.sha256(output))


@pytest.mark.parametrize(
    ("model", "before"),
    [("h5", "nothing"), ("h5", "old"), ("keras", "old")],
    indirect=["model"],
)
def test_killed_at_any_moment(
    run: Run, model: Path, wholes: dict[int, Path], tmp_path: Path, before: str
) -> None:
    """The output is the old one or the new one, what is left is hidden, and the next run succeeds."""
    old = {path.name: path.read_bytes() for path in wholes[3].parent.iterdir()}
    old = old if before == "old" else {}
    new = wholes[4].read_bytes()
    jobs = interrupted(command(model, tmp_path / f"first{model.suffix}"), signal="SIGKILL")
    folders = [tmp_path / f"killed-{number}" for number in range(len(jobs))]
    for job, folder in zip(jobs, folders, strict=True):
        folder.mkdir()
        for name, content in old.items():
            (folder / name).write_bytes(content)
        job["arguments"] = command(model, folder / wholes[4].name)

    codes = [result["code"] for result in drive(*jobs)]

    assert set(codes) <= {-9, 0}
    assert codes.count(-9) > 20
    disturbed = []
    for folder in folders:
        output = folder / wholes[4].name
        record = folder / "out.lrcompress.json"
        content = output.read_bytes() if output.exists() else None
        assert content in (old.get(output.name), new)
        # A record never speaks of a model that is not there yet; between the renames of the two
        # it may be missing or be the old one, whose checksum then tells.
        if record.exists() and record.read_bytes() != old.get(record.name):
            assert content == new
            assert agreed(output)
        left = [path for path in folder.iterdir() if path not in (output, record)]
        assert [p for p in left if not re.fullmatch(r"\.lrcompress-.*\.partial", p.name)] == []
        disturbed += [folder] if left else []
    assert disturbed
    for folder in (disturbed[0], disturbed[len(disturbed) // 2], disturbed[-1]):
        assert run(*command(model, folder / wholes[4].name)).exit_code == 0
        assert (folder / wholes[4].name).read_bytes() == new
        assert agreed(folder / wholes[4].name)


def test_interrupted_at_any_moment(model: Path, wholes: dict[int, Path], tmp_path: Path) -> None:
    """Control-C is never taken for a damaged file, and the output is whole or not there."""
    jobs = interrupted(command(model, tmp_path / f"first{model.suffix}"), signal="SIGINT")
    folders = [tmp_path / f"interrupted-{number}" for number in range(len(jobs))]
    for job, folder in zip(jobs, folders, strict=True):
        folder.mkdir()
        job["arguments"] = command(model, folder / wholes[4].name)

    results = drive(*jobs)

    for result, folder in zip(results, folders, strict=True):
        output = folder / wholes[4].name
        if result["code"]:
            one_line(result, "Interrupted")
        assert output.exists() or result["code"]
        assert not output.exists() or output.read_bytes() == wholes[4].read_bytes()


@pytest.mark.parametrize("model", ["keras"], indirect=True)
def test_killed_where_files_need_names(model: Path, tmp_path: Path) -> None:
    """Where the system has no nameless files, what a killed run leaves is hidden too."""
    folder = tmp_path / "killed"
    folder.mkdir()
    arguments = command(model, folder / "out.keras")
    jobs = interrupted(arguments, signal="SIGKILL", named=True)

    results = drive(
        *(job | {"arguments": arguments} for job in jobs if job.get("call") == "unlink")
    )

    assert {result["code"] for result in results} == {-9}

    assert [p.name for p in folder.glob("[!.]*") if not p.name.startswith("out.")] == []


def test_two_processes_one_name(model: Path, wholes: dict[int, Path], tmp_path: Path) -> None:
    """A run that overtakes another where it changes the disk: both succeed, and one of the two is there whole."""
    jobs = interrupted(command(model, tmp_path / f"first{model.suffix}"), signal="SIGSTOP")
    jobs = [job for job in jobs if job.get("call") in ("chmod", "replace", "rename", "unlink")]
    outputs = [tmp_path / f"raced-{number}" / wholes[4].name for number in range(len(jobs))]
    for job, output in zip(jobs, outputs, strict=True):
        output.parent.mkdir()
        job["arguments"] = command(model, output)
        job["then"] = {"arguments": command(model, output, 3)}

    results = drive(*jobs)

    assert [result["code"] for result in results] == [0] * len(jobs)
    assert [result["then"]["code"] for result in results] == [0] * len(jobs)
    for output in outputs:
        assert output.read_bytes() in (wholes[3].read_bytes(), wholes[4].read_bytes())
        assert {p.name for p in output.parent.iterdir()} == {output.name, "out.lrcompress.json"}
        runs.read(output.parent / "out.lrcompress.json")


def test_two_processes_at_once(model: Path, wholes: dict[int, Path], tmp_path: Path) -> None:
    """Two commands started together on one name leave one whole file and one whole record."""
    output = tmp_path / "raced" / wholes[4].name
    output.parent.mkdir()

    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lrcompress", *command(model, output, rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in (3, 4)
    ]
    for process in started:
        process.communicate()

    assert [process.returncode for process in started] == [0, 0]
    assert output.read_bytes() in (wholes[3].read_bytes(), wholes[4].read_bytes())
    assert {p.name for p in output.parent.iterdir()} == {output.name, "out.lrcompress.json"}
    runs.read(output.parent / "out.lrcompress.json")


def test_file_too_large(model: Path, wholes: dict[int, Path], tmp_path: Path) -> None:
    """Where the system stops a file from growing, at any size, one line says so; nothing is left."""
    folder = tmp_path / "limited"
    folder.mkdir()
    arguments = command(model, folder / wholes[4].name)
    size = wholes[4].stat().st_size
    limits = sorted({0, 1, 100, *range(2_000, size - 2_000, 9_000), 180_000})

    results = drive(*({"arguments": arguments, "limit": limit} for limit in limits))

    for result in results:
        one_line(result, f"Cannot write {arguments[5]}", "File too large", "--output")
    assert list(folder.iterdir()) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that is a small file system of its own, which only root can make."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(model: Path, wholes: dict[int, Path], mounted: Path) -> None:
    """On a full disk, whatever was left of it, one line says so; an old output stays as it was."""
    output = mounted / wholes[4].name
    job = {"arguments": command(model, output), "folder": str(mounted)}
    free = range(0, wholes[4].stat().st_size - 8_192, 20_480)

    results = drive(
        *(job | {"free": n, "old": output.name if k % 2 else None} for k, n in enumerate(free))
    )

    for number, result in enumerate(results):
        one_line(result, f"Cannot write {output}", "No space left", "--output")
        del result["left"]["ballast"]
        assert result["left"] == ({output.name: "precious"} if number % 2 else {})


@pytest.mark.parametrize("model", ["h5"], indirect=True)
def test_no_room_for_the_record(model: Path, wholes: dict[int, Path], mounted: Path) -> None:
    """Where the model fits but its record does not, the run fails and leaves neither."""
    output = mounted / wholes[4].name
    page = os.sysconf("SC_PAGE_SIZE")
    free = -(-wholes[4].stat().st_size // page) * page

    (result,) = drive({"arguments": command(model, output), "folder": str(mounted), "free": free})

    one_line(result, "Cannot write", "out.lrcompress.json", "No space left")
    assert set(result["left"]) == {"ballast"}


def test_input_on_a_read_only_disk(run: Run, model: Path, mounted: Path, tmp_path: Path) -> None:
    """A model is read where nobody, not even root, could open it for writing."""
    source = Path(shutil.copy(model, mounted))
    before = state(source)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)

    result = run(*command(source, tmp_path / f"out{model.suffix}"))

    assert result.exit_code == 0
    assert state(source) == before


def test_input_is_opened_for_reading(model: Path, tmp_path: Path) -> None:
    """No call opens the input for writing, renames it or removes it; HDF5 holds it for reading."""
    arguments = command(model, tmp_path / f"out{model.suffix}")

    (result,) = drive({"arguments": arguments, "watch": str(model)})

    assert result["code"] == 0
    assert result["found"]["opened"] > 0
    assert result["found"]["changed"] == []
    assert set(result["found"]["held"]) <= {os.O_RDONLY}
    assert result["found"]["held"] or not Path("/proc/self/fd").is_dir()


def test_read_only_input(run: Run, model: Path, tmp_path: Path) -> None:
    """A file and a folder without write permission are as good an input, and keep their modes."""
    model.chmod(0o444)
    model.parent.chmod(0o555)
    before = state(model)

    result = run(*command(model, tmp_path / f"out{model.suffix}"))

    after = state(model)
    model.parent.chmod(0o755)
    model.chmod(0o644)
    assert result.exit_code == 0
    assert after == before


@pytest.mark.parametrize("way", ["symbolic", "chain", "hard", "dots", "folder", "source", "both"])
def test_output_is_the_input(run: Run, model: Path, tmp_path: Path, way: str) -> None:
    """The input is refused as output by whatever name either of them goes."""
    source, output = model, tmp_path / f"link{model.suffix}"
    if way in ("symbolic", "chain", "both"):
        output.symlink_to(model)
    if way == "chain":
        output = tmp_path / f"chain{model.suffix}"
        output.symlink_to(tmp_path / f"link{model.suffix}")
    elif way == "hard":
        output.hardlink_to(model)
    elif way == "dots":
        output = model.parent / ".." / model.parent.name / model.name
    elif way == "folder":
        (tmp_path / "alias").symlink_to(model.parent)
        output = tmp_path / "alias" / model.name
    elif way == "source":
        source, output = tmp_path / f"source{model.suffix}", model
        source.symlink_to(model)
    elif way == "both":
        source = tmp_path / f"source{model.suffix}"
        source.symlink_to(model)
    before = state(model)

    result = run(*command(source, output))

    assert result.exit_code == 1
    assert "input" in result.stderr
    assert state(model) == before
    assert [p.name for p in tmp_path.rglob("*") if "partial" in p.name or "json" in p.name] == []


def test_input_through_a_link(
    run: Run, model: Path, wholes: dict[int, Path], tmp_path: Path
) -> None:
    """A link to the input does as well as the input, and stays a link."""
    link = tmp_path / f"link{model.suffix}"
    link.symlink_to(model)

    assert run(*command(link, tmp_path / f"out{model.suffix}")).exit_code == 0

    assert link.readlink() == model
    assert (tmp_path / f"out{model.suffix}").read_bytes() == wholes[4].read_bytes()


@pytest.mark.parametrize("exists", [True, False])
def test_output_is_a_link(
    run: Run, model: Path, wholes: dict[int, Path], tmp_path: Path, exists: bool
) -> None:
    """A link is replaced itself; what it led to stays as it was, there or not."""
    other = tmp_path / "other"
    if exists:
        other.write_text("precious")
    output = tmp_path / f"out{model.suffix}"
    output.symlink_to(other)

    assert run(*command(model, output)).exit_code == 0

    assert not output.is_symlink()
    assert output.read_bytes() == wholes[4].read_bytes()
    assert other.exists() == exists
    assert not exists or other.read_text() == "precious"


@pytest.mark.parametrize("way", ["link", "name"])
def test_record_is_the_input(run: Run, model: Path, tmp_path: Path, way: str) -> None:
    """The record does not overwrite the input either, by a link or by an odd name."""
    source = model
    record = tmp_path / "out.lrcompress.json"
    if way == "link":
        record.symlink_to(model)
    else:
        source = Path(shutil.copy(model, record))
    before = state(source)

    result = run(*command(source, tmp_path / f"out{model.suffix}"))

    assert state(source) == before
    assert result.exit_code == (way == "name")
    assert ("the input itself" in result.stderr) == (way == "name")


def test_a_lock_that_cannot_be_made_is_not_tried_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is a link to nowhere, or a current folder that is gone, made every run hang."""
    lock = tmp_path / ".lrcompress-records.partial" / "lock"
    lock.parent.mkdir()
    lock.symlink_to(tmp_path / "nowhere" / "lock")
    tidy(tmp_path)
    with pytest.raises(OutputError, match=r"Too many levels|No such file"), alone_in(tmp_path):
        pass
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(OutputError, match="No such file"), alone_in(Path()):
        pass

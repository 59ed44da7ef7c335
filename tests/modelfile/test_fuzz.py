"""A short slice of benchmarks/fuzz.py: mutated files end compressed or refused in one line."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lrcompress
from lrcompress.errors import LRCompressError

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = [
    pytest.param(EXAMPLES, 150, id="examples"),
    pytest.param(
        Path(os.environ.get("LRCOMPRESS_ZOO") or "."),
        600,
        id="zoo",
        marks=pytest.mark.skipif(
            not os.environ.get("LRCOMPRESS_ZOO"), reason="LRCOMPRESS_ZOO names no folder"
        ),
    ),
]
FUZZ = [sys.executable, str(BENCHMARKS / "fuzz.py")]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the fuzzer bounds memory as Linux does"
)


def fuzz(folder: Path, output: Path, *arguments: str) -> dict[str, Any]:
    """Run the fuzzer and return its figures."""
    command = [*FUZZ, "--files", str(folder), "--output", str(output), *arguments]
    environment = os.environ | {"TMPDIR": str(output.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert output.exists(), done.stderr
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize(("folder", "count"), FOLDERS)
def test_mutated_files_give_no_finding(tmp_path: Path, folder: Path, count: int) -> None:
    """No traceback, no hang, no crash, no memory, nothing left behind, no input changed."""
    found = fuzz(folder, tmp_path / "fuzz.json", "--count", str(count), "--seed", "7")

    assert found["findings"] == []
    assert sum(found["outcomes"].values()) == count
    refused = sum(n for result, n in found["outcomes"].items() if result.startswith("refused"))
    # The slice is worth something: files get through, and files are stopped.
    assert found["outcomes"]["compressed"] > count / 20
    assert refused > count / 20


def test_a_case_is_made_again_from_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed and number decide every byte of a case."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from fuzzing.mutating import make, seed_files

    files = seed_files(EXAMPLES)

    for index in range(20):
        assert make(files, 3, index) == make(files, 3, index)
    assert len({make(files, 3, index).data for index in range(20)}) > 15


@given(data=st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_stack_of_changes_to_a_config_is_survived(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Any
) -> None:
    """The fuzzer's own changes of JSON, in any order and number, on the smallest archive."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from fuzzing import members, texts

    path = make.small_keras()
    stack = data.draw(st.lists(st.sampled_from(sorted(texts.CHANGES)), min_size=1, max_size=4))
    rng = Random(data.draw(st.integers(0, 2**32)))
    (content,) = (c for name, c in members.unpack(path.read_bytes()) if name == members.CONFIG)
    text = content.decode()
    for kind in stack:
        try:
            text = texts.change(rng, copy.copy(text), kind)
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
            break  # nothing left that this change could change
    path.write_bytes(members.edit(path.read_bytes(), members.CONFIG, lambda _: text.encode()))
    output = tmp_path / "out.keras"

    try:
        json.dumps(lrcompress.inspect(path), ensure_ascii=False).encode()
        lrcompress.factorize(path, rank=1, method="svd", force=True, output=output, overwrite=True)
    except LRCompressError as error:
        assert str(error).isprintable()

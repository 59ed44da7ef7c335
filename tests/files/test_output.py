"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrcompress.errors import OutputError
from lrcompress.files import check_output, replacing, write_json


def test_replacing_writes_whole_files(tmp_path: Path) -> None:
    """The file appears with the content, ordinary permissions, and nothing beside it."""
    path = tmp_path / "out.keras"

    with replacing(path) as temporary:
        temporary.write_text("content")
        assert temporary.suffix == ".keras"
        assert not path.exists()

    mask = os.umask(0)
    os.umask(mask)
    assert path.read_text() == "content"
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_replacing_leaves_nothing_of_a_failure(
    tmp_path: Path, problem: type[BaseException]
) -> None:
    """On any exception the old file stays and the new one is gone."""
    path = tmp_path / "out.h5"
    path.write_text("old")

    with pytest.raises(problem), replacing(path) as temporary:
        temporary.write_text("half")
        raise problem

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_in_a_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is named in one line."""
    with (
        pytest.raises(OutputError, match="nowhere") as refused,
        replacing(tmp_path / "nowhere" / "x"),
    ):
        pass

    assert refused.value.code == "output_folder"


def test_json_has_no_nan(tmp_path: Path) -> None:
    """A number that JSON does not have is refused, and no file appears."""
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})

    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    """Folders, inputs, existing files and missing folders are refused with their codes."""
    existing = tmp_path / "existing"
    existing.touch()
    link = tmp_path / "link"
    link.symlink_to(existing)

    def code(path: Path, *, overwrite: bool = False) -> str:
        with pytest.raises(OutputError) as refused:
            check_output(path, inputs=(existing,), overwrite=overwrite)
        return refused.value.code

    assert code(tmp_path) == "output_is_directory"
    assert code(existing, overwrite=True) == "output_is_input"
    assert code(link, overwrite=True) == "output_is_input"
    assert code(tmp_path / "no" / "x") == "output_folder"
    with pytest.raises(OutputError, match="--overwrite"):
        check_output(existing)
    check_output(existing, overwrite=True)

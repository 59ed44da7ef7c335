"""The report as Markdown, JSON, CSV and figures; what the command refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

import lrcompress
from lrcompress.reporting.csv import COLUMNS
from lrcompress.reporting.headline import headline

Run = Callable[..., Result]
DOCS = Path(__file__).parents[2] / "docs" / "report.md"


def test_markdown_is_for_a_pull_request(run: Run, record: Path) -> None:
    """Headline, table, rank, certificate and commands, with as many cells in every row."""
    text = run("report", record, "--format", "markdown").stdout

    assert "**Final layer −47.6 %, model −4.52 %, error 1.00 → 1.50 % (+0.50 ± 1.50 pt)**" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.count(" | ") for row in rows[:5]] == [6] * 5
    assert "| Fine-tuned | 1.50 % (0.75 to 3.00) | +0.50 pt (−1.00 to +2.00) | 0.6 |" in text
    assert "```sh\nlrcompress factorize 'my model.keras' --energy 0.8\nlrcompress finetune" in text


def test_names_do_not_break_markdown(run: Run, hostile: Path) -> None:
    """A stranger's name adds no column, no emphasis and no markup."""
    text = run("report", hostile, "--format", "markdown").stdout
    outside = re.sub(r"```.*?```", "", text, flags=re.S)

    assert not re.search(r"(?<!\\)<", outside)
    certificate = next(line for line in text.splitlines() if line.endswith("1.000000 |"))
    assert len(re.findall(r"(?<!\\)\|", certificate)) == 7


def test_json_is_documented(run: Run, record: Path, attached: tuple[Path, Path]) -> None:
    """Every field of the document, and of its headline, stands in the page on reports."""
    page = DOCS.read_text(encoding="utf-8")

    document = json.loads(
        run(
            "report", record, "--format", "json", "--sweep", attached[0], "--compare", attached[1]
        ).stdout
    )

    assert (document["schema_version"], document["kind"]) == (1, "report")
    assert [s["name"] for s in document["stages"]] == [
        "original",
        "factorized",
        "finetuned",
        "scratch",
    ]
    assert [key for key in document if f"`{key}`" not in page and key != "schema_version"] == []
    assert [key for key in document["headline"] if f"`{key}`" not in page] == []
    assert document == json.loads(
        run("report", record, "--json", "--sweep", attached[0], "--compare", attached[1]).stdout
    )


def test_csv_has_a_row_a_stage(run: Run, record: Path) -> None:
    """Columns are those documented, numbers are unrounded."""
    rows = list(csv.DictReader(io.StringIO(run("report", record, "--format", "csv").stdout)))
    page = DOCS.read_text(encoding="utf-8")

    assert [row["stage"] for row in rows] == ["original", "factorized", "finetuned"]
    assert tuple(rows[0]) == COLUMNS
    assert [column for column in COLUMNS if f"`{column}`" not in page] == []
    assert float(rows[1]["layer_reduction"]) == 50 / 105
    assert float(rows[2]["difference_high"]) == 2.0
    assert rows[0]["difference"] == ""


def test_csv_has_a_row_an_output(run: Run, tmp_path: Path, made: SimpleNamespace) -> None:
    """A model with several outputs has one row for each, with its own measure."""
    document = made.record()
    for stage in document["stages"]:
        errors = {
            key: stage.pop(key) for key in ("error_rate", "error_rate_low", "error_rate_high")
        }
        numbers = {
            "measure": "rmse",
            "rmse": 0.5,
            "rmse_low": 0.4,
            "rmse_high": 0.6,
            "samples": 200,
        }
        stage |= {"measure": "outputs", "error_rate": None}
        stage["outputs"] = {"a": errors | {"samples": 200}, "b": numbers}
        if "drop" in stage:
            second = made.paired(0.1, 0.05) | {"measure": "rmse"}
            stage["drop"] = {"outputs": {"a": made.paired(1.0, 0.5), "b": second}}
    path = tmp_path / "two.lrcompress.json"
    path.write_text(json.dumps(document), encoding="utf-8")

    rows = list(csv.DictReader(io.StringIO(run("report", path, "--format", "csv").stdout)))
    page = run("report", path, "--format", "html")

    assert [(row["stage"], row["output"], row["measure"]) for row in rows[:2]] == [
        ("original", "a", "error_rate"), ("original", "b", "rmse"),
    ]  # fmt: skip
    assert float(rows[3]["difference"]) == 0.1
    assert page.exit_code == 0
    assert '<p class="headline">final layer −47.6 %, model −4.52 %</p>' in page.stdout


def test_a_spreadsheet_computes_nothing(run: Run, hostile: Path) -> None:
    """A name that looks like a formula is marked as text."""
    rows = list(csv.DictReader(io.StringIO(run("report", hostile, "--format", "csv").stdout)))

    assert rows[2]["path"] == "'=cmd|x.keras"


def test_the_suffix_tells_the_format(run: Run, record: Path) -> None:
    """A file's suffix decides, `--format` overrules it, and stdout stays empty."""
    for name, start in (
        ("r.html", "<!doctype html>"),
        ("r.md", "## "),
        ("r.csv", "stage,"),
        ("r.json", "{"),
    ):
        result = run("report", record, "-o", name)

        assert (result.exit_code, result.stdout) == (0, "")
        assert Path(name).read_text(encoding="utf-8").startswith(start)
    assert run("report", record, "-o", "r.txt", "--format", "csv").exit_code == 0
    assert Path("r.txt").read_text(encoding="utf-8").startswith("stage,")


def test_plots_are_files(run: Run, record: Path, attached: tuple[Path, Path]) -> None:
    """Each figure is there as PNG and SVG, its letters letters, beside the usual table."""
    result = run(
        "report", record, "--plots", "figures", "--sweep", attached[0], "--compare", attached[1]
    )

    names = ["compressed-or-trained", "error-by-rank", "error-by-reduction", "error-by-stage",
             "fine-tuning", "spectral-error", "spectrum"]  # fmt: skip
    assert sorted(path.name for path in Path("figures").iterdir()) == [
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    assert Path("figures/spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert ">break-even: 3</text>" in Path("figures/spectrum.svg").read_text(encoding="utf-8")
    assert "Report of" in result.stdout
    page = DOCS.read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_bad_requests_are_one_line(run: Run, record: Path, made: SimpleNamespace) -> None:
    """What cannot be written or read is refused in one line, and nothing is made."""
    Path("there.html").write_text("precious", encoding="utf-8")
    for name, document in (
        ("other.json", made.sweep() | {"layer": "conv"}), ("data.json", made.comparison()),
        ("empty.json", {}), ("row.json", made.sweep() | {"rows": [{"rank": 1}]}),
    ):  # fmt: skip
        if name == "data.json":
            document["settings"]["dataset"] = "cifar10"
        Path(name).write_text(json.dumps(document), encoding="utf-8")
    Path("text.json").write_text("no", encoding="utf-8")

    for words, code in (
        (["-o", "r.txt"], 1),
        (["-o", "there.html"], 1),
        (["-o", record, "--overwrite"], 1),
        (["--plots", "there.html"], 1),
        (["--sweep", "other.json"], 1),
        (["--sweep", "row.json"], 1),
        (["--sweep", "missing.json"], 1),
        (["--compare", "data.json"], 1),
        (["--compare", "empty.json"], 1),
        (["--compare", "text.json"], 1),
        (["--json", "--format", "csv"], 2),
        (["--format", "pdf"], 2),
    ):
        result = run("report", record, *words)

        assert result.exit_code == code, words
        assert len(result.stderr.strip().splitlines()) == 1, words
        assert "--json" in words or result.stdout == ""
    assert Path("there.html").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("row", {"rank": "2"}), ("row", {"energy": "much"}), ("row", {"method_used": ["svd"]}),
        ("row", {"drop": {"difference": 1.0}}), ("row", {"error_rate": float("nan")}), ("row", {"measure": "outputs"}),
        ("row", {"held_out_error_rate": "1"}), ("sweep", {"kernel_shape": [20]}), ("sweep", {"original": [1.0]}),
        ("sweep", {"rows": {"a": 1}}), ("sweep", {"parameters": True}), ("compare", {"summary": [{"arm": "svd"}]}),
    ],
)  # fmt: skip
def test_documents_of_another_shape_are_refused(
    run: Run, record: Path, attached: tuple[Path, Path], part: str, changes: dict[str, Any]
) -> None:
    """A sweep or comparison that was changed by hand ends in a line, not in a traceback."""
    path = attached[part == "compare"]
    document = json.loads(path.read_text(encoding="utf-8"))
    (document["rows"][1] if part == "row" else document).update(changes)
    path.write_text(json.dumps(document), encoding="utf-8")

    result = run(
        "report", record, "--compare" if part == "compare" else "--sweep", path, "-o", "page.html"
    )

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path} has ") and result.stderr.count("\n") == 1
    assert not Path("page.html").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "final layer −47.6 %, model −4.52 %, error 1.00 → 1.50 % (+0.50 ± 1.50 pt)"),
        ({"drop": {"low": -1.0, "high": 4.0}}, "+0.50 pt, 95 % interval −1.00 to +4.00)"),
        ({"drop": None}, "error 1.00 → 1.50 % (+0.50 pt)"),
        ({"error_rate": None}, "final layer −47.6 %, model −4.52 %"),
    ],
)
def test_the_headline_says_what_is_known(record: Path, changes: dict[str, Any], said: str) -> None:
    """An interval that is not symmetric is told by its ends; what was not measured is left out."""
    story = lrcompress.report(record)
    story["stages"][2] |= changes

    assert headline(story)["text"].endswith(said)


def test_a_hidden_layer_is_called_by_its_name(record: Path) -> None:
    """Only what makes predictions is called the final layer, and several are counted."""
    story = lrcompress.report(record)
    story["layers"][0] |= {"is_head": False, "name": "fc1"}
    hidden = headline(story)["text"]
    story["layers"] += [story["layers"][0] | {"path": "fc2", "name": "fc2"}]

    assert hidden.startswith("layer fc1 −47.6 %")
    assert headline(story)["text"].startswith("2 Dense layers −47.6 %")


def test_python_writes_the_page_too(record: Path, tmp_path: Path) -> None:
    """`report` takes an output and returns the story all the same."""
    story = lrcompress.report(record, output=tmp_path / "page.html")

    assert story["headline"]["layer_reduction"] == 50 / 105
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_table_loads_nothing_heavy(record: Path) -> None:
    """In a fresh process the report in a terminal loads no engine, no Matplotlib and no Jinja."""
    code = (
        "import sys\nfrom lrcompress.cli import main\n"
        f"try: main(['report', {str(record)!r}])\nexcept SystemExit: pass\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr

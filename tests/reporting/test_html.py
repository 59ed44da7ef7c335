"""The report as a page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lrcompress
from lrcompress.reporting.formats import render


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, made: SimpleNamespace) -> dict[str, Any]:
    """Return a story with everything in it."""
    folder = tmp_path_factory.mktemp("whole")
    paths = [folder / name for name in ("small.lrcompress.json", "sweep.json", "compare.json")]
    for path, make in zip(paths, (made.record, made.sweep, made.comparison), strict=True):
        path.write_text(json.dumps(make()), encoding="utf-8")
    return lrcompress.report(paths[0], sweep=paths[1], comparison=paths[2])


@pytest.fixture(scope="module")
def text(whole: dict[str, Any]) -> str:
    """Return its page."""
    return render(whole, "html")


def test_refinement_has_neither_energy_nor_ratio(whole: dict[str, Any]) -> None:
    """It truncates nothing and has no known least: the page says so instead of showing another method's figures."""
    layer = {**whole["layers"][0], "method": "refined", "optimality": 1.912062, "optimality_of": "outputs",
             "minimised_error": 0.55, "minimised_optimum": 0.29}  # fmt: skip

    page = render({**whole, "layers": [layer]}, "html")

    assert "kept, of the" not in page
    assert "1.912062" not in page


def test_the_page_tells_the_story(text: str, read_page: Any) -> None:
    """Headline, all four models, the rank's reason, the certificate and the commands are there."""
    page = read_page(text)
    rows = [words for _, words in page.all("tr")]

    assert page.all("h1") == [({}, "my model.keras at rank 2")]
    assert "final layer −47.6 %, model −4.52 %, error 1.00 → 1.50 % (+0.50 ± 1.50 pt)" in text
    for name in ("Original", "Factorized", "Fine-tuned", "From scratch"):
        assert sum(row.startswith(name) for row in rows) >= 1, name
    assert "rank 2, the smallest rank that keeps 80 %" in text
    assert "83.3 % kept, of the kernel" in text
    assert "1.000000" in text
    assert "lrcompress factorize &#39;my model.keras&#39; --energy 0.8" in text
    assert "keras 3.15" in text
    assert "Mind the gap." in text


def test_the_page_loads_nothing_and_runs_its_own_script_only(text: str, read_page: Any) -> None:
    """No event handler, no address outside the page, and a policy that lets one script run."""
    page = read_page(text)
    addresses = [
        value
        for _, attrs, _ in page.elements
        for key, value in attrs.items()
        if key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
    ]

    assert [key for _, attrs, _ in page.elements for key in attrs if key.startswith("on")] == []
    assert [address for address in addresses if address[:1] != "#" and address != "data:,"] == []
    assert not re.search(r"url\((?!#)|@import", text)
    policies = [attrs["content"] for attrs, _ in page.all("meta") if "http-equiv" in attrs]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert len(page.all("script")) == 2
    assert policies == [
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    ]


def test_a_page_without_a_sweep_runs_nothing(record: Path, read_page: Any) -> None:
    """Where there is nothing to slide through there is no script, and none would run."""
    page = read_page(render(lrcompress.report(record), "html"))

    assert page.all("script") == []
    assert "script-src" not in page.all("meta")[2][0]["content"]


def test_the_slider_has_every_rank_in_words(text: str, read_page: Any) -> None:
    """It begins at the chosen rank and method, is hidden until a script runs, and tells each rank."""
    page = read_page(text)
    (data,) = (json.loads(words) for attrs, words in page.all("script") if "type" in attrs)
    whole = next(attrs for attrs, _ in page.all("div") if attrs.get("id") == "explorer-whole")
    by_name = {method["name"]: method["rows"] for method in data["methods"]}

    assert "hidden" in whole
    assert (data["first"], data["rank"]) == (0, 2)
    assert {name: [row["rank"] for row in rows] for name, rows in by_name.items()} == {
        "svd": [1, 2, 3], "refined": [1, 2, 3],
    }  # fmt: skip
    row = by_name["svd"][1]
    assert row["said"].replace("\xa0", " ") == (
        "Rank 2, the chosen one, svd: test error 10.00 % [7.50, 12.50], final layer −47.6 %, model −4.52 %."
    )
    names = [words for _, words in page.all("dt")]
    start = names.index("Against the original") - 1
    assert dict(zip(names[start : start + 7], row["figures"], strict=True)) == {
        "Test error": ["10.00\xa0%", "7.50 to 12.50"],
        "Against the original": ["-", ""],
        "Held out": ["1.00\xa0%", "to choose by"],
        "Final layer": ["−47.6\xa0%", "105 → 55 parameters"],
        "Whole model": ["−4.52\xa0%", "1,105 → 1,055 parameters"],
        "Energy": ["83.3\xa0%", "of the kernel"],
        "Spectral error": ["0.5", "of the kernel’s norm"],
    }


def test_a_sweep_without_data_has_a_slider_too(whole: dict[str, Any], read_page: Any) -> None:
    """It tells what is saved and how far the kernel moves, and no errors."""
    rows = [
        {key: value for key, value in row.items() if "error_rate" not in key and key != "drop"}
        for row in whole["sweep"]["rows"]
    ]
    story = whole | {"sweep": whole["sweep"] | {"rows": rows, "original": {}, "dataset": None}}
    page = read_page(render(story, "html"))
    (data,) = (json.loads(words) for attrs, words in page.all("script") if "type" in attrs)

    assert "Held out" not in [words for _, words in page.all("dt")]
    assert len(data["methods"][0]["rows"][0]["figures"]) == 4
    assert data["methods"][0]["rows"][0]["said"].startswith("Rank 1, svd: final layer −71.4")


def test_the_page_is_sound(text: str, read_page: Any) -> None:
    """Elements close in order, ids are unique, and every reference inside the page leads somewhere."""
    page = read_page(text)
    ids = Counter(attrs["id"] for _, attrs, _ in page.elements if "id" in attrs)
    wanted = {
        value.removeprefix("#")
        for _, attrs, _ in page.elements
        for key in ("href", "xlink:href", "aria-labelledby", "for")
        for value in attrs.get(key, "").split()
        if value != "data:,"
    } | set(re.findall(r"url\(#([^)]+)\)", text))

    assert page.unclosed == []
    assert [name for name, times in ids.items() if times > 1] == []
    assert wanted - set(ids) == set()


def test_the_page_can_be_heard(text: str, read_page: Any) -> None:
    """Headings go down one level at a time, tables have captions, figures have words."""
    page = read_page(text)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    figures = [attrs for attrs, _ in page.all("svg")]

    assert page.all("html")[0][0]["lang"] == "en"
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(words for _, words in page.all("caption"))
    assert all(attrs.get("scope") in ("col", "row") for attrs, _ in page.all("th"))
    assert len(figures) == 7
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in figures)
    assert all(len(words) > 30 for _, words in page.all("desc"))
    # Letters stay letters.
    assert "break-even: 3" in [words for _, words in page.all("text")]
    # What scrolls can be reached by keyboard, and says what it is.
    scrolls = [attrs for attrs, _ in page.all("div") if attrs.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-labelledby"] for a in scrolls)


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2 of a colour like #0a1b2c."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(text: str, mode: int) -> None:
    """Text reaches 4.5 to 1 on every ground, lines of figures 3 to 1 (WCAG 2.2, level AA)."""
    blocks = [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", text, re.S)
    ]
    colors = blocks[mode]

    def contrast(first: str, second: str) -> float:
        light, dark = sorted((luminance(colors[first]), luminance(colors[second])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    assert len(blocks) == 2
    for word in ("ink", "soft", "blue", "accent"):
        for ground in ("paper", "page"):
            assert contrast(word, ground) >= 4.5, (word, ground)
    assert contrast("ink", "tint") >= 4.5 and contrast("soft", "tint") >= 4.5
    for line in ("blue", "orange", "green", "pink", "accent"):
        assert contrast(line, "paper") >= 3, line


def test_figures_take_the_colours_of_the_page(text: str) -> None:
    """No figure has a colour of its own, which would be lost in the dark."""
    drawings = re.findall(r"<svg .*?</svg>", text, re.S)

    assert len(drawings) == 7
    assert [
        found for svg in drawings for found in re.findall(r"#[0-9a-f]{6}\b", svg) if ":" in svg
    ] == []


def test_strangers_names_are_escaped(hostile: Path, read_page: Any, made: SimpleNamespace) -> None:
    """Markup in names of models, layers, data and devices is shown, not obeyed."""
    story = lrcompress.report(hostile)
    outputs = {made.evil: {"measure": "rmse", "rmse": 0.5}}
    rows = [row | {"measure": "outputs", "outputs": outputs} for row in made.sweep()["rows"]]
    text = render(story | {"sweep": made.sweep() | {"layer": made.evil, "rows": rows}}, "html")
    page = read_page(text)

    # The slider's numbers, in which it stands escaped, and its script.
    assert [("type" in attrs, "alert" in words) for attrs, words in page.all("script")] == [
        (True, True), (False, False),
    ]  # fmt: skip
    assert "\\u003cscript\\u003ealert(1)" in text
    assert page.unclosed == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text


def test_the_same_record_gives_the_same_page(whole: dict[str, Any], text: str) -> None:
    """A page has no time of its own and no random ids."""
    assert render(whole, "html") == text


def test_little_is_enough(record: Path, read_page: Any) -> None:
    """A record of before spectra, data and fine-tuning gives a page with what there is."""
    story = lrcompress.report(record)
    for key in ("spectrum_of", "singular_values", "singular_value_ranks", "energy", "is_head"):
        del story["layers"][0][key]
    story |= {"finetune": [], "dataset": None, "commands": []}
    story["stages"] = story["stages"][:1]

    page = read_page(render(story, "html"))

    assert page.unclosed == []
    assert page.all("svg") == []
    assert "figures" not in [attrs.get("id") for attrs, _ in page.all("section")]

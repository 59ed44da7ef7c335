"""A report as a model card: Markdown behind the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from lrcompress.reporting.headline import result_of, stage_of
from lrcompress.reporting.markdown import plain
from lrcompress.reporting.markdown import render as as_markdown
from lrcompress.reporting.words import count, metric, share, size

# What the Hub calls these data sets, and what is done on them.
_KNOWN = {
    "mnist": ("ylecun/mnist", "image-classification"),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "image-classification"),
    "cifar10": ("uoft-cs/cifar10", "image-classification"),
    "cifar100": ("uoft-cs/cifar100", "image-classification"),
    "imdb": ("stanfordnlp/imdb", "text-classification"),
}
_METRICS = {"error_rate": ("accuracy", "test accuracy"), "rmse": ("rmse", "test RMSE")}


def render(story: dict[str, Any]) -> str:
    """Return the card: front matter, what it is, how to load it, what was measured, how it was made."""
    result = result_of(story) or {}
    original = stage_of(story, "original") or {}
    file = PurePosixPath(str(result.get("path") or "model.keras")).name
    name = PurePosixPath(file).stem
    was = PurePosixPath(str(original.get("path") or "the original")).name
    lines = [
        "---", *_front(story, result, name), "---", "", f"# {plain(name)}", "",
        f"A compressed version of `{_code(was)}`: {count(result.get('parameters'))} parameters for "
        f"{count(original.get('parameters'))} ({share(result.get('parameters_reduction'))} saved), a file of "
        f"{size(result.get('bytes'))}. It was made by low-rank compression with lrcompress "
        f"{plain(story['versions'].get('lrcompress', ''))}. All of its layers are stock Keras layers.",
        "", "## Use", "", "```python", "import keras", "",
        f"model = keras.saving.load_model({json.dumps(file)})", "```", "",
        *([f"Its inputs were scaled `{_code(story['dataset']['scaling'])}`.", ""] if story["dataset"] else []),
        "## Limits", "",
        "It was measured only on the data named below. Check it on your own data, on rare classes, and for "
        "mistakes that the original makes too.", "",
        as_markdown(story),
    ]  # fmt: skip
    return "\n".join(lines)


def _front(story: dict[str, Any], result: dict[str, Any], name: str) -> list[str]:
    """Return the front matter; strings are written as JSON, which YAML reads."""
    lines = ["library_name: keras", "tags:", "- lrcompress", "- low-rank", "- model-compression"]
    data = story["dataset"] or {}
    hub, task = _KNOWN.get(data.get("name", ""), (None, None))
    if hub:
        lines += ["datasets:", f"- {hub}", f"pipeline_tag: {task}"]
    measure = result.get("measure", "error_rate")
    value = result.get(measure)
    if measure not in _METRICS or value is None or not data:
        return lines
    kind, title = _METRICS[measure]
    figure = round((100 - value) / 100, 6) if metric(measure).unit else value
    return [
        *lines, "metrics:", f"- {kind}", "model-index:", f"- name: {json.dumps(name)}", "  results:",
        "  - task:", f"      type: {task or 'other'}", "    dataset:",
        f"      name: {json.dumps(data['name'])}", f"      type: {json.dumps(hub or data['name'])}",
        "      split: test", "    metrics:", f"    - type: {kind}", f"      value: {figure}",
        f"      name: {title}",
    ]  # fmt: skip


def _code(text: str) -> str:
    """Return a stranger's name as it can stand between backticks."""
    return plain(text).replace("\\", "").replace("`", "'")

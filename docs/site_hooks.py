"""What MkDocs does not do by itself for this site; named in mkdocs.yml under `hooks`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

# A page that is made of a file outside docs/, where GitHub shows it.
EXAMPLES, MADE = "examples/README.md", "examples.md"
# A link from a page of docs/ to a file of the project that is no page.
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)\)")


def on_config(config: Any) -> Any:  # noqa: ANN401  # MkDocs' own class
    """Fit the navigation to the pages that are there.

    Pages that it names and that are not written yet are left out; pages that it does not name
    come last. So a build with warnings as errors waits for nobody.
    """
    folder = Path(config.docs_dir)
    named: set[str] = set()
    config.nav = present(config.nav, folder, named)
    others = sorted(path.name for path in folder.glob("*.md") if path.name not in named)
    if others:
        config.nav.append({"More": others})
    return config


def present(items: list[Any], folder: Path, named: set[str]) -> list[Any]:
    """Return the navigation without what `folder` lacks; the pages kept are added to `named`."""
    kept: list[Any] = []
    for item in items:
        title, target = next(iter(item.items())) if isinstance(item, dict) else (None, item)
        if isinstance(target, list):
            target = present(target, folder, named)
            there = bool(target)
        else:
            there = (folder / target).is_file() or target == MADE
            if there:
                named.add(target)
        if there:
            kept.append(target if title is None else {title: target})
    return kept


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Bring along the files of the project that pages link to, under `project/`."""
    root = Path(config.docs_dir).parent
    pages = [Path(config.docs_dir, file.src_uri) for file in files.documentation_pages()]
    found = {
        path
        for page in pages
        for path in OUTSIDE.findall(page.read_text(encoding="utf-8"))
        if (root / path).is_file() and not path.endswith(".md")
    }
    files.append(File.generated(config, MADE, content=examples(root)))
    found |= {path for path in OUTSIDE.findall(examples(root)) if (root / path).is_file()}
    for path in sorted(found):
        kept = InclusionLevel.INCLUDED
        name = f"project/{path}"
        files.append(File.generated(config, name, abs_src_path=str(root / path), inclusion=kept))
    return files


def examples(root: Path) -> str:
    """Return the page of examples: each file named there is a link to it, and links lead from docs/."""
    text = (root / EXAMPLES).read_text(encoding="utf-8")
    text = re.sub(r"^\| `(\w+\.(?:py|ipynb))` \|", r"| [\1](../examples/\1) |", text, flags=re.M)
    return text.replace("](../docs/", "](")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ANN401
    """Lead links to those files to where the site has them."""

    def moved(link: re.Match[str]) -> str:
        name = MADE if link[1] == EXAMPLES else f"project/{link[1]}"
        return f"]({name})" if files.get_file_from_path(name) else link[0]

    return OUTSIDE.sub(moved, markdown)

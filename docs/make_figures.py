"""Draw the figures of the site from committed and bundled numbers: `python docs/make_figures.py`.

Each SVG names what it was drawn from by a hash, which a test compares with the numbers. Figures
that docs/results.md shows are in its own order; run `python docs/make_results.py` afterwards.
`python docs/make_figures.py FOLDER` draws PNGs there instead, to look at.
"""

from __future__ import annotations

import sys
from pathlib import Path

from drawing import compared, errors, first_page, mathematics, times, training
from drawing.sheet import FIGURES, Drawing, committed


def drawings() -> list[Drawing]:
    """Return every figure, of all results that are there."""
    return [
        first_page.picture(),
        *mathematics.drawings(),
        compared.paper(),
        errors.heads(),
        errors.fresh(),
        *map(errors.dense_layers, committed("dense-layers-*.json")),
        *map(compared.comparison, committed("compare-*.json")),
        training.language_model(),
        *map(compared.scratch, committed("scratch-*.json")),
        compared.main_job(),
        *map(training.choices, committed("finetune-choices-*.json")),
        *map(training.head_alone, committed("finetune-head-*.json")),
        *map(times.processes, committed("factorize-vs-keras-*.json")),
        *map(times.export, committed("export-*.json")),
        times.scale(),
        times.decompositions(),
        times.fuzzing(),
    ]


def main(folder: Path | None) -> None:
    """Write all figures; to their own folder without what is no longer drawn."""
    found = drawings()
    for drawing in found:
        drawing.write(folder / f"{drawing.name}.png" if folder else None)
    if not folder:
        for path in set(FIGURES.glob("*.svg")) - {drawing.path for drawing in found}:
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

"""What outputs are called where the user gives no name: with the stem of their model, for all verbs."""

from __future__ import annotations

from pathlib import Path

# After the stem of a model: what was made of it.
RANK, LOWRANK = "-rank{rank}", "-lowrank"
COMPRESSED = "-compressed"
FINETUNED = "-finetuned"
MERGED = "-merged"
WHOLE = "-whole"
KERAS3 = "-keras3"
INT8 = {False: "", True: "-int8", "full": "-int8-full"}
# In the place of a model's suffix: what lies beside it.
RECORD = ".lrcompress.json"
CHECKPOINT = ".checkpoint.npz"
REPORT = ".report.html"


def made_of(model: Path, ending: str) -> Path:
    """Return the name of a model that is made of another, in the same folder."""
    return model.with_name(f"{model.stem}{ending}{model.suffix}")


def beside(model: Path, suffix: str) -> Path:
    """Return the name of a file that belongs to a model."""
    return model.with_name(model.stem + suffix)

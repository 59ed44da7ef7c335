"""What a model trained by lrcompress says about its own data, inside its own file.

HDF5 files carry it as the root attribute `lrcompress`, `.keras` archives as the key `lrcompress`
of `metadata.json`; Keras ignores both. It names the data set and the scaling, so that
`factorize` and `finetune --epochs 2` need no `--dataset`.
"""

from __future__ import annotations

import json
from typing import Any

KEY = "lrcompress"


def pack(provenance: dict[str, Any]) -> str:
    """Return the JSON text stored in a model file."""
    return json.dumps(provenance, sort_keys=True, allow_nan=False)


def unpack(value: object) -> dict[str, Any] | None:
    """Return the provenance, or None where the value is not one: a stranger's file may hold anything."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None

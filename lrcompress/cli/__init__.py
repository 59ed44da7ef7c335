"""The command line: thin commands over `lrcompress.verbs`."""

from __future__ import annotations

from lrcompress.cli.app import main

__all__ = ["main"]

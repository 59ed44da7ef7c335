"""Kinds of attacks, a module each (but for `_names`), with ``attack(work, count)``.

Args:
    work: An empty folder of its own.
    count: How many cases; None is what the documents report.

Returns:
    Counts by what became of the cases; a count whose name begins with ``bad_`` must be 0.
"""

"""Every document that is written, read or printed: run records, results, tables, provenance.

Modules are imported one by one: what is read is checked by msgspec, which not every command loads.
"""

# The arms of a comparison: ways to end with a small network, in the order of tables.
ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")

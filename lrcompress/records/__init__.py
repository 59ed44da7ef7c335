"""Every document that is written, read or printed: run records, results, tables, provenance.

Modules are imported one by one: what is read is checked by msgspec, which not every command loads.
"""

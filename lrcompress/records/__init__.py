"""Every document that is written, read or printed: run records, results, provenance."""

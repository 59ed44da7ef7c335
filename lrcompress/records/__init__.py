"""Every document that is written, read or printed; modules are imported one by one: not every command loads msgspec."""

# The arms of a comparison: ways to end with a small network, in the order of tables.
ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")

"""The arms of a comparison: ways to end with a small network, in the order of tables."""

ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")

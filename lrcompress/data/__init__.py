"""Data sets: where they come from, what their labels mean, how their inputs are scaled."""

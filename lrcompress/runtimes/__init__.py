"""Models in the formats of other runtimes, run and compared there."""

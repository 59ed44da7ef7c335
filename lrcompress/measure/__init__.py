"""What predictions are worth: scores, intervals and tests, in NumPy and SciPy alone."""

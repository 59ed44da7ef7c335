"""Outputs that appear whole or not at all, also beside other processes and signals."""

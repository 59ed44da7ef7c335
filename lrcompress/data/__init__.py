"""Data sets: what reads them, what their labels mean, how their inputs are scaled.

Modules are imported one by one: words are completed and refused without NumPy.
"""

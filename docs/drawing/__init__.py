"""The figures of this site, each drawn from committed or bundled numbers by `docs/make_figures.py`."""

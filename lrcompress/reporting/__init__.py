"""Records and results become text, pages and figures; nothing here measures anything.

Its modules are imported directly: each format loads what it needs, Jinja or Matplotlib, when it is asked for.
"""

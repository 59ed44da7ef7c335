"""Records and results become text, pages and figures; each module loads Jinja or Matplotlib when that is needed."""

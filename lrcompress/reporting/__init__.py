"""Records and results become text; nothing here measures anything."""

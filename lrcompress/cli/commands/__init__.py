"""The commands, a file each, found by its name; its first line is what `lrcompress --help` says of it.

Its `command` is a Click command: options, one call of a verb, and `render`, which turns what that found into text.
"""

"""The commands, a file each, found by its name: `train_from_scratch.py` is `train-from-scratch`.

The first line of a file is what `lrcompress --help` says of it. Its `command` is a Click command: its options, one
call of a verb, and `render`, which turns what that found into text.
"""

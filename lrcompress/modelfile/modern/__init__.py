"""Old Keras model files in the terms of Keras 3, without Keras.

Most of the files that Keras 3 refuses are refused for their text only: keys it no longer takes,
a list where it expects an object, a class under its old name.
"""

from __future__ import annotations

from lrcompress.modelfile.modern.file import write_modernized
from lrcompress.modelfile.modern.notes import Notes

__all__ = ["Notes", "write_modernized"]

"""Old Keras model files in the terms of Keras 3, without Keras: most are refused for their text only."""

from lrcompress.modelfile.modern.file import write_modernized as write_modernized
from lrcompress.modelfile.modern.notes import Notes as Notes

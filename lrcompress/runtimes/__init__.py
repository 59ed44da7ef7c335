"""Models in the formats of other runtimes, run and compared there."""

import lrcompress.live  # noqa: F401  # sets what TensorFlow reads when it is imported

"""Tables of trained networks: from scratch, and compared rank by rank."""

import lrcompress.live  # noqa: F401  # sets what TensorFlow reads when it is imported

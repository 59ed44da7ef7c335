"""HDF5 files of strangers: every structure is checked before HDF5 itself sees a byte of it."""

"""HDF5 files of strangers: every structure is checked before HDF5 itself sees a byte of it."""

from lrcompress.modelfile.hdf5.arrays import Index as Index
from lrcompress.modelfile.hdf5.arrays import StoredArray as StoredArray
from lrcompress.modelfile.hdf5.arrays import cast as cast
from lrcompress.modelfile.hdf5.arrays import equal as equal
from lrcompress.modelfile.hdf5.arrays import holds as holds
from lrcompress.modelfile.hdf5.arrays import name_parts as name_parts
from lrcompress.modelfile.hdf5.arrays import names as names
from lrcompress.modelfile.hdf5.arrays import parents as parents
from lrcompress.modelfile.hdf5.arrays import read_array as read_array
from lrcompress.modelfile.hdf5.arrays import same_array as same_array
from lrcompress.modelfile.hdf5.arrays import text as text
from lrcompress.modelfile.hdf5.index import read_index as read_index
from lrcompress.modelfile.hdf5.space import ReadWindow as ReadWindow
from lrcompress.modelfile.hdf5.space import WriteWindow as WriteWindow

"""Outputs that appear whole or not at all, also beside other processes and signals; what is a file."""

from lrcompress.files.output import LARGEST_DOCUMENT as LARGEST_DOCUMENT
from lrcompress.files.output import Pending as Pending
from lrcompress.files.output import check_output as check_output
from lrcompress.files.output import check_output_folder as check_output_folder
from lrcompress.files.output import regular as regular
from lrcompress.files.output import replacing as replacing
from lrcompress.files.output import replacing_folder as replacing_folder
from lrcompress.files.output import sha256 as sha256
from lrcompress.files.output import sha256_meanwhile as sha256_meanwhile
from lrcompress.files.output import together as together
from lrcompress.files.output import write_json as write_json
from lrcompress.files.workspace import alone_in as alone_in
from lrcompress.files.workspace import ended_like_control_c as ended_like_control_c
from lrcompress.files.workspace import locked as locked
from lrcompress.files.workspace import temporary_files_together as temporary_files_together
from lrcompress.files.workspace import tidy as tidy

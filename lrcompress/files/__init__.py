"""Outputs that appear whole or not at all, also beside other processes and signals; what is a file."""

from lrcompress.files.interrupts import ended_like_control_c
from lrcompress.files.output import (
    Pending,
    check_output,
    check_output_folder,
    replacing,
    replacing_folder,
    together,
    write_json,
)
from lrcompress.files.reading import LARGEST_DOCUMENT, regular, sha256, sha256_meanwhile
from lrcompress.files.workspace import alone_in, locked, temporary_files_together, tidy

__all__ = [
    "LARGEST_DOCUMENT",
    "Pending",
    "alone_in",
    "check_output",
    "check_output_folder",
    "ended_like_control_c",
    "locked",
    "regular",
    "replacing",
    "replacing_folder",
    "sha256",
    "sha256_meanwhile",
    "temporary_files_together",
    "tidy",
    "together",
    "write_json",
]

"""Scalars for TensorBoard, without TensorBoard: its event files written by hand.

Keras' own callback needs TensorFlow, whatever engine trains. An event file is a list of records
(length, checksum, bytes, checksum), each the protocol buffer `Event` of one step.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from pathlib import Path

from lrcompress.errors import OutputError

# CRC-32C, as the record format wants it; zlib's is another polynomial.
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class EventFile:
    """A new event file in a folder, which TensorBoard reads beside those already there."""

    def __init__(self, folder: Path) -> None:
        """Create the file, and the folder if it is missing.

        Raises:
            OutputError: If that cannot be done.
        """
        now = time.time()
        name = (
            f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        )
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(_record(_double(1, now) + _bytes(3, b"brain.Event:2")))
        except OSError as error:
            msg = f"Cannot write in folder {folder} ({error.strerror}); give another --tensorboard."
            raise OutputError(msg, code="output_folder") from error

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Append the scalars of a step; those that are not finite are left out."""
        values = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + _float(2, value))
            for tag, value in scalars.items()
            if math.isfinite(value)
        )
        event = _double(1, time.time()) + _integer(2, step) + _bytes(5, values)
        with self.path.open("ab") as file:
            file.write(_record(event))


def _double(number: int, value: float) -> bytes:
    """Return a field of a protocol buffer; the next three are its like."""
    return _varint(number << 3 | _FIXED64) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | _FIXED32) + struct.pack("<f", value)


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
    return struct.pack("<I", masked)

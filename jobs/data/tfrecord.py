"""Loads TFRecord files of `tf.train.Example`s."""

from __future__ import annotations

import glob
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.data.errors import WHERE, DataFileError

if TYPE_CHECKING:
    import tensorflow as tf


def files(pattern: str | Path) -> list[Path]:
    """List the files that match a path or glob pattern, sorted.

    Raises:
        DataFileError: no file matches.
    """
    found = sorted(Path(path) for path in glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207
    if not found:
        raise DataFileError(pattern, f"no file matches. {WHERE}")
    return found


def examples(
    paths: list[Path], schema: Mapping[str, Any], make: Callable[..., Any], *, check: bool = True
) -> tf.data.Dataset:
    """Build an unbatched dataset of `make(features)` for each record, parsed by `schema` (name to feature type).

    The schema is that of `tf.io.parse_single_example`, for example with `tf.io.FixedLenFeature`. TensorFlow's error for
    a damaged record gives an offset, but not the file. With `check`, the framing of each file is verified first (which
    reads 12 bytes per record, not the data), and a damaged file is named.
    """
    import tensorflow as tf

    if check:
        for path in paths:
            check_framing(path)
    raw = tf.data.TFRecordDataset([str(path) for path in paths])

    def parse(record: tf.Tensor) -> Any:
        return make(tf.io.parse_single_example(record, dict(schema)))

    return raw.map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def check_framing(path: Path) -> int:
    """Count the records of a file: length (8 bytes), checksum of the length (4), data, checksum of the data (4).

    Raises:
        DataFileError: a length or its checksum is wrong, or the file ends inside a record. Damage inside a record's
            data is not detected here; TensorFlow finds it while reading.
    """
    size = path.stat().st_size
    offset = count = 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(12)
            if len(header) == 12:
                length, checksum = struct.unpack("<QI", header)
                if checksum != _masked_crc32c(header[:8]):
                    what = "not a TFRecord file" if offset == 0 else f"damaged at byte {offset} (record {count})"
                    raise DataFileError(path, f"{what}: a record's length does not match its checksum")
                offset += 12 + length + 4
            if len(header) < 12 or offset > size:
                raise DataFileError(path, f"ends inside record {count}: cut off while written or copied?")
            count += 1
    return count


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and offset as in TFRecord files."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

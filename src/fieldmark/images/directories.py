"""Image file directories: the lists of tags that TIFF files and EXIF blocks share (TIFF 6.0, section 2).

Two questions are asked of them: how must an image be turned, and which tags make the first image of a TIFF?
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.errors import ImageError
from fieldmark.images.containers import Container

MAX_TILE_PIXELS = 2**24

_TYPE_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)) | {16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 16: "Q"}
_NUMPY = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}

WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES_PER_PIXEL = 256, 257, 258, 259, 274, 277
ROWS_PER_STRIP, PLANES, TILE_WIDTH, TILE_HEIGHT, PROFILE, DNG_VERSION = 278, 284, 322, 323, 34675, 50706
_STRIPS = ((273, 279), (324, 325))  # where strips or tiles begin, and their sizes in bytes

# What a decoder needs of a TIFF: size, layout, compression and colours. All else (further images, EXIF, GPS,
# XMP, Photoshop blocks, thumbnails) stays out. First the tags of which Pillow expects a single value.
_SINGLE = {256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323, 332, *range(512, 516), 531}
_NEEDED = _SINGLE | {258, 273, 279, 320, 324, 325, 338, 339, 347, *range(516, 522), 529, 530, 532}


class Tag(NamedTuple):
    """One entry of a directory."""

    number: int
    kind: int  # of its values: 1 byte, 3 short, 4 long, 16 long of 64 bits, ...
    value_bytes: int  # what its value takes
    inline: bool  # whether the value stands in the entry itself
    integer: int | None  # its first value if that is a whole number
    offset: int  # where else the value begins
    entry: bytes  # as it stands in the file


def orientation(block: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of an EXIF block or TIFF file; 1 if it does not say or is broken.

    >>> orientation(b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\0\\1\\1\\x12\\0\\3\\0\\0\\0\\1\\0\\6\\0\\0\\0\\0\\0\\0")
    6
    """
    block = block.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")
    try:
        for tag in _first_directory(block):
            if tag.number == ORIENTATION and tag.integer is not None and 1 <= tag.integer <= 8:
                return tag.integer
    except (struct.error, IndexError, OverflowError):
        return 1
    return 1


def tiff(data: bytes) -> Container:
    """Point the header at a new directory, behind all data, with only the needed tags of the first image.

    Pillow warns of, or fails on, whatever else is odd in a directory. Offsets in the file stay as they are.
    """
    kept: dict[int, Tag] = {}
    profile = b""
    for tag in _first_directory(data):
        if tag.number == DNG_VERSION:
            raise ImageError("unsupported_format", "a raw photograph (DNG)")
        if tag.number == PROFILE:
            profile = data[tag.offset : tag.offset + tag.value_bytes]
        if tag.number in _NEEDED and tag.value_bytes:
            kept.setdefault(tag.number, tag)
    order, big = _layout(data)
    _check_values(kept, len(data))
    _check_tiles(kept)
    _check_strips(kept, data, order)
    place = struct.pack(order + ("Q" if big else "L"), len(data))
    header = data[: 8 if big else 4] + place
    entries = b"".join(_entry(kept[number], order) for number in sorted(kept))
    directory = struct.pack(order + ("Q" if big else "H"), len(kept)) + entries + bytes(8 if big else 4)
    return Container(b"".join([header, memoryview(data)[len(header) :], directory]), data, profile)


def _entry(tag: Tag, order: str) -> bytes:
    """The entry as it stands in the file, or with its first value alone."""
    if tag.number not in _SINGLE or tag.integer is None or tag.value_bytes == _TYPE_BYTES[tag.kind]:
        return tag.entry
    big = len(tag.entry) == 20
    value = struct.pack(order + _INTEGERS[tag.kind], tag.integer).ljust(8 if big else 4, b"\0")
    return struct.pack(order + ("HHQ" if big else "HHL"), tag.number, tag.kind, 1) + value


def _check_values(kept: dict[int, Tag], length: int) -> None:
    outside = [tag for tag in kept.values() if not tag.inline]
    if any(tag.offset + tag.value_bytes > length for tag in outside):
        raise ImageError("truncated", "the file ends before the values of its tags")
    if sum(tag.value_bytes for tag in outside) > length:
        raise ImageError("corrupt", "the tags claim more data than the file has")
    samples = _integer(kept, SAMPLES_PER_PIXEL, 1)
    if samples > 16:
        raise ImageError("unsupported_format", f"a TIFF with {samples} channels")


def _check_tiles(kept: dict[int, Tag]) -> None:
    """Refuse tiles that take gigabytes to hold; small images do stand in tiles larger than themselves."""
    across, down = _integer(kept, TILE_WIDTH, 0), _integer(kept, TILE_HEIGHT, 0)
    pixels = _integer(kept, WIDTH, 0) * _integer(kept, HEIGHT, 0)
    if across * down > max(pixels, MAX_TILE_PIXELS):
        raise ImageError("corrupt", f"a tile of {across:,} × {down:,} pixels")


def _check_strips(kept: dict[int, Tag], data: bytes, order: str) -> None:
    """Refuse an image whose strips or tiles reach beyond the file.

    Behind it now stands the new directory, which would be taken for pixels, and libtiff would print about it.
    """
    for places, sizes in _STRIPS:
        if places not in kept:
            continue
        starts = _values(kept[places], data, order)
        if _integer(kept, COMPRESSION, 1) == 1:
            lengths = _uncompressed_lengths(kept, data, order, np.arange(len(starts)))
        elif sizes in kept:
            lengths = _values(kept[sizes], data, order)
        else:
            continue
        shared = min(len(starts), len(lengths))
        if (starts[:shared] + lengths[:shared] > len(data)).any():
            raise ImageError("truncated", "the file ends before the last strip of its image")


def _uncompressed_lengths(
    kept: dict[int, Tag], data: bytes, order: str, strips: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Bytes of each strip or tile, by its number; what the file says of them is often wrong."""
    bits = _values(kept[BITS], data, order) if BITS in kept else np.ones(1)
    samples = _integer(kept, SAMPLES_PER_PIXEL, 1)
    apart = _integer(kept, PLANES, 1) == 2
    bits_per_pixel = bits.max() if apart else bits.sum() if len(bits) > 1 else bits[0] * samples
    if TILE_WIDTH in kept:
        area = _integer(kept, TILE_WIDTH, 0) * _integer(kept, TILE_HEIGHT, 0)
        return np.full(len(strips), area * bits_per_pixel / 8)
    width, height = _integer(kept, WIDTH, 0), _integer(kept, HEIGHT, 0)
    rows = max(1, _integer(kept, ROWS_PER_STRIP, height))
    row_bytes = np.ceil(width * bits_per_pixel / 8)
    first_rows = strips % max(1, -(-height // rows)) * float(rows)
    return np.asarray(row_bytes * np.minimum(rows, height - first_rows), dtype=np.float64)


def _integer(kept: dict[int, Tag], number: int, default: int) -> int:
    value = kept[number].integer if number in kept else None
    return default if value is None else value


def _values(tag: Tag, data: bytes, order: str) -> npt.NDArray[np.float64]:
    # As floats, whose sums and products do not wrap round
    dtype = np.dtype(order + _NUMPY.get(tag.kind, "u1"))
    field = tag.entry[12:] if len(tag.entry) == 20 else tag.entry[8:]
    block = field[: tag.value_bytes] if tag.inline else data[tag.offset : tag.offset + tag.value_bytes]
    return np.frombuffer(block, dtype).astype(np.float64)


def _layout(data: bytes) -> tuple[str, bool]:
    """Byte order as `struct` writes it, and whether offsets have 64 bits (BigTIFF)."""
    order = "<" if data[:2] == b"II" else ">"
    return order, struct.unpack_from(order + "H", data, 2)[0] == 43


def _first_directory(data: bytes) -> Iterator[Tag]:
    """Yield the tags of the first directory in order; raises struct.error where the data end too early."""
    order, big = _layout(data)
    word, head, room = ("Q", "HHQ", 8) if big else ("L", "HHL", 4)
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start += 8 if big else 2
    size = 20 if big else 12
    for position in itertools.islice(itertools.count(start, size), min(count, 65_535)):
        number, kind, values = struct.unpack_from(order + head, data, position)
        field = position + size - room
        (offset,) = struct.unpack_from(order + word, data, field)
        value_bytes = values * _TYPE_BYTES.get(kind, 0)
        inline = value_bytes <= room
        integer = None
        if value_bytes and kind in _INTEGERS:
            place = field if inline else offset
            integer = _first_integer(data, order + _INTEGERS[kind], place)
        yield Tag(number, kind, value_bytes, inline, integer, offset, data[position : position + size])


def _first_integer(data: bytes, layout: str, place: int) -> int | None:
    if place + struct.calcsize(layout) > len(data):
        return None
    return int(struct.unpack_from(layout, data, place)[0])

"""Plain: the JPEGs and PNGs that most folders are made of, decoded at once, with the bits that Pillow would give.

Pillow hands its pixels over in pieces, and holds Python's lock for each, so that two threads decode little more than
one. imagecodecs calls decoders of the same bits (libjpeg-turbo, libspng) on one array, without the lock: two threads do
twice as many images (docs/decisions/0014). Whatever is unusual, damaged or cut short stays with Pillow, whose errors
tell these apart.
"""

from __future__ import annotations

import re

from imagecodecs import jpeg8_decode, spng_decode
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from fieldmark.preprocessing import Pixels

# Of a larger image that is resized the pixels and Pillow's copy of them would take more memory than Pillow alone
MAX_PLAIN_PIXELS = 16_000_000

MAX_SEGMENTS = 1000  # of a JPEG; progressive ones have about thirty

# The beginning of a segment: inside a scan's data 0xff stands before 0 or a restart number alone
_JPEG_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def decode_plain(image: ImageFile, data: bytes) -> Pixels | None:
    """Decode the plain JPEG or PNG `data`, opened as `image`: uint8 (height, width[, 3 or 4]); None: Pillow must."""
    if image.width * image.height > MAX_PLAIN_PIXELS:
        return None
    try:
        if isinstance(image, JpegImageFile):
            return _jpeg(image, data)
        if isinstance(image, PngImageFile):
            return _png(image, data)
    except (RuntimeError, ValueError):  # of which imagecodecs' errors are children
        return None
    return None


def _jpeg(image: JpegImageFile, data: bytes) -> Pixels | None:
    drafted = image.decoderconfig[:1] not in ((), (1,))
    if drafted or image.mode not in ("L", "RGB"):
        return None
    if not _has_end(data):  # libjpeg would go on as if it had
        return None
    pixels = jpeg8_decode(data)
    # Of this grey libjpeg paints what it has no data for; see `check_scans`
    return None if (pixels[-1, -1] == 128).all() else pixels


def _has_end(jpeg: bytes) -> bool:
    """Whether a walk from segment to segment, as libjpeg's, meets an end mark; a broken length may lead beyond."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        mark = _JPEG_MARK.search(jpeg, position)
        if mark is None or mark[0] == b"\xff\xd9":
            return mark is not None
        position = mark.end() + int.from_bytes(jpeg[mark.end() : mark.end() + 2], "big")
    return False


def _png(image: PngImageFile, data: bytes) -> Pixels | None:
    depth, interlaced = data[24], data[28] != 0
    if image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info or depth != 8 or interlaced:
        return None
    # Not libpng, which writes its warnings to stderr
    return spng_decode(data)

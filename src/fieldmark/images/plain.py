"""Plain: the JPEGs and PNGs that most folders are made of, decoded at once, with the bits that Pillow would give.

Pillow hands its pixels over in pieces, and holds Python's lock for each, so that two threads decode little more than
one. imagecodecs calls decoders of the same bits (libjpeg-turbo, libspng) on one array, without the lock: two threads do
twice as many images (docs/decisions/0013). Whatever is unusual, damaged or cut short stays with Pillow, whose errors
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

# What may follow a scan's data, in which 0xff stands before 0 or a restart number alone
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
    end = _JPEG_MARK.search(data, data.rfind(b"\xff\xda") + 2)
    if end is None or data[end.start() :] != b"\xff\xd9":  # libjpeg would go on as if an end mark stood there
        return None
    pixels = jpeg8_decode(data)
    # Of this grey libjpeg paints what it has no data for; see `check_scans`
    return None if (pixels[-1, -1] == 128).all() else pixels


def _png(image: PngImageFile, data: bytes) -> Pixels | None:
    depth, interlaced = data[24], data[28] != 0
    if image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info or depth != 8 or interlaced:
        return None
    # Not libpng, which writes its warnings to stderr
    return spng_decode(data)

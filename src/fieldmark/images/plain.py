"""Plain: the JPEGs and PNGs that most folders are made of, decoded at once, with the bits that Pillow would give.

Pillow hands its pixels over in pieces, and holds Python's lock for each, so that two threads decode little more than
one. imagecodecs calls decoders of the same bits (libjpeg-turbo, libspng) on one array, without the lock: two threads do
1.5 to 2.3 times as many images (docs/decisions/0014). Whatever is unusual, damaged or cut short stays with Pillow,
whose errors tell these apart.
"""

from __future__ import annotations

from imagecodecs import jpeg8_decode, spng_decode
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from fieldmark.images.containers import Container
from fieldmark.preprocessing import Pixels

# Of a larger image that is resized the pixels and Pillow's copy of them would take more memory than Pillow alone
MAX_PLAIN_PIXELS = 16_000_000

GREY = b"\x80"  # of which libjpeg paints what it has no data for; see `decoders.check_scans`


def decode_plain(image: ImageFile, container: Container) -> Pixels | None:
    """Decode a plain JPEG or PNG, opened as `image`: uint8 (height, width[, 3 or 4]); None: Pillow must."""
    if image.width * image.height > MAX_PLAIN_PIXELS:
        return None
    try:
        if isinstance(image, JpegImageFile):
            return _jpeg(image, container)
        if isinstance(image, PngImageFile):
            return _png(image, container.data)
    except (RuntimeError, ValueError):  # of which imagecodecs' errors are children
        return None
    return None


def _jpeg(image: JpegImageFile, container: Container) -> Pixels | None:
    drafted = image.decoderconfig[:1] not in ((), (1,))
    # Without an end mark libjpeg would go on as if one stood where the data end
    if drafted or image.mode not in ("L", "RGB") or not container.ended:
        return None
    pixels = jpeg8_decode(container.data)
    return pixels if pixels[-1, -1:].tobytes().strip(GREY) else None


def _png(image: PngImageFile, data: bytes) -> Pixels | None:
    depth, interlaced = data[24], data[28] != 0
    if image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info or depth != 8 or interlaced:
        return None
    # Not libpng, which writes its warnings to stderr
    return spng_decode(data)

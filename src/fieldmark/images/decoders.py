"""Decoders: what must be asked of Pillow before it decodes, checked afterwards, and said of its errors."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fieldmark.errors import ImageError
from fieldmark.preprocessing import Box, Preprocessing, resized_size

# words of Pillow's messages -> our code; what matches none is `corrupt`
_WORDS = {
    "truncated": "truncated",
    "not enough": "truncated",
    "end of data": "truncated",
    "cannot handle": "unsupported_format",
    "not supported": "unsupported_format",
    "unsupported": "unsupported_format",
    "unknown pixel mode": "unsupported_format",
    "unknown data organization": "unsupported_format",
}

# The seven passes of an interlaced PNG: first column and row, and the steps to the next
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def as_image_error(name: str, error: Exception) -> ImageError:
    """Say as an ImageError what made the decoder of format `name` fail."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError("too_many_pixels", str(error))
    if isinstance(error, MemoryError):
        return ImageError("too_many_pixels", f"decoding this {name} takes more memory than there is")
    if isinstance(error, EOFError) or isinstance(error.__cause__, (EOFError, IndexError, struct.error)):
        return ImageError("truncated", f"{name}: the file ends inside its header")
    message = str(error) or type(error).__name__
    codes = (code for word, code in _WORDS.items() if word in message.lower())
    return ImageError(next(codes, "corrupt"), f"{name}: {message}")


def enough_pixels(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int] | None:
    """Return the (width, height) that must remain if an upright image of `size` is reduced before resizing.

    Twice the pixels wanted keeps the result within 2/255 on average of that from all pixels. None: do not
    reduce, since "nearest" picks single pixels, which must be those of the file.
    """
    if preprocessing.interpolation == "nearest":
        return None
    width, height = resized_size(size, preprocessing)
    return 2 * width, 2 * height


def draft(image: ImageFile, enough: tuple[int, int] | None, turn: int) -> Box:
    """Let a JPEG decode straight to 1/2, 1/4 or 1/8 of its size, so far as `enough` (width, height) remain.

    `enough` is upright, `turn` the EXIF orientation; other formats do not know how. Returns the box that
    pixels of the file will fill: where its size is no multiple of 8, the last row and column are part empty.
    """
    width, height = image.size
    drafted = None if enough is None else image.draft(None, enough if turn < 5 else enough[::-1])
    return (0.0, 0.0, float(width), float(height)) if drafted is None else drafted[1]


def turned_box(box: Box, size: tuple[int, int], turn: int) -> Box:
    """Return where `box` comes to lie when an image of `size` is turned upright from EXIF orientation `turn`.

    >>> turned_box((0, 0, 9.5, 20), (10, 20), 6), turned_box((0, 0, 9.5, 20), (10, 20), 8)
    ((0, 0, 20, 9.5), (0, 0.5, 20, 10))
    """
    left, top, right, bottom = box
    width, height = size
    if turn > 4:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def scaled_box(box: Box, old: tuple[int, int], new: tuple[int, int]) -> Box:
    """Return `box` of an image of size `old` after it was resized to `new`."""
    across, down = new[0] / old[0], new[1] / old[1]
    # Rounding may lead beyond the image by the last bit, which Pillow refuses
    right, bottom = min(box[2] * across, float(new[0])), min(box[3] * down, float(new[1]))
    return box[0] * across, box[1] * down, right, bottom


def check_tiles(image: ImageFile) -> None:
    """Refuse a file whose pieces cover the image many times over: seconds of work in a few bytes."""
    width, height = image.size
    covered = 0
    for _, extents, *_ in image.tile:
        left, top, right, bottom = extents or (0, 0, width, height)
        covered += (right - left) * (bottom - top)
    if covered > 16 * width * height:
        raise ImageError("corrupt", f"its pieces cover the image {covered // (width * height)} times")


def check_scans(image: JpegImageFile, jpeg: bytes, enough: tuple[int, int] | None, turn: int) -> None:
    """Refuse a JPEG whose data end before its last block, though an end mark follows: libjpeg paints grey.

    If the last pixel is of that grey, the image is decoded again with some bytes before the end mark: they
    change it if it was short of data, and are ignored if it was not.
    """
    width, height = image.size
    if image.getpixel((width - 1, height - 1)) not in (128, (128, 128, 128)):
        return
    end = jpeg.find(b"\xff\xd9", jpeg.find(b"\xff\xda"))
    again = JpegImageFile(io.BytesIO(jpeg[:end] + bytes(range(1, 200)) + jpeg[end:]))
    draft(again, enough, turn)
    again.load()
    if again.tobytes() != image.tobytes():
        raise ImageError("truncated", "JPEG: the data end before the last row")


def check_rows(image: Image.Image, png: bytes) -> None:
    """Refuse a PNG whose data end before its last row; Pillow leaves such rows at 0 and says nothing.

    If the last row is all 0, or the rows are not in order, the data are inflated again to count them.
    """
    interlaced = png[28] != 0
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not interlaced and np.asarray(last_row).any():
        return
    expected = _png_bytes(png)
    inflate, found, position = zlib.decompressobj(), 0, 8
    while found < expected and position < len(png):
        length, kind = struct.unpack_from(">L4s", png, position)
        waiting = png[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
        while waiting and found < expected:
            found += len(inflate.decompress(waiting, 2**20))
            waiting = inflate.unconsumed_tail
    if found < expected:
        raise ImageError("truncated", f"PNG: {found:,} of {expected:,} bytes of pixels")


def _png_bytes(png: bytes) -> int:
    """Bytes of all rows, each with its filter byte, of all passes."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">LLBBBBB", png, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def scale_transparency(image: PngImageFile, png: bytes) -> None:
    """Scale the transparent colour of a PNG of 16 bits a channel as Pillow scales the pixels, to 8 bits."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and png[24] == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def sixteen_bits(image: TiffImageFile) -> Image.Image:
    """Finish what Pillow leaves undone in grey TIFFs of 12 or 16 bits: the full range, and 0 as black."""
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.uint16)
    if image.tag_v2.get(258) == (12,):
        values = values << np.uint16(4)
    if image.tag_v2.get(262) == 0:  # white is zero
        values = ~values
    return Image.fromarray(values)

"""The tiny real images of `files/`: how each was made, and which pixels it must give.

    python -m tests.images.make_files        # writes those that are missing; delete a file to make it anew

What a picture must look like is computed here from its own numbers, never by decoding. PNG, BMP and half of
the TIFFs are written byte by byte; the others by Pillow's encoders.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

FILES = Path(__file__).parent / "files"
WIDTH, HEIGHT = 24, 16
Array = npt.NDArray[Any]


class Sample(NamedTuple):
    """One file: its bytes, the upright RGB pixels it must give, and how near."""

    make: Callable[[], bytes]
    expected: Callable[[], Array]  # (height, width, 3), 0-255, as floats where rounding is free
    format: str
    lossy: bool = False  # mean of 2/255 allowed, instead of 1/255 for each value


# ---- pictures


def picture() -> Array:
    """Smooth, coloured, and different after each of the eight turns."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green, blue = 20 + 9 * columns, 230 - 12 * rows, 60 + 3 * rows + 4 * columns
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def gray() -> Array:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (8 * columns + 4 * rows).astype(np.uint8)


def gray16() -> Array:
    """Every value differs in its low byte too; most would be clipped to white by a naive conversion."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (columns * 2700 + rows * 211).astype(np.uint16)


def rgb16() -> Array:
    return (picture().astype(np.uint16) << 8) | gray()[:, :, None]


def black_white() -> Array:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return ((columns // 3 + rows // 2) % 3 == 0).astype(np.uint8)


def few_colors() -> Array:
    """Numbers of the colours of `PALETTE`."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return ((columns // 4 + rows // 3) % len(PALETTE)).astype(np.uint8)


def alpha() -> Array:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (columns * 11 * (rows > 3)).astype(np.uint8)


PALETTE = np.array([[250, 10, 10], [10, 240, 20], [5, 30, 220], [240, 230, 60]], np.uint8)
PALETTE_ALPHA = np.array([255, 128, 0, 64], np.uint8)


def in_gray(values: Array) -> Array:
    return np.repeat(values[:, :, None], 3, axis=2)


def on_white(colors: Array, opacity: Array) -> Array:
    share = opacity[:, :, None] / 255
    return colors * share + 255 * (1 - share)


def from_cmyk(cmyk: Array) -> Array:
    return (255 - cmyk[:, :, :3].astype(float)) * (255 - cmyk[:, :, 3:].astype(float)) / 255


def cmyk() -> Array:
    return np.dstack([255 - picture(), np.minimum(gray(), 120)])


# ---- writers


def saved(pixels: Array | Image.Image, format: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned(orientation: int, format: str, **options: Any) -> bytes:
    """The picture stored so that `orientation` makes it upright (EXIF 2.32, section 4.6.4)."""
    stored = STORED[orientation](picture())
    exif = Image.Exif()
    exif[274] = orientation
    return saved(np.ascontiguousarray(stored), format, exif=exif, **options)


STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(rows: list[bytes], depth: int, color: int, *, width: int = WIDTH, before: bytes = b"") -> bytes:
    """One PNG of unfiltered rows; `before` stands between header and data."""
    header = struct.pack(">LLBBBBB", width, len(rows), depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rows_of(values: Array) -> list[bytes]:
    """The rows of uint8 or, high byte first, uint16 values."""
    big = values.astype(values.dtype.newbyteorder(">"))
    return [row.tobytes() for row in big]


def interlaced_png(pixels: Array) -> bytes:
    data = b""
    for left, top, across, down in PASSES:
        data += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::across])
    header = struct.pack(">LLBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def palette_png(transparency: bytes) -> bytes:
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 6:]).tobytes() for row in few_colors()]
    return png(rows, 2, 3, before=chunk(b"PLTE", PALETTE.tobytes()) + transparency)


def bmp(bits: int, compression: int, body: bytes, palette: bytes = b"") -> bytes:
    start = 54 + len(palette)
    head = struct.pack("<2sLLL", b"BM", start + len(body), 0, start)
    size = struct.pack("<LllHHLLllLL", 40, WIDTH, HEIGHT, 1, bits, compression, len(body), 0, 0, 0, 0)
    return head + size + palette + body


def bmp_rows() -> bytes:
    """From the last row to the first, blue before red; 24 pixels of 3 bytes need no filling to 4."""
    return picture()[::-1, :, ::-1].tobytes()


def bmp_runs() -> bytes:
    runs = b""
    for row in few_colors()[::-1]:
        runs += b"".join(bytes([1, value]) for value in row) + b"\0\0"
    return runs + b"\0\1"


def tiff(values: Array | bytes, bits: list[int], photometric: int, *, order: str = "<", **tags: int) -> bytes:
    """One uncompressed strip. `tags` may set further ones by number, as t339=3."""
    if isinstance(values, bytes):
        body = values
    else:
        body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    fields = {256: WIDTH, 257: HEIGHT, 259: 1, 262: photometric, 277: len(bits), 278: HEIGHT, 279: len(body)}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    outside = struct.pack(f"{order}{len(bits)}H", *bits)
    entries = {number: (4, 1, struct.pack(order + "L", value)) for number, value in fields.items()}
    start = 8 + 2 + 12 * (len(fields) + 2) + 4
    inline = outside.ljust(4, b"\0") if len(outside) <= 4 else struct.pack(order + "L", start)
    entries[258] = (3, len(bits), inline)
    entries[273] = (4, 1, struct.pack(order + "L", start + len(outside)))
    directory = struct.pack(order + "H", len(entries))
    for number, (kind, count, value) in sorted(entries.items()):
        directory += struct.pack(order + "HHL", number, kind, count) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    return head + directory + bytes(4) + outside + body


def twelve_bits() -> bytes:
    """Pairs of 12-bit values in three bytes."""
    first, second = (gray16() >> 4)[:, 0::2], (gray16() >> 4)[:, 1::2]
    parts = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(parts, axis=2).astype(np.uint8).tobytes()


def swapped_profile() -> bytes:
    """A profile that takes red for green and green for red: sRGB with two of its tags exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def swapped() -> Array:
    return np.ascontiguousarray(picture()[:, :, [1, 0, 2]])


def ycck_jpeg() -> bytes:
    """A JPEG as Photoshop writes it: CMYK inverted, its first three channels turned into luma and chroma.

    Pillow inverts CMYK and turns nothing: it is given channels turned already, and the Adobe segment is told.
    """
    inks = cmyk().astype(float)
    c, m, y = (inks[:, :, channel] for channel in range(3))
    luma = 0.299 * c + 0.587 * m + 0.114 * y
    planes = [luma, 128 + (y - luma) * 0.564, 128 + (c - luma) * 0.713, 255 - inks[:, :, 3]]
    stored = np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)
    data = saved(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=97)
    place = data.index(b"Adobe") + 11
    return data[:place] + b"\2" + data[place + 1 :]


def animated(format: str, **options: Any) -> bytes:
    """The picture, then two frames that must not be seen."""
    later = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("black", "white")]
    return saved(picture(), format, save_all=True, append_images=later, duration=100, **options)


def indexed() -> Image.Image:
    image = Image.fromarray(few_colors(), "P")
    image.putpalette(PALETTE.tobytes())
    return image


def animated_gif() -> bytes:
    later = [Image.new("P", (WIDTH, HEIGHT), 0)]
    return saved(indexed(), "GIF", save_all=True, append_images=later, duration=100)


# ---- the table

SAMPLES: dict[str, Sample] = {
    "baseline.jpg": Sample(lambda: saved(picture(), "JPEG", quality=95), picture, "JPEG", True),
    "progressive.jpg": Sample(lambda: saved(picture(), "JPEG", quality=95, progressive=True), picture, "JPEG", True),
    "gray.jpg": Sample(lambda: saved(gray(), "JPEG", quality=95), lambda: in_gray(gray()), "JPEG", True),
    "cmyk.jpg": Sample(
        lambda: saved(Image.fromarray(cmyk(), "CMYK"), "JPEG", quality=97),
        lambda: from_cmyk(cmyk()),
        "JPEG",
        True,
    ),
    "ycck.jpg": Sample(ycck_jpeg, lambda: from_cmyk(cmyk()), "JPEG", True),
    "profile.jpg": Sample(
        lambda: saved(swapped(), "JPEG", quality=97, subsampling=0, icc_profile=swapped_profile()),
        picture,
        "JPEG",
        True,
    ),
    "phone.mpo": Sample(lambda: animated("MPO", quality=95), picture, "JPEG", True),
    "one_bit.png": Sample(
        lambda: png([np.packbits(row).tobytes() for row in black_white()], 1, 0),
        lambda: in_gray(black_white() * 255),
        "PNG",
    ),
    "palette.png": Sample(lambda: palette_png(b""), lambda: PALETTE[few_colors()], "PNG"),
    "palette_transparent.png": Sample(
        lambda: palette_png(chunk(b"tRNS", PALETTE_ALPHA.tobytes())),
        lambda: on_white(PALETTE[few_colors()], PALETTE_ALPHA[few_colors()]),
        "PNG",
    ),
    "gray16.png": Sample(lambda: png(rows_of(gray16()), 16, 0), lambda: in_gray(gray16() / 257), "PNG"),
    "gray16_transparent.png": Sample(
        lambda: png(rows_of(gray16()), 16, 0, before=chunk(b"tRNS", struct.pack(">H", 2700))),
        lambda: on_white(in_gray(gray16() / 257), np.where(gray16() == 2700, 0, 255)),
        "PNG",
    ),
    "rgb16.png": Sample(lambda: png(rows_of(rgb16()), 16, 2), lambda: rgb16() / 257, "PNG"),
    "rgb16_transparent.png": Sample(
        lambda: png(rows_of(rgb16()), 16, 2, before=chunk(b"tRNS", rows_of(rgb16())[0][:6])),
        lambda: on_white(rgb16() / 257, 255 * (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) > 0)),
        "PNG",
    ),
    "gray_alpha.png": Sample(
        lambda: png(rows_of(np.dstack([gray(), alpha()])), 8, 4),
        lambda: on_white(in_gray(gray()), alpha()),
        "PNG",
    ),
    "rgba.png": Sample(
        lambda: png(rows_of(np.dstack([picture(), alpha()])), 8, 6),
        lambda: on_white(picture(), alpha()),
        "PNG",
    ),
    "interlaced.png": Sample(lambda: interlaced_png(picture()), picture, "PNG"),
    "profile.png": Sample(
        lambda: png(rows_of(swapped()), 8, 2, before=chunk(b"iCCP", b"x\0\0" + zlib.compress(swapped_profile()))),
        picture,
        "PNG",
    ),
    "profile_transparent.png": Sample(
        lambda: png(
            rows_of(np.dstack([swapped(), alpha()])),
            8,
            6,
            before=chunk(b"iCCP", b"x\0\0" + zlib.compress(swapped_profile())),
        ),
        lambda: on_white(picture(), alpha()),
        "PNG",
    ),
    "animated.png": Sample(lambda: animated("PNG"), picture, "PNG"),
    "lossy.webp": Sample(lambda: saved(picture(), "WEBP", quality=95), picture, "WEBP", True),
    "lossless.webp": Sample(lambda: saved(picture(), "WEBP", lossless=True), picture, "WEBP"),
    "transparent.webp": Sample(
        lambda: saved(np.dstack([picture(), alpha()]), "WEBP", lossless=True, exact=True),
        lambda: on_white(picture(), alpha()),
        "WEBP",
    ),
    "animated.webp": Sample(lambda: animated("WEBP", lossless=True), picture, "WEBP"),
    "still.gif": Sample(lambda: saved(indexed(), "GIF"), lambda: PALETTE[few_colors()], "GIF"),
    "gray.gif": Sample(lambda: saved(gray(), "GIF"), lambda: in_gray(gray()), "GIF"),
    "transparent.gif": Sample(
        lambda: saved(indexed(), "GIF", transparency=2),
        lambda: on_white(PALETTE[few_colors()], np.where(few_colors() == 2, 0, 255)),
        "GIF",
    ),
    "animated.gif": Sample(animated_gif, lambda: PALETTE[few_colors()], "GIF"),
    "rows.bmp": Sample(lambda: bmp(24, 0, bmp_rows()), picture, "BMP"),
    "runs.bmp": Sample(
        lambda: bmp(8, 1, bmp_runs(), np.pad(PALETTE[:, ::-1], ((0, 252), (0, 1))).tobytes()),
        lambda: PALETTE[few_colors()],
        "BMP",
    ),
    "lzw.tif": Sample(lambda: saved(picture(), "TIFF", compression="tiff_lzw"), picture, "TIFF"),
    "fax.tif": Sample(
        lambda: saved(Image.fromarray(black_white().astype(bool)), "TIFF", compression="group4"),
        lambda: in_gray(black_white() * 255),
        "TIFF",
    ),
    "two_pages.tif": Sample(lambda: animated("TIFF", compression="tiff_deflate"), picture, "TIFF"),
    "big.tif": Sample(lambda: saved(picture(), "TIFF", big_tiff=True), picture, "TIFF"),
    "gray16.tif": Sample(lambda: tiff(gray16(), [16], 1), lambda: in_gray(gray16() / 257), "TIFF"),
    "gray16_motorola.tif": Sample(lambda: tiff(gray16(), [16], 1, order=">"), lambda: in_gray(gray16() / 257), "TIFF"),
    "gray16_inverted.tif": Sample(lambda: tiff(gray16(), [16], 0), lambda: in_gray(255 - gray16() / 257), "TIFF"),
    "gray12.tif": Sample(lambda: tiff(twelve_bits(), [12], 1), lambda: in_gray((gray16() >> 4) / 4095 * 255), "TIFF"),
    "rgb16.tif": Sample(lambda: tiff(rgb16(), [16, 16, 16], 2), lambda: rgb16() / 257, "TIFF"),
    "cmyk.tif": Sample(lambda: tiff(cmyk(), [8] * 4, 5), lambda: from_cmyk(cmyk()), "TIFF"),
    "float.tif": Sample(
        lambda: tiff((gray16() / 65535).astype(np.float32), [32], 1, t339=3),
        lambda: in_gray(gray16() / 257),
        "TIFF",
    ),
    "lossy.avif": Sample(lambda: saved(picture(), "AVIF", quality=95, subsampling="4:4:4"), picture, "AVIF", True),
    "transparent.avif": Sample(
        lambda: saved(np.dstack([picture(), alpha()]), "AVIF", quality=98, subsampling="4:4:4"),
        lambda: on_white(picture(), alpha()),
        "AVIF",
        True,
    ),
}

TURNED = {
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}, True),
    "png": ("PNG", {}, False),
    "webp": ("WEBP", {"lossless": True}, False),
    "tif": ("TIFF", {"compression": "tiff_lzw"}, False),
    "avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, True),
}


def turned_sample(orientation: int, suffix: str) -> Sample:
    format, options, lossy = TURNED[suffix]
    return Sample(lambda: turned(orientation, format, **options), picture, format, lossy)


SAMPLES |= {
    f"turned_{orientation}.{suffix}": turned_sample(orientation, suffix)
    for suffix in TURNED
    for orientation in range(1, 9)
}


def main() -> None:
    """Write the files that are missing."""
    FILES.mkdir(exist_ok=True)
    for name, sample in SAMPLES.items():
        if not (FILES / name).exists():
            (FILES / name).write_bytes(sample.make())
            sys.stderr.write(f"made {name}\n")


if __name__ == "__main__":
    main()

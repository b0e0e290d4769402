"""Formats: from the bytes of a file to pixels. The one decoder; nothing else in Fieldmark opens an image.

    pixels = load(path, preprocessing)        # = decode(read_bytes(path), preprocessing).pixels

The content decides the format, never the name. A new format is an entry in `FORMATS`, a walk in `containers`
and a sample file in the tests.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fieldmark import reading
from fieldmark.errors import ImageError
from fieldmark.images import containers, decoders, directories, plain
from fieldmark.images.containers import Container
from fieldmark.images.profiles import to_srgb
from fieldmark.preprocessing import MAX_SIDE, Pixels, Preprocessing, to_pixels

MAX_PIXELS = 50_000_000  # width × height of an image that is decoded
MAX_BYTES = 512 * 2**20  # 50 megapixels of uncompressed 16-bit RGBA take 400 MB


class Format(NamedTuple):
    """One format that is read."""

    suffixes: tuple[str, ...]  # the usual ones, lower case
    signature: bytes  # regular expression for the beginning of its files
    walk: Callable[[bytes], Container]  # takes out what is not needed, before Pillow
    open: Callable[[io.BytesIO], ImageFile]  # Pillow's class for this format alone, not its search among all


_AVIF = {
    "AVIF": Format(
        suffixes=(".avif", ".avifs"),
        signature=rb".{4}ftyp(avi[fs]|.{8}(.{4}){0,15}?avi[fs])",
        walk=containers.avif,
        open=AvifImageFile,
    )
}

FORMATS: dict[str, Format] = {
    # A phone's second image (MPO) stands behind the first, which is an ordinary JPEG
    "JPEG": Format(
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        signature=rb"\xff\xd8\xff",
        walk=containers.jpeg,
        open=JpegImageFile,
    ),
    "PNG": Format((".png", ".apng"), rb"\x89PNG\r\n\x1a\n", containers.png, PngImageFile),
    "WEBP": Format((".webp",), rb"RIFF.{4}WEBPVP8[ LX]", containers.webp, WebPImageFile),
    "GIF": Format((".gif",), rb"GIF8[79]a", containers.gif, GifImageFile),
    "BMP": Format(
        suffixes=(".bmp", ".dib"),
        # "BM" alone begins many a text: the length of the second header follows
        signature=rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        walk=containers.bmp,
        open=BmpImageFile,
    ),
    "TIFF": Format(
        suffixes=(".tif", ".tiff"),
        signature=rb"(II[*+]\0|MM\0[*+])(?!.{4}CR)",
        walk=directories.tiff,
        open=TiffImageFile,
    ),
    **(_AVIF if features.check("avif") else {}),
}

CONVERT = "convert it to JPEG or PNG"
# Recognised, so that the message can name them, but not read. After FORMATS: the first match counts.
UNREAD: dict[str, bytes] = {
    "AVIF, which this build of Pillow lacks": _AVIF["AVIF"].signature,
    "HEIC": rb".{4}ftyp(he[im][csvx]|hev[cmx]|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a",
    "raw photograph": rb"II\*\0.{4}CR|IIRO|IIRS|IIU\0|FUJIFILMCCD-RAW|.{4}ftypcrx ",
    "Photoshop": rb"8BPS",
    "GIMP": rb"gimp xcf",
    "SVG": rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!DOCTYPE svg).{0,8000}?<svg)[\s>]",
    "PDF": rb"%PDF-",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "Windows icon": rb"\0\0\x01\0.\0",
    "Windows cursor": rb"\0\0\x02\0.\0",
    "Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "Netpbm": rb"P[1-7fF]\s",
    "FITS": rb"SIMPLE  = ",
    "DICOM": rb".{128}DICM",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
    "DirectDraw Surface": rb"DDS ",
    "Silicon Graphics": rb"\x01\xda[\0\x01][\x01\x02]",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "PCX": rb"\x0a[\0\x02-\x05][\0\x01][\x01\x02\x04\x08]",
    "Autodesk animation": rb".{4}[\x11\x12]\xaf",
    "QOI": rb"qoif",
    "farbfeld": rb"farbfeld",
    "Blizzard texture": rb"BLP[12]",
}


@dataclasses.dataclass(frozen=True)
class Decoded:
    """One image: its pixels after preprocessing, and what the file said of itself."""

    pixels: Pixels  # uint8 (height, width, channels) as the preprocessing asks, 0-255
    format: str  # a key of FORMATS
    width: int  # pixels, of the upright image in the file
    height: int  # pixels, of the upright image in the file


def decode(data: bytes, preprocessing: Preprocessing, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode the bytes of one image file: upright, in sRGB, on white, of an animation the first frame.

    Raises ImageError and nothing else, whatever the bytes; the size is checked before pixels are allocated.
    Any number of threads may decode at once: nothing outside is changed, and no warning is issued.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("LA", (30, 20), (0, 0)).save(file, "PNG")
    >>> decoded = decode(file.getvalue(), Preprocessing(width=6, height=4))
    >>> decoded.format, decoded.width, decoded.height, decoded.pixels.shape, int(decoded.pixels.min())
    ('PNG', 30, 20, (4, 6, 3), 255)
    """
    name = identify(data)
    try:
        return _decode(name, data, preprocessing, max_pixels)
    except ImageError:
        raise
    except Exception as error:
        # On hostile bytes decoders raise nearly anything, from struct.error to MemoryError
        raise decoders.as_image_error(name, error) from error


def load(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Read and decode one file: uint8 (height, width, channels). Raises ImageError."""
    return decode(read_bytes(path), preprocessing).pixels


def identify(data: bytes) -> str:
    """Name the format by the first bytes: a key of FORMATS. Raises ImageError.

    >>> identify(b"GIF89a and so on")
    'GIF'
    >>> identify(b"%PDF-1.7")
    Traceback (most recent call last):
    fieldmark.errors.ImageError: unsupported_format: the content is PDF, which is not read; convert it to JPEG or PNG
    """
    if not data:
        raise ImageError("empty_file", "the file holds no bytes")
    beginning = data[:16_384]
    for name, entry in FORMATS.items():
        if re.match(entry.signature, beginning, re.DOTALL):
            return name
    for name, signature in UNREAD.items():
        if re.match(signature, beginning, re.DOTALL):
            raise ImageError("unsupported_format", f"the content is {name}, which is not read; {CONVERT}")
    if data.endswith(b"TRUEVISION-XFILE.\0"):  # the one signature that stands at the end
        raise ImageError("unsupported_format", f"the content is TGA, which is not read; {CONVERT}")
    raise ImageError("not_an_image", f"no known image begins with the bytes {data[:8]!r}")


def suffix_mismatch(path: str | Path, format: str) -> str | None:
    """Say in a sentence how the suffix of a name contradicts the format of the content; None if it agrees.

    >>> suffix_mismatch("cat.JPG", "JPEG")
    >>> suffix_mismatch("cat.png", "JPEG")
    'the suffix .png says PNG, the content is JPEG'
    """
    suffix = Path(path).suffix.lower()
    if suffix in FORMATS[format].suffixes:
        return None
    if not suffix:
        return f"the name has no suffix, the content is {format}"
    for name, entry in FORMATS.items():
        if suffix in entry.suffixes:
            return f"the suffix {suffix} says {name}, the content is {format}"
    return f"the suffix {suffix} is not one of {format}, which the content is"


def read_bytes(path: Path) -> bytes:
    """Read one whole file, without ever waiting on a pipe or touching a device. Raises ImageError."""
    try:
        data = reading.read_bytes(path, most=MAX_BYTES)
    except reading.NotRegularError as error:
        raise ImageError("not_regular_file", str(error)) from error
    except reading.TooLargeError as error:
        raise ImageError("too_many_bytes", str(error)) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not data:
        raise ImageError("empty_file", "the file holds no bytes")
    return data


def _unreadable(path: Path, error: OSError | ValueError) -> ImageError:
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return ImageError("broken_link", "a link that leads back to itself")
    if number in (errno.ENOENT, errno.ENOTDIR) and path.is_symlink():
        return ImageError("broken_link", f"a link to {str(path.readlink())!r}, where nothing is")
    return ImageError("unreadable_file", f"cannot be read: {reading.reason(error)}")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _decode(name: str, data: bytes, preprocessing: Preprocessing, max_pixels: int) -> Decoded:
    container = containers.open_container(data, FORMATS[name].walk)
    if container.size is not None:
        _check_size(container.size, max_pixels)
    image = FORMATS[name].open(io.BytesIO(container.data))
    _check_size(image.size, max_pixels)
    decoders.check_tiles(image)
    turn = directories.orientation(image.info.get("exif", b"") if container.exif is None else container.exif)
    width, height = image.size if turn < 5 else image.size[::-1]
    enough = decoders.enough_pixels((width, height), preprocessing)
    box = decoders.draft(image, enough, turn)
    profile = image.info.get("icc_profile", b"") if container.profile is None else container.profile
    pixels = plain.decode_plain(image, container)
    if pixels is not None and pixels.shape == preprocessing.shape and not profile and turn not in _TURNS:
        return Decoded(pixels, name, width, height)
    flat = _loaded(image, container.data, enough, turn) if pixels is None else Image.fromarray(pixels)
    box = decoders.turned_box(box, flat.size, turn)
    upright = flat.transpose(_TURNS[turn]) if turn in _TURNS else flat
    converted = to_srgb(upright, profile, enough=enough)
    box = decoders.scaled_box(box, upright.size, converted.size)
    return Decoded(to_pixels(converted, preprocessing, box=box), name, width, height)


def _loaded(image: ImageFile, data: bytes, enough: tuple[int, int] | None, turn: int) -> Image.Image:
    """The image decoded by Pillow, with what Pillow leaves unsaid or undone in its format seen to."""
    image.load()
    if isinstance(image, JpegImageFile):
        decoders.check_scans(image, data, enough, turn)
    elif isinstance(image, PngImageFile):
        decoders.check_rows(image, data)
        decoders.scale_transparency(image, data)
    elif isinstance(image, TiffImageFile):
        return decoders.sixteen_bits(image)
    return image


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"{width:,} × {height:,} pixels; at most {max_pixels:,} are decoded")
    if max(size) > MAX_SIDE:
        raise ImageError("too_many_pixels", f"{width:,} × {height:,} pixels; a side has at most {MAX_SIDE:,}")

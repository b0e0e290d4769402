"""Containers: what stands around the pixels in a file, walked before a decoder sees it.

Pillow reads metadata eagerly, so a broken EXIF block, a colour profile that inflates to gigabytes, a second
image or ten thousand further frames can cost the image, the memory or a warning on the user's screen. One
function a format therefore walks the file's own structure and returns a `Container`: the same image with
only what its pixels need. The walk also tells a file cut short (`truncated`) from a damaged one (`corrupt`).

Each walk takes time proportional to the bytes and allocates no pixels. Where a file ends inside one of its
own structures it raises struct.error or IndexError, which `open_container` turns into `truncated`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from fieldmark.errors import ImageError

MAX_PROFILE_BYTES = 4 * 2**20  # printers' profiles take about 2 MB
MAX_PARTS = 200_000  # segments, chunks or blocks; long animations have tens of thousands
MAX_SEGMENTS = 1000  # from the first scan of a JPEG on; progressive ones have about thirty
MAX_SCANS = 64  # of a progressive JPEG; encoders write about ten, and each goes over all pixels again
MAX_RUN_LENGTH_BYTES = 5_000_000


class Container(NamedTuple):
    """One image without its surroundings.

    `exif` and `profile` are None where they stay inside `data`, for the decoder to find.
    """

    data: bytes
    exif: bytes | None = None
    profile: bytes | None = None  # ICC
    size: tuple[int, int] | None = None  # width, height; given where the decoder allocates pixels on opening
    ended: bool = False  # JPEG: a walk from segment to segment, as libjpeg's, meets an end mark


def open_container(data: bytes, walk: Callable[[bytes], Container]) -> Container:
    """Walk `data` with the function of its format. Raises ImageError."""
    try:
        return walk(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError("truncated", "the file ends inside its own header") from error


# ---- JPEG: ITU-T T.81, annex B

# Searching for it also skips fill bytes, and the junk between segments that decoders tolerate
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
_JPEG_SCAN = re.compile(rb"\xff\xda")
# Inside a scan 0xff is followed by 0 or a restart number
_JPEG_SEGMENT = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_JPEG_LOSSLESS = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}  # lossless or hierarchical


def jpeg(data: bytes) -> Container:
    """Keep the tables, the frame and all scans; take out EXIF and profile, drop the other metadata."""
    kept: list[bytes] = [data[:2]]
    blocks: list[bytes] = []
    profile: dict[int, bytes] = {}
    position = 2
    for _ in range(MAX_PARTS):
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            raise ImageError("truncated", "the file ends before its first scan")
        marker, position = match[1][0], match.end()
        if marker == 0xDA:
            return _jpeg_scans(data, match.start(), kept, blocks, profile)
        if marker in _JPEG_LOSSLESS:
            raise ImageError("unsupported_format", "a lossless or hierarchical JPEG")
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise ImageError("corrupt", "a segment is shorter than its own length")
        body, position = data[position + 2 : position + length], position + length
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            blocks.append(body)
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
        elif _jpeg_needs(marker, body):
            kept.append(data[match.start() : position])
    raise ImageError("corrupt", f"more than {MAX_PARTS} segments before the first scan")


def _jpeg_needs(marker: int, body: bytes) -> bool:
    # Of the application segments, decoders judge the colours by two
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return marker < 0xE0


def _jpeg_scans(
    data: bytes, start: int, kept: list[bytes], blocks: list[bytes], profile: dict[int, bytes]
) -> Container:
    scans, ended = _jpeg_walk(data, start)
    if not ended:  # a wrong length hides what stands behind it. Twice as fast as bytes.count
        scans = sum(1 for _ in _JPEG_SCAN.finditer(data, start))
    if scans > MAX_SCANS:
        raise ImageError("corrupt", f"{scans} scans; encoders write about ten")
    joined = b"".join(profile[number] for number in sorted(profile))
    whole = b"".join([*kept, memoryview(data)[start:]])
    return Container(whole, blocks[0] if blocks else b"", joined, ended=ended)


def _jpeg_walk(data: bytes, position: int) -> tuple[int, bool]:
    """How many scans there are up to the end mark, and whether the walk came to one."""
    scans = 0
    for _ in range(MAX_SEGMENTS):
        match = _JPEG_SEGMENT.search(data, position)
        if match is None:
            break
        if match[1] == b"\xd9":
            return scans, True
        scans += match[1] == b"\xda"
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return scans, False


# ---- PNG: https://www.w3.org/TR/png-3/

_PNG_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def png(data: bytes) -> Container:
    """Keep the chunks that make the still image, their checksums verified; take out EXIF and profile.

    Of an animation this is the default image, which is the first frame wherever an animation begins with it.
    """
    kept, blocks, profile, position = [memoryview(data)[:8]], b"", b"", 8
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">L4s", data, position)
        if not kind.isalpha():
            raise ImageError("corrupt", f"{kind!r} stands where the name of a chunk belongs")
        chunk = memoryview(data)[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise ImageError("truncated", f"the file ends inside its {kind.decode()} chunk")
        (checksum,) = struct.unpack_from(">L", chunk, 8 + length)
        intact = zlib.crc32(chunk[4:-4]) == checksum
        if kind in _PNG_NEEDED:
            if not intact:
                raise ImageError("corrupt", f"the checksum of a {kind.decode()} chunk is wrong")
            kept.append(chunk)
        elif kind == b"eXIf" and intact:
            blocks = bytes(chunk[8:-4])
        elif kind == b"iCCP" and intact:
            profile = _inflated_profile(bytes(chunk[8:-4]))
        if kind == b"IEND":
            return Container(b"".join(kept), blocks, profile)
        position += 12 + length
    raise ImageError("corrupt", f"more than {MAX_PARTS} chunks")


def _inflated_profile(body: bytes) -> bytes:
    stream = body.partition(b"\0")[2][1:]  # after the profile's name and the compression method
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(stream, MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return b"" if inflate.unconsumed_tail else profile


# ---- GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt

_GIF_BLOCK = re.compile(rb"[!,;]")


def gif(data: bytes) -> Container:
    """Keep the screen and the first frame with its transparency; know the size before pixels are there."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_palette_bytes(flags)
    header, control = data[:position], b""
    for _ in range(MAX_PARTS):
        match = _GIF_BLOCK.search(data, position)
        if match is None:
            raise ImageError("truncated", "the file ends before its first frame")
        start = match.start()
        if match[0] == b";":
            raise ImageError("corrupt", "a GIF without a frame")
        if match[0] == b"!":
            position = _gif_blocks_end(data, start + 2)
            control = data[start:position] if data[start + 1] == 0xF9 else control
            continue
        left, top, wide, high, flags = struct.unpack_from("<4HB", data, start + 1)
        end = _gif_blocks_end(data, start + 11 + _gif_palette_bytes(flags))
        size = max(width, left + wide), max(height, top + high)
        return Container(header + control + data[start:end] + b";", b"", b"", size)
    raise ImageError("corrupt", f"more than {MAX_PARTS} blocks before the first frame")


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _gif_blocks_end(data: bytes, position: int) -> int:
    for _ in range(5 * MAX_PARTS):
        length = data[position]
        position += 1 + length
        if length == 0:
            return position
    raise ImageError("corrupt", "more blocks of data than 50 megapixels need")


# ---- WebP: https://developers.google.com/speed/webp/docs/riff_container


def webp(data: bytes) -> Container:
    """Check that the file is whole; the size is known before the canvas is allocated."""
    (length,) = struct.unpack_from("<L", data, 4)
    if length + 8 > len(data):
        raise ImageError("truncated", f"{len(data)} bytes of {length + 8}")
    kind, head = data[12:16], struct.unpack_from("<10B", data, 20)
    if kind == b"VP8X":
        size = 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        size = (head[6] | head[7] << 8) & 0x3FFF, (head[8] | head[9] << 8) & 0x3FFF
    return Container(data, size=size)


# ---- AVIF: ISO base media file, ISO/IEC 23008-12

_AVIF_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def avif(data: bytes) -> Container:
    """Check that the file is whole, and hide the EXIF block: turning is said by other boxes (irot, imir)."""
    boxes: list[bytes] = []
    position = 0
    while position < len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        box = data[position : position + length] if length else data[position:]
        if 0 < length < 8 or len(boxes) > MAX_PARTS:
            raise ImageError("corrupt", "the boxes of the file make no sense")
        if len(box) < length:
            raise ImageError("truncated", f"the file ends inside its {kind.decode('latin-1')!r} box")
        boxes.append(_AVIF_EXIF_ITEM.sub(rb"\1skip", box) if kind == b"meta" else box)
        position += len(box)
    return Container(b"".join(boxes))


# ---- BMP


def bmp(data: bytes) -> Container:
    """There is nothing around the pixels. Pillow reads run lengths in Python, half a second a million."""
    compression = data[30] if data[14] >= 40 else 0
    if compression in (1, 2) and len(data) > MAX_RUN_LENGTH_BYTES:
        raise ImageError("unsupported_format", f"a run-length BMP of more than {MAX_RUN_LENGTH_BYTES:,} bytes")
    return Container(data, b"", b"")

"""Copies: small JPEG copies of the dataset's own images, decoded where uploads are: no file harms the server."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from PIL import Image

from fieldmark.images import formats
from fieldmark.preprocessing import Pixels
from fieldmark.report.thumbnails import JPEG_QUALITY, fitted
from fieldmark.serving.workers import DecodePool

AT_ONCE = 2  # files in memory; each may have 512 MB


class Copies:
    """Makes copies, a few at a time."""

    def __init__(self, pool: DecodePool) -> None:
        self._pool = pool
        self._places = asyncio.Semaphore(AT_ONCE)

    async def small(self, file: Path, size: tuple[int, int] | None, *, side: int) -> bytes:
        """A JPEG of at most `side` pixels, upright, of an animation the first frame, without the file's metadata.

        `size` is the (width, height) of the upright image, None where it is not known. Raises ImageError for a file
        that is not there or cannot be used, Refusal where its decoder was lost.
        """
        async with self._places:
            content = await asyncio.to_thread(formats.read_bytes, file)
            pixels = await self._pool.decode(content, fitted(size, side))
        return await asyncio.to_thread(_jpeg, pixels)


def _jpeg(pixels: Pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()

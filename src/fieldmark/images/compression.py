"""Compression: how strongly a JPEG file was compressed, by its own tables; nothing is decoded.

Images of one class that were saved by another program, at another quality, can be told by these numbers alone.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import BinaryIO

# Segments before the image data that are skipped at the most: a hostile file may hold any number of them.
MAX_SEGMENTS = 1000
_SOI, _SOS, _EOI, _DQT = 0xD8, 0xDA, 0xD9, 0xDB
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


@dataclasses.dataclass(frozen=True)
class Compression:
    """What a JPEG file says of its own compression."""

    luma_step: float  # mean step of the brightness table: 1 for the best quality, 50 for JPEG quality 50
    chroma_step: float  # mean step of the colour table; that of brightness where there is none
    colour_cells: int  # brightness values for each colour value: 1 for 4:4:4, 4 for 4:2:0; 0 for greyscale
    progressive: bool


def compression(path: Path) -> Compression | None:
    """Return the compression of a JPEG file; None where the file is none, or is damaged before its image data."""
    try:
        with path.open("rb") as file:
            return _compression(file)
    except (OSError, IndexError, ValueError):
        return None


def _compression(file: BinaryIO) -> Compression | None:
    if file.read(2) != bytes([0xFF, _SOI]):
        return None
    tables: dict[int, float] = {}
    cells, progressive = 0, False
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(file)
        if marker is None or marker in (_SOS, _EOI):
            break
        length = int.from_bytes(file.read(2)) - 2
        if length < 0:
            return None
        if marker == _DQT:
            tables |= _quantisation(file.read(length))
        elif marker in _FRAMES:
            cells, progressive = _colour_cells(file.read(length)), marker in _PROGRESSIVE
        else:
            file.seek(length, 1)
    if not tables:
        return None
    luma = tables[min(tables)]
    return Compression(luma, tables[max(tables)] if len(tables) > 1 else luma, cells, progressive)


def _next_marker(file: BinaryIO) -> int | None:
    if file.read(1) != b"\xff":
        return None
    marker = file.read(1)
    while marker == b"\xff":  # padding
        marker = file.read(1)
    return marker[0] if marker else None


def _quantisation(segment: bytes) -> dict[int, float]:
    # {table: mean step} of one DQT segment, which may hold several tables (ITU-T T.81, B.2.4.1)
    tables, place = {}, 0
    while place < len(segment):
        wide, number = segment[place] >> 4, segment[place] & 15
        size = 128 if wide else 64
        steps = segment[place + 1 : place + 1 + size]
        if len(steps) < size:
            raise ValueError("a quantisation table that ends early")
        values = [int.from_bytes(steps[i : i + 2]) for i in range(0, size, 2)] if wide else list(steps)
        tables[number] = math.fsum(values) / 64
        place += 1 + size
    return tables


def _colour_cells(frame: bytes) -> int:
    # B.2.2: precision, height, width, components, then (id, sampling, table) of each
    count = frame[5]
    if count < 3:
        return 0
    luma, chroma = frame[7], frame[10]
    return max(1, (luma >> 4) * (luma & 15) // max(1, (chroma >> 4) * (chroma & 15)))

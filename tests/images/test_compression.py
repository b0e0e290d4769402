"""Compression: read from the tables of real JPEG files, and None for whatever is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldmark.images.compression import compression


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize(("quality", "subsampling", "cells"), [(50, 2, 4), (90, 0, 1), (75, 1, 2)])
def test_tables_are_those_that_pillow_reads(
    photo: Image.Image, tmp_path: Path, quality: int, subsampling: int, cells: int
) -> None:
    path = tmp_path / "photo.jpg"
    photo.save(path, quality=quality, subsampling=subsampling, progressive=quality == 50)
    found = compression(path)
    with Image.open(path) as image:
        tables = image.quantization
    assert found is not None
    assert found.luma_step == pytest.approx(np.mean(tables[0]))
    assert found.chroma_step == pytest.approx(np.mean(tables[1]))
    assert (found.colour_cells, found.progressive) == (cells, quality == 50)


def test_greyscale_and_a_long_profile_in_front(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    photo.convert("L").save(path, quality=80, icc_profile=b"x" * 200_000)
    found = compression(path)
    assert found is not None
    assert (found.colour_cells, found.chroma_step) == (0, found.luma_step)


def test_no_bytes_raise(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    photo.save(path)
    data = path.read_bytes()
    for end in range(0, 700, 7):
        path.write_bytes(data[:end])
        compression(path)
    path.write_bytes(b"\x89PNG")
    assert compression(path) is None
    assert compression(tmp_path / "missing.jpg") is None

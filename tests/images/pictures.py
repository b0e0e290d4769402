"""Pictures as the tests of copies and groups look at them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fieldmark.images.duplicates import SIDE, thumbnail


def thumbnails(images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """The thumbnails of images, uint8 (n, 16, 16, 3)."""
    found = [thumbnail(pixels) for pixels in images]
    return np.stack(found) if found else np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)

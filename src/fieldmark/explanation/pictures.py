"""Pictures: overlays on the image as the network saw it, and feature maps as grids, drawn with Pillow.

Colours that people with any kind of colour vision can tell apart: viridis for amounts (Smith and van der Walt 2015,
CC0), orange against purple for what speaks for and against (PuOr of ColorBrewer 2.0, Harrower and Brewer 2003,
doi:10.1179/000870403235002042, marked colour-blind safe there).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark.images.samples import PAPER, write
from fieldmark.preprocessing import Pixels

# Evenly spaced stops; the colours between them are mixed.
VIRIDIS = (
    *("440154", "482475", "414487", "355f8d", "2a788e", "21918c"),
    *("22a884", "44bf70", "7ad151", "bddf26", "fde725"),
)
PURPLE_TO_ORANGE = (
    *("2d004b", "542788", "8073ac", "b2abd2", "d8daeb", "f7f7f7"),
    *("fee0b6", "fdb863", "e08214", "b35806", "7f3b08"),
)
OVERLAY_SIDE = 448  # pixels of the longer side, so that a person sees something
OPACITY = 0.75  # of the strongest place
CAPTION = 22  # pixels
CELL = 48  # pixels of one feature map in a grid
GAP = 2  # pixels
COLUMNS = 16


def colours(shares: npt.NDArray[np.floating], stops: Sequence[str]) -> Pixels:
    """Turn shares (…), 0-1, into uint8 (…, 3).

    >>> colours(np.array([0.0, 1.0]), ("000000", "ff8000")).tolist()
    [[0, 0, 0], [255, 128, 0]]
    """
    table = np.array([tuple(bytes.fromhex(stop)) for stop in stops], dtype=np.float64)
    places = np.clip(shares, 0, 1) * (len(table) - 1)
    return np.stack(
        [np.interp(places, np.arange(len(table)), table[:, band]).round() for band in range(3)], axis=-1
    ).astype(np.uint8)


def picture(pixels: Pixels) -> Image.Image:
    """The image uint8 (height, width, 1 or 3) as the network saw it, enlarged for a person."""
    image = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())
    scale = OVERLAY_SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def overlay(pixels: Pixels, places: npt.NDArray[np.floating], caption: str = "", *, full: float = 0.0) -> Image.Image:
    """Lay what speaks for (orange) and against (purple) over the image, as opaque as it is strong.

    The strongest place is the most opaque one, or the value `full` where no place reaches it. The image below is pale
    and grey, so that every colour is the overlay's. Without a caption it has the size of `picture`.
    """
    below = picture(pixels).convert("L").point(lambda value: 80 + 0.68 * value).convert("RGB")
    strongest = max(full, float(np.abs(places).max(initial=0.0))) or 1.0
    scaled = Image.fromarray((places / strongest).astype(np.float32)).resize(below.size, Image.Resampling.BILINEAR)
    signed = np.asarray(scaled, dtype=np.float64)
    opacity = Image.fromarray((np.clip(np.abs(signed), 0, 1) * OPACITY * 255).round().astype(np.uint8))
    # Weak places keep their colour: how opaque they are says how weak they are
    hue = colours(np.where(signed < 0, 0.1, 0.85), PURPLE_TO_ORANGE)
    below.paste(Image.fromarray(hue), mask=opacity)
    return captioned(below, caption) if caption else below


def captioned(image: Image.Image, caption: str) -> Image.Image:
    """The picture with a line of text above."""
    page = Image.new("RGB", (image.width, image.height + CAPTION), PAPER)
    page.paste(image, (0, CAPTION))
    write(page, caption, (4, CAPTION // 2), image.width - 8, size=13)
    return page


def feature_grid(
    maps: npt.NDArray[np.float32], caption: str = "", *, at_most: int, columns: int = COLUMNS
) -> Image.Image:
    """Feature maps (channels, height, width) as a grid below its caption, each from its own least to greatest value.

    A channel that is the same everywhere is drawn in the darkest colour. Of more than `at_most` the first are shown.
    """
    maps = maps[:at_most]
    rows = -(-len(maps) // columns)
    page = Image.new("RGB", (columns * (CELL + GAP), rows * (CELL + GAP)), PAPER)
    for number, channel in enumerate(maps):
        low, high = float(channel.min()), float(channel.max())
        shares = (channel - low) / (high - low) if high > low else np.zeros_like(channel)
        cell = Image.fromarray(colours(shares, VIRIDIS)).resize((CELL, CELL), Image.Resampling.BOX)
        page.paste(cell, ((number % columns) * (CELL + GAP), number // columns * (CELL + GAP)))
    return captioned(page, caption) if caption else page


def stacked(pages: Sequence[Image.Image]) -> Image.Image:
    """The pictures one below the other."""
    tall = Image.new("RGB", (max(page.width for page in pages), sum(page.height for page in pages)), PAPER)
    top = 0
    for page in pages:
        tall.paste(page, (0, top))
        top += page.height
    return tall

"""Overlay: one picture seen through a map from places in another, and which of those places say anything.

A map (2, 3) takes places (x, y, 1) to places (x, y); places run from -1 to 1 across a picture.
"""

from __future__ import annotations

import numpy as np

from fieldmark.checks.planes import Floats

# Levels at which a picture is burnt out: there it says nothing, nor do frames and corners in black and white.
BLACK, WHITE = 4.0, 250.0
LEAST_SAID = 0.15  # of the overlap: where less is left, burnt out places count as well


def grid(side: int) -> Floats:
    """The middles of so many pixels from -1 to 1, (side,)."""
    return ((np.arange(side) + 0.5) * (2 / side) - 1).astype(np.float32)


def places_of(side: int) -> tuple[Floats, Floats, Floats]:
    """The x and the y of every cell (cells,), and both with ones (3, cells)."""
    y, x = (plane.ravel() for plane in np.meshgrid(grid(side), grid(side), indexing="ij"))
    return x, y, np.stack([x, y, np.ones_like(x)])


def sample(layers: tuple[Floats, ...], places: Floats) -> tuple[list[Floats], Floats]:
    """The layers (m, side, side) at places (m, 2, cells) from -1 to 1, and which places lie inside, as 0 and 1."""
    side = layers[0].shape[1]
    index = (places + 1) * (side / 2) - 0.5
    inside = np.asarray((np.abs(places) <= 1).all(axis=1), dtype=np.float32)
    index = np.clip(index, 0, side - 1.001)
    low = index.astype(np.intp)
    part = (index - low).astype(np.float32)
    base = np.arange(len(places))[:, None] * side * side + low[:, 1] * side + low[:, 0]
    right, down = part[:, 0], part[:, 1]
    weights = ((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down)
    found = [np.zeros(base.shape, dtype=np.float32) for _ in layers]
    for weight, step in zip(weights, (0, 1, side, side + 1), strict=True):
        corner = base + step
        for layer, value in zip(layers, found, strict=True):
            value += weight * layer.reshape(-1).take(corner)  # twice as fast as by [corner]
    return found, inside


def said(inside: Floats, a: Floats, b: Floats) -> Floats:
    """The places (m, cells) that count: those inside that are burnt out in neither picture, if enough are left."""
    clear = inside * ((np.minimum(a, b) > BLACK) & (np.maximum(a, b) < WHITE))
    enough = clear.sum(axis=1) >= LEAST_SAID * inside.sum(axis=1)
    return np.where(enough[:, None], clear, inside)


def laid_over(a: Floats, b: Floats, maps: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Pictures a, and b laid over them, which places count, and which overlap; each (m, cells)."""
    side = a.shape[1]
    flat = a.reshape(len(a), -1)
    (shown,), overlap = sample((b,), maps @ places_of(side)[2])
    return flat, shown, said(overlap, flat, shown), overlap


def standardised(values: Floats, inside: Floats) -> tuple[Floats, Floats]:
    """Values (m, cells) less their mean, in units of their contrast (m, 1) inside, of one level at the least."""
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    centred = values - (values * inside).sum(axis=1, keepdims=True) / count
    contrast = np.sqrt(np.maximum((centred**2 * inside).sum(axis=1, keepdims=True) / count, 1.0))
    return centred / contrast, contrast

"""Augmentation on a device: what `fieldmark.images.augment` does to images with Pillow, in torch, a batch at a time.

Both follow the same draws. What an image's draws mean is worked out on the CPU, in float64, as one row of numbers
(`changes`); `vary` applies such rows to pixels where the pixels are. Like Pillow, it rounds to whole values after
every change; only sums in float32 that end next to a half may round to the other side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from fieldmark.images.augment import FILTER, Augmentation, color_matrices, draw, erased_sides, filters, spot

Changes = npt.NDArray[np.float32]
Columns = dict[str, torch.Tensor]

PLACE = ("flip", "zoom", "middle_x", "middle_y")
COLOR = tuple(f"color_{row}_{column}" for row in range(3) for column in range(4))
LIGHTEN = ("light_x", "light_y", "light_radius", "light_strength")
ERASE = ("left", "top", "right", "bottom", "red", "green", "blue")
COLUMNS = (*PLACE, *COLOR, *LIGHTEN, *ERASE, *FILTER)


def changes(
    augmentation: Augmentation, keys: npt.NDArray[np.uint64], shape: tuple[int, int, int], *, seed: int, epoch: int
) -> Changes:
    """What happens to images of `shape` (height, width, channels): float32 (n, len(COLUMNS)), a row for each key.

    >>> row = changes(Augmentation(flip=1.0), np.array([7], dtype=np.uint64), (8, 8, 3), seed=0, epoch=1)[0]
    >>> dict(zip(COLUMNS, row.tolist()))["flip"]
    1.0
    """
    if augmentation == Augmentation() or not len(keys):
        return np.zeros((len(keys), len(COLUMNS)), np.float32)
    height, width, _ = shape
    draws = draw(keys, seed=seed, epoch=epoch)
    *place, strength = spot(draws)
    columns = [
        draws["flip"] < augmentation.flip,
        augmentation.zoom ** (2 * draws["zoom"] - 1),
        width * (0.5 + augmentation.shift * (2 * draws["shift_x"] - 1)),
        height * (0.5 + augmentation.shift * (2 * draws["shift_y"] - 1)),
        *color_matrices(augmentation, draws).reshape(len(keys), -1).T,
        *place,
        (draws["lighten"] < augmentation.lighten) * strength,
        *_rectangle(augmentation, draws, height, width),
        *(np.floor(256 * draws[f"erase_{name}"]) for name in ("red", "green", "blue")),
        *filters(augmentation, draws).reshape(len(keys), -1).T,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def vary(pixels: torch.Tensor, rows: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Apply `changes` to uint8 (batch, height, width, 3 or 1): float32 (batch, channels, height, width), 0-255, whole.

    Waits for no device, so it may be part of a CUDA graph.

    >>> pixels = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    >>> rows = changes(Augmentation(flip=1.0), np.array([7], dtype=np.uint64), (1, 2, 3), seed=0, epoch=1)
    >>> vary(pixels, torch.from_numpy(rows), Augmentation(flip=1.0))[0, :, 0].int().tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    x = pixels.permute(0, 3, 1, 2).to(torch.float32)
    if augmentation == Augmentation():
        return x
    own = dict(zip(COLUMNS, rows[:, :, None, None].unbind(1), strict=True))  # each (batch, 1, 1)
    x = torch.where(own["flip"][:, None] > 0, x.flip(-1), x)
    if augmentation.zoom != 1 or augmentation.shift != 0:
        x = _place(x, own, augmentation)
    x = _recolor(x, torch.cat([own[name] for name in COLOR], dim=2).view(-1, 3, 4))
    if augmentation.convolve:
        x = _convolve(x, torch.cat([own[name] for name in FILTER], dim=2).view(-1, 3, 3, 3, 3))
    if augmentation.lighten:
        x = _lighten(x, own)
    return _erase(x, own) if augmentation.erase else x


def _rectangle(
    augmentation: Augmentation, draws: Mapping[str, npt.NDArray[np.float64]], height: int, width: int
) -> list[npt.NDArray[np.float64]]:
    """Left, top, right and bottom of what is erased; nothing from 0 to 0 where nothing is."""
    wide, high = erased_sides(draws, height, width)
    wide, high = np.clip(np.rint(wide), 1, width), np.clip(np.rint(high), 1, height)
    left = np.floor(draws["erase_x"] * (width - wide + 1))
    top = np.floor(draws["erase_y"] * (height - high + 1))
    erased = draws["erase"] < augmentation.erase
    return [erased * edge for edge in (left, top, left + wide, top + high)]


def _place(x: torch.Tensor, own: Columns, augmentation: Augmentation) -> torch.Tensor:
    """Zoom and shift. Resizing is linear in the pixels, rows and columns apart: out = down @ image @ across."""
    batch, channels, height, width = x.shape
    reach = augmentation.shift + (augmentation.zoom - 1) / 2
    margin = math.ceil(reach * max(height, width))
    across = _resampling(width, margin, own["middle_x"], own["zoom"])
    down = _resampling(height, margin, own["middle_y"], own["zoom"])
    x = _whole(x.reshape(batch, channels * height, width) @ across.mT)
    return _whole(down[:, None] @ x.view(batch, channels, height, width))


def _resampling(length: int, margin: int, middle: torch.Tensor, zoom: torch.Tensor) -> torch.Tensor:
    """How much of each input position goes into each output: (batch, length, length), rows add up to 1.

    Pillow's bilinear filter, wider where the image shrinks, over an image whose edges are repeated `margin` times;
    `precompute_coeffs` in Pillow's src/libImaging/Resample.c.
    """
    places = torch.arange(length + 2 * margin, device=middle.device, dtype=torch.float32) + 0.5 - margin
    steps = places[margin : margin + length, None] / zoom
    centers = middle - length / zoom / 2 + steps  # (batch, length, 1)
    weights = (1 - (places - centers).abs() / (1 / zoom).clamp(min=1)).clamp(min=0)
    weights = weights / weights.sum(2, keepdim=True)
    before, inside, after = torch.split(weights, [margin, length, margin], dim=2)
    edges = torch.zeros_like(inside)
    edges[:, :, 0] = before.sum(2)
    edges[:, :, -1] += after.sum(2)
    return inside + edges


def _recolor(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    weights, offsets = matrices[:, :, :3], matrices[:, :, 3:]
    if x.shape[1] == 1:  # a grey image takes the mean of what its grey would become
        weights, offsets = weights.sum((1, 2), keepdim=True) / 3, offsets.mean(1, keepdim=True)
        return torch.round(x * weights[:, None] + offsets[:, None]).clamp(0, 255)
    return _whole(torch.baddbmm(offsets, weights, x.flatten(2))).clamp(0, 255).view(x.shape)


def _convolve(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    if x.shape[1] == 1:  # the mean of what its grey would become
        weights = torch.round(weights.sum(2, keepdim=True).mean(1, keepdim=True) * 256) / 256
    batch, colors, height, width = x.shape
    padded = functional.pad(x - 128, (1, 1, 1, 1), mode="replicate").view(1, batch * colors, height + 2, width + 2)
    new = functional.conv2d(padded, weights.flatten(0, 1), groups=batch)  # each image has its own
    return torch.round(new.view(x.shape) + 128).clamp(0, 255)


def _lighten(x: torch.Tensor, own: Columns) -> torch.Tensor:
    height, width = x.shape[2:]
    down = (torch.arange(height, device=x.device)[:, None] + 0.5) / height - own["light_y"]
    across = (torch.arange(width, device=x.device) + 0.5) / width - own["light_x"]
    distance = (across.square() + down.square()).sqrt()
    fade = ((distance - own["light_radius"]) / 0.2).clamp(0, 1) * own["light_strength"]
    kept = torch.round(255 * (1 - fade))[:, None]
    return _whole((x * kept + 255 * (255 - kept)) / 255)


def _erase(x: torch.Tensor, own: Columns) -> torch.Tensor:
    height, width = x.shape[2:]
    down, across = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    inside = (across >= own["left"]) & (across < own["right"]) & (down >= own["top"]) & (down < own["bottom"])
    color = torch.stack([own[name] for name in ("red", "green", "blue")[: x.shape[1]]], dim=1)
    return torch.where(inside[:, None], color, x)


def _whole(x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x + 0.5)

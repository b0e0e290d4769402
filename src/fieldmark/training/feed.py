"""Feed: batches for a step. On a GPU they come from pixels that stay there, or stream in where they do not fit.

A feed yields tuples that its step takes as they are: (pixels, labels) for the CPU, and for a device
(pixels, labels, changes), where `changes` says how the step is to vary each image (see `augmentation`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from fieldmark.images.augment import Augmentation, augment, find_augmentation
from fieldmark.images.batches import content_keys
from fieldmark.images.read import Images
from fieldmark.images.threads import ordered_map
from fieldmark.preprocessing import Pixels
from fieldmark.training.augmentation import Changes, changes
from fieldmark.training.choices import StepChoices
from fieldmark.training.device import send

Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
OnDevice = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

# Batches made ready while one is trained on: enough to never wait, few enough to hold.
BATCHES_AHEAD = 2
# Batches whose rows and changes travel to the device together.
BATCHES_A_COPY = 32
# Images copied to the device at a time when all of them move there.
IMAGES_A_COPY = 256
# Share of the device's free memory that the pixels may take; the rest is for the network's activations.
SHARE_OF_MEMORY = 0.6
# Assumed of a device that does not tell.
FREE_BYTES = 2 * 2**30


class Feed(Protocol):
    """Makes batches of a dataset's rows."""

    def training(self, batches: Iterable[Rows], epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yield the batches, varied as (seed, epoch, content) decide."""
        ...

    def plain(self, batches: Iterable[Rows]) -> Iterator[tuple[Any, ...]]:
        """Yield the batches as the images are."""
        ...


@dataclasses.dataclass(frozen=True)
class CacheFeed:
    """For the CPU: uint8 (n, height, width, channels) and int32 (n,), read and varied in a thread ahead."""

    images: Images
    augmentation: str  # a name of AUGMENTATIONS
    seed: int

    def training(self, batches: Iterable[Rows], epoch: int) -> Iterator[tuple[Pixels, Labels]]:
        """Yield the batches, varied; see `Feed`."""
        keys = content_keys(self.images.dataset)

        def prepare(rows: Rows) -> tuple[Pixels, Labels]:
            pixels, labels = self._read(rows)
            if self.augmentation != "none":
                pixels = augment(pixels, keys[rows], name=self.augmentation, seed=self.seed, epoch=epoch)
            return pixels, labels

        return ordered_map(prepare, batches, workers=1, ahead=BATCHES_AHEAD)

    def plain(self, batches: Iterable[Rows]) -> Iterator[tuple[Pixels, Labels]]:
        """Yield the batches as they are."""
        return map(self._read, batches)

    def _read(self, rows: Rows) -> tuple[Pixels, Labels]:
        return self.images.pixels(rows), self.images.dataset.labels[rows]


class _Variation:
    """How the images of a dataset vary, epoch by epoch: the rows of numbers that go to the device."""

    def __init__(self, images: Images, augmentation: Augmentation, seed: int) -> None:
        self._keys = content_keys(images.dataset)
        self._shape = images.store.dtype["pixels"].shape
        self._augmentation = augmentation
        self._seed = seed

    def of(self, rows: Rows, epoch: int | None) -> Changes:
        """float32 (n, columns); without an epoch, of no change."""
        augmentation = self._augmentation if epoch is not None else Augmentation()
        return changes(augmentation, self._keys[rows], self._shape, seed=self._seed, epoch=epoch or 0)


class ResidentFeed:
    """All pixels of the train and validation split on the device, uint8 (n, height, width, channels).

    A batch is picked out there; only rows and changes travel.
    """

    def __init__(self, images: Images, augmentation: Augmentation, seed: int, device: torch.device) -> None:
        self._device = device
        self._variation = _Variation(images, augmentation, seed)
        rows = _rows_used(images)
        self._place = np.full(len(images.dataset), -1, np.int64)  # of each dataset row in `_pixels`
        self._place[rows] = np.arange(len(rows))
        self._labels = send(images.dataset.labels[rows], device)
        self._pixels = torch.empty((len(rows), *images.store.dtype["pixels"].shape), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), IMAGES_A_COPY):
            part = slice(start, start + IMAGES_A_COPY)
            self._pixels[part] = send(images.pixels(rows[part]), device)

    def training(self, batches: Iterable[Rows], epoch: int) -> Iterator[OnDevice]:
        """Yield the batches with this epoch's changes."""
        return self._batches(batches, epoch)

    def plain(self, batches: Iterable[Rows]) -> Iterator[OnDevice]:
        """Yield the batches with no change."""
        return self._batches(batches, None)

    def _batches(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[OnDevice]:
        remaining = iter(batches)
        while several := list(itertools.islice(remaining, BATCHES_A_COPY)):
            rows, sizes = np.concatenate(several), [len(batch) for batch in several]
            places = torch.split(send(self._place[rows], self._device), sizes)
            varied = torch.split(send(self._variation.of(rows, epoch), self._device), sizes)
            for place, own in zip(places, varied, strict=True):
                yield self._pixels[place], self._labels[place], own


class StreamFeed:
    """Pixels read from the cache in a thread, batch by batch, and copied while the device trains on the last one."""

    def __init__(self, images: Images, augmentation: Augmentation, seed: int, device: torch.device) -> None:
        self._images = images
        self._device = device
        self._variation = _Variation(images, augmentation, seed)

    def training(self, batches: Iterable[Rows], epoch: int) -> Iterator[OnDevice]:
        """Yield the batches with this epoch's changes."""
        return self._batches(batches, epoch)

    def plain(self, batches: Iterable[Rows]) -> Iterator[OnDevice]:
        """Yield the batches with no change."""
        return self._batches(batches, None)

    def _batches(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[OnDevice]:
        copies = _Copies(self._device)

        def prepare(rows: Rows) -> tuple[OnDevice, Any]:
            labels = self._images.dataset.labels[rows]
            return copies.begin(self._images.pixels(rows), labels, self._variation.of(rows, epoch))

        for batch, arrived in ordered_map(prepare, batches, workers=1, ahead=BATCHES_AHEAD):
            copies.wait(arrived)
            yield batch
            copies.used(batch)


class _Copies:
    """Copies to the device on a stream of their own, beside the computing; on the CPU, plain copies."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # What the device may still be reading: (batch, the event after its use).
        self._in_use: deque[tuple[OnDevice, Any]] = deque()

    def begin(self, pixels: Pixels, labels: Labels, changes: Changes) -> tuple[OnDevice, Any]:
        """Begin to copy a batch; the event says when it has arrived."""
        if self._stream is None:
            return self._sent(pixels, labels, changes), None
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            return self._sent(pixels, labels, changes), self._stream.record_event()

    def wait(self, arrived: Any) -> None:
        """Let the device, not this thread, wait for a batch."""
        if arrived is not None:
            torch.cuda.current_stream(self._device).wait_event(arrived)

    def used(self, batch: OnDevice) -> None:
        """Keep a batch until the device is through with it: its memory belongs to the other stream."""
        if self._stream is None:
            return
        self._in_use.append((batch, torch.cuda.current_stream(self._device).record_event()))
        if len(self._in_use) > BATCHES_AHEAD:
            # Without this wait for an older step, a fast reader would fill the memory with batches.
            self._in_use.popleft()[1].synchronize()

    def _sent(self, pixels: Pixels, labels: Labels, changes: Changes) -> OnDevice:
        return send(pixels, self._device), send(labels, self._device), send(changes, self._device)


def device_feed(images: Images, choices: StepChoices, device: torch.device) -> ResidentFeed | StreamFeed:
    """The feed for a device: all pixels there if they fit into a share of its free memory, else streamed."""
    augmentation = find_augmentation(choices.augmentation)
    feed = ResidentFeed if bytes_used(images) <= SHARE_OF_MEMORY * free_bytes(device) else StreamFeed
    return feed(images, augmentation, choices.seed, device)


def bytes_used(images: Images) -> int:
    """Bytes of the pixels of the train and validation split."""
    return len(_rows_used(images)) * images.store.dtype["pixels"].itemsize


def free_bytes(device: torch.device) -> int:
    """Bytes of memory that the device has free; FREE_BYTES where it does not tell.

    >>> free_bytes(torch.device("cpu")) == FREE_BYTES
    True
    """
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else FREE_BYTES


def _rows_used(images: Images) -> Rows:
    return np.concatenate([images.dataset.rows(split) for split in ("train", "validation")])

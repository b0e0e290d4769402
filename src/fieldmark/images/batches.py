"""Batches: the order of an epoch, and `flow_from_directory`, the image generator for any framework."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fieldmark.errors import DatasetError, RecipeError
from fieldmark.images.dataset import Dataset
from fieldmark.images.names import counted, printable, some
from fieldmark.images.problems import PROBLEMS, Problem
from fieldmark.images.read import Images, read
from fieldmark.images.scan import scan, split_folders
from fieldmark.preprocessing import RESAMPLING, Color, Interpolation, Preprocessing

ClassMode = Literal["binary", "categorical", "sparse"] | None


def epoch_order(dataset: Dataset, rows: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The rows in the order of one epoch: a function of (seed, epoch, contents), not of file names or their order."""
    by_content = sorted((dataset.hashes[row], int(dataset.labels[row]), int(row)) for row in rows)
    canonical = np.array([row for _, _, row in by_content], dtype=np.int64)
    return canonical[np.random.default_rng((seed, epoch)).permutation(len(canonical))]


def content_keys(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """The first 64 bits of every image's content hash, (n,)."""
    return np.array([int(hash_[:16], 16) for hash_ in dataset.hashes], dtype=np.uint64)


@dataclasses.dataclass
class Flow:
    """Batches of a directory: iterate for one epoch, again for the next one; made by `flow_from_directory`.

    Each epoch covers every image once, the last and smaller batch included. `flow[i]` is batch i of the
    epoch at hand; `on_epoch_end()` moves on to the next. `next(flow)` is the next batch, and behind the last one of
    an epoch the first of the next, without end; a loop over `flow` begins with the first batch all the same.
    """

    images: Images
    batch_size: int
    class_mode: ClassMode
    rescale: float | None
    shuffle: bool
    seed: int
    epoch: int = 0
    _next: int = dataclasses.field(default=0, init=False, repr=False, compare=False)  # the batch of `next(flow)`
    # The rows of this epoch in their order, and what they are the order of: to find it sorts the whole dataset.
    _ordered: tuple[tuple[bool, int, int], npt.NDArray[np.int64]] | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.images.dataset) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        """Batch `index` of this epoch: (images, labels), or images alone where class_mode is None."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        rows = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        pixels = self.images.pixels(rows).astype(np.float32)
        if self.rescale is not None:
            pixels *= np.float32(self.rescale)
        return pixels if self.class_mode is None else (pixels, self._labels(rows))

    def __iter__(self) -> Iterator[Any]:
        """Yield every batch of one epoch, then move on to the next epoch."""
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def __next__(self) -> Any:
        """The next batch, epoch after epoch without end, as of Keras's iterator: `images, labels = next(flow)`."""
        batch = self[self._next]
        self._next += 1
        if self._next == len(self):
            self.on_epoch_end()
        return batch

    def __repr__(self) -> str:
        classes = f"{counted(self.num_classes, 'class', 'classes')} ({printable(some(self.images.dataset.classes))})"
        height, width, channels = self.image_shape
        batches = f"{counted(len(self), 'batch', 'batches')} of {self.batch_size}"
        return f"<Flow of {counted(self.n, 'image')} in {classes}, {height} x {width} x {channels}, {batches}>"

    def on_epoch_end(self) -> None:
        """Move on to the next epoch: shuffled batches come in a new order."""
        self.epoch += 1
        self.reset()
        self._ordered = None

    def reset(self) -> None:
        """Let `next(flow)` begin with the first batch of the epoch at hand."""
        self._next = 0

    @property
    def n(self) -> int:
        """Images of an epoch; `samples` is the same."""
        return len(self.images.dataset)

    samples = n

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.images.dataset.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.images.store.dtype["pixels"].shape
        return height, width, channels

    @property
    def class_indices(self) -> dict[str, int]:
        """{class name: its number in the labels}, in natural order of the names."""
        return {name: label for label, name in enumerate(self.images.dataset.classes)}

    @property
    def filenames(self) -> list[str]:
        """Paths below the directory, in dataset order (that of the batches only without shuffling)."""
        return list(self.images.dataset.paths)

    @property
    def filepaths(self) -> list[str]:
        """The paths of `filenames` with the directory before them."""
        return [str(self.images.dataset.file(row)) for row in range(self.n)]

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """The class number of every image in `filenames`, int32 (n,)."""
        return self.images.dataset.labels

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found in the directory and not used, or used with a remark."""
        return self.images.dataset.problems

    def _order(self) -> npt.NDArray[np.int64]:
        asked = (self.shuffle, self.seed, self.epoch)
        kept = self._ordered  # once, since Keras may ask in several threads
        if kept is None or kept[0] != asked:
            rows = np.arange(len(self.images.dataset))
            if self.shuffle:
                rows = epoch_order(self.images.dataset, rows, seed=self.seed, epoch=self.epoch)
            self._ordered = kept = (asked, rows)
        return kept[1]

    def _labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        labels = self.classes[rows]
        if self.class_mode == "categorical":
            return np.eye(len(self.class_indices), dtype=np.float32)[labels]
        return labels.astype(np.float32)


def flow_from_directory(
    directory: str | Path,
    target_size: tuple[int, int] = (300, 300),
    *,
    batch_size: int = 128,
    classes: Sequence[str] | None = None,
    class_mode: ClassMode = "binary",
    rescale: float | None = 1 / 255,
    color_mode: Color = "rgb",
    shuffle: bool = True,
    seed: int = 0,
    interpolation: Interpolation = "bilinear",
) -> Flow:
    """Point an image generator at a directory whose sub-directories are the labels.

    `target_size` is (height, width) in pixels; images of any size are resized to it as they are loaded, once:
    a second use takes them from the cache. The files are never changed. Yields `(images, labels)`: images
    float32 (batch, height, width, 3 or 1), pixel values times `rescale`; labels float32, (batch,) for "binary"
    (0 or 1) and "sparse" (the class number), (batch, classes) for "categorical", none for None. `classes` names the
    classes to take, in the order of their numbers; otherwise all are taken, in natural order.

    In a program that has imported Keras the result is a `keras.utils.PyDataset` too: `model.fit(flow)` takes it.
    Files that cannot be used are named in a warning and listed in `.problems`.

    Raises DatasetError for a directory that cannot be used, a class that has no image in it, or "binary" with more
    than two classes; RecipeError for an argument of another kind or out of its range.

    >>> from fieldmark.images.demo import draw_demo
    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> draw_demo(folder / "faces")
    >>> flow = flow_from_directory(folder / "faces" / "validation", target_size=(32, 32), batch_size=16)
    >>> images, labels = next(iter(flow))
    >>> images.shape, labels.shape, flow.class_indices
    ((16, 32, 32, 3), (16,), {'happy': 0, 'sad': 1})
    >>> flow
    <Flow of 80 images in 2 classes (happy, sad), 32 x 32 x 3, 5 batches of 16>
    """
    directory = Path(directory)
    _require_numbers(target_size, batch_size, seed)
    _require_choices(class_mode, color_mode, interpolation)
    dataset = _scan(directory, classes)
    if split_folders(directory):
        raise DatasetError(
            f"{directory}: holds train/ and other splits; expected one sub-directory per class",
            hint=f"make one generator for {directory / 'train'} and one for each other split",
        )
    if class_mode == "binary" and len(dataset.classes) != 2:
        raise DatasetError(
            f'{directory}: {len(dataset.classes)} classes; class_mode="binary" needs two',
            hint='take class_mode="categorical" or "sparse"',
        )
    height, width = target_size
    preprocessing = Preprocessing(width=width, height=height, color=color_mode, interpolation=interpolation)
    images = read(dataset, preprocessing)
    _warn(images.dataset, chosen=classes is not None)
    return _flow_type()(images, batch_size, class_mode, rescale, shuffle, seed)


def _scan(directory: Path, classes: Sequence[str] | None) -> Dataset:
    """The images of a directory, of all classes or of those that were named, in their order."""
    if classes is None:
        return scan(directory)
    if isinstance(classes, str) or not classes or len(set(classes)) < len(classes):
        raise RecipeError(
            f"classes={classes!r}: expected a list of different class names", hint="such as classes=['cat', 'dog']"
        )
    dataset = scan(directory, classes=tuple(classes))
    absent = [name for label, name in enumerate(classes) if not (dataset.labels == label).any()]
    if absent:
        raise DatasetError(
            f"{directory}: holds no image of the class {absent[0]}",
            hint=f"its classes are {some(scan(directory).classes)}; a class is named as its folder is",
        )
    return dataset


def _require_numbers(target_size: tuple[int, int], batch_size: int, seed: int) -> None:
    if isinstance(target_size, int):
        raise RecipeError(
            f"target_size={target_size}: expected (height, width) in pixels",
            hint=f"target_size=({target_size}, {target_size})",
        )
    sides = target_size if isinstance(target_size, tuple | list) else ()
    if len(sides) != 2 or not all(_is_whole(side) and 1 <= side <= 4096 for side in sides):
        raise RecipeError(
            f"target_size={target_size!r}: expected (height, width), two whole numbers of pixels from 1 to 4096",
            hint="such as target_size=(300, 300)",
        )
    if not _is_whole(batch_size) or batch_size < 1:
        raise RecipeError(f"batch_size={batch_size!r}: expected a whole number from 1", hint="such as batch_size=32")
    if not _is_whole(seed) or seed < 0:
        raise RecipeError(
            f"seed={seed!r}: expected a whole number from 0",
            hint="another seed is another order; shuffle=False is none",
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _require_choices(class_mode: ClassMode, color_mode: Color, interpolation: Interpolation) -> None:
    allowed: dict[str, tuple[str | None, tuple[str | None, ...]]] = {
        "class_mode": (class_mode, (None, "binary", "categorical", "sparse")),
        "color_mode": (color_mode, ("rgb", "grayscale")),
        "interpolation": (interpolation, tuple(RESAMPLING)),
    }
    for name, (value, values) in allowed.items():
        if value not in values:
            raise RecipeError(f"{name}={value!r}: expected one of {', '.join(map(repr, values))}")


def _warn(dataset: Dataset, *, chosen: bool) -> None:
    """Warn of what is not used; where classes were chosen, that others are not is no news."""
    unused = [problem for problem in dataset.problems if not PROBLEMS[problem.code].usable]
    unused = [problem for problem in unused if not (chosen and problem.code == "unknown_class")]
    if unused:
        first = unused[0]
        warnings.warn(
            f"{len(unused)} entries of {dataset.root} are not used, such as {first.path} ({first.code}); "
            "`.problems` lists them",
            stacklevel=3,
        )


def _flow_type() -> type[Flow]:
    """Flow, or, in a program that has imported Keras, a Flow that Keras's `fit` knows as its own PyDataset."""
    keras: Any = sys.modules.get("keras")
    if keras is None:
        return Flow

    class KerasFlow(Flow, keras.utils.PyDataset):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            keras.utils.PyDataset.__init__(self)
            Flow.__init__(self, *arguments)

    return KerasFlow

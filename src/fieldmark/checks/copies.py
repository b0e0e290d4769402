"""Copies: near-duplicates, found by two kinds of neighbours and confirmed by laying one picture over the other.

Neither kind of neighbour is enough. Embeddings know a picture again when it is cropped, framed or slightly turned,
and lose it when it is blurred, grey or turned by a quarter; small pictures of the brightness do just the opposite
(measured: docs/concepts/audit.md). Both also take different scenes for alike, so every candidate is looked at in
detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks import alignment, planes
from fieldmark.checks.context import Context, Copy, Floats
from fieldmark.images.audit import Leak
from fieldmark.images.dataset import Dataset
from fieldmark.images.duplicates import MINIMUM_CONTRAST, contrasts, thumbnail
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted
from fieldmark.images.threads import ordered_map

Integers = npt.NDArray[np.intp]

NEIGHBOURS = 3  # candidates an image, of each of the two kinds
LEAST_COSINE = 0.55  # of embeddings; below it hardly a copy was found
LEAST_CORRELATION = 0.9  # of small pictures
SMALL = 8  # cells of a small picture, each way
RIM = 40.0  # levels: the most that the outermost cells of a framed picture vary
PART = 128  # pairs whose images are read at a time
BLOCK = 256  # images that are compared with all others at a time: 100 MB for 100,000 images

# Details that agree this well are a copy (measured: see `alignment.similarity`).
LIKENESS = 0.8
# Frames of two sequences are compared only where they are this alike: a figure or a place filmed twice is no copy.
LEAST_COSINE_OF_SEQUENCES, LEAST_CORRELATION_OF_SEQUENCES = 0.9, 0.97
# And then one is a copy of the other only if it is this much nearer than the nearest frame of either's own sequence.
NEARER = 0.5
SHOWN = 1000  # pairs that become findings; more are counted


class _Compared(NamedTuple):
    """Which images are compared with which."""

    apart: Integers  # (n,): images with the same number are not
    training: npt.NDArray[np.bool_] | None  # (n,): of these only such as are in training, with such as are not

    def never(self, rows: slice) -> npt.NDArray[np.bool_]:
        """Whether (rows, n) are left out."""
        never = self.apart[rows][:, None] == self.apart[None]
        if self.training is not None:
            never |= self.training[rows][:, None] | ~self.training[None]
        return np.asarray(never)


def find_copies(context: Context, *, across_splits: bool = False) -> tuple[Copy, ...]:
    """Return the near-duplicates of a dataset, the most alike first; identical images are left out.

    Images that file names put into one group, such as frames of one sequence, are alike by nature and not compared.
    Of an image that resembles several frames of one sequence only the likest is named. With `across_splits` images
    outside of training are compared with training images, and no others: what a leak is, at a third of the cost.
    """
    dataset = context.dataset
    if context.embeddings is None or len(dataset) < 2:
        return ()
    apart = _apart(context)
    frames = np.bincount(apart)[apart] > 1
    compared = _Compared(apart, dataset.splits == "train" if across_splits else None)
    units = _unit(context.embeddings)
    pairs = _candidates(units, _unframed_thumbnails(context), compared, frames)
    likeness = _likeness(context, pairs)
    similarity = np.einsum("md,md->m", units[pairs[:, 0]], units[pairs[:, 1]])
    kept = likeness >= LIKENESS
    of_sequences = np.flatnonzero(kept & frames[pairs].all(axis=1))
    kept[of_sequences] = _nearer_than_mates(context, units, apart, pairs[of_sequences], likeness[of_sequences])
    copies = [
        Copy(int(i), int(j), round(float(alike), 4), round(float(cosine), 4))
        for (i, j), alike, cosine in zip(pairs[kept], likeness[kept], similarity[kept], strict=True)
    ]
    copies.sort(key=lambda copy: (-copy.likeness, copy.i, copy.j))
    return tuple(_likest_of_groups(copies, apart))


def near_duplicates(context: Context) -> tuple[list[Finding], str]:
    """The findings of the check for near-duplicates: each an image and those that were found to match it."""
    copies = context.copies or ()
    if not copies:
        return [], "No two images show the same picture or scene."
    sets = sets_of(copies)
    findings = [_finding(context.dataset, rows, likeness) for rows, likeness in sets[:SHOWN]]
    images = len({row for rows, _ in sets for row in rows})
    return findings, f"{counted(images, 'image')} in {counted(len(sets), 'set')} show the same picture or scene."


def sets_of(copies: Sequence[Copy]) -> list[tuple[list[int], float]]:
    """Return sets of rows, each with the likeness of its likest two, the likest first; every pair is inside a set.

    All rows of a set match its first one. Joining whatever pairs connect would not do: one picture that resembles
    two others each a little, and so on, put 254 images of rice-leaf into one set. So an image can be in several sets.
    """
    matches: dict[int, dict[int, float]] = {}
    for copy in copies:
        matches.setdefault(copy.i, {})[copy.j] = copy.likeness
        matches.setdefault(copy.j, {})[copy.i] = copy.likeness
    shown: set[tuple[int, int]] = set()  # pairs of rows, both ways
    found = []
    for row in sorted(matches, key=lambda row: (-len(matches[row]), row)):
        others = [other for other in matches[row] if (row, other) not in shown]
        if others:
            others.sort(key=lambda other: (-matches[row][other], other))
            rows = [row, *others]
            inside = set(rows)
            pairs = [(one, other) for one in rows for other in matches[one].keys() & inside]
            shown.update(pairs)
            found.append((rows, max(matches[one][other] for one, other in pairs)))
    return sorted(found, key=lambda each: (-each[1], each[0]))


def leaks(context: Context) -> tuple[list[Finding], str]:
    """The findings of the check for leaks: by groups, which the audit found, and by near-duplicates."""
    found = context.audit.leaks
    if not np.isin(context.dataset.splits, ("validation", "test")).any():
        return [], "There is one split only, so nothing can leak; a split that is made keeps groups together."
    paths = context.dataset.paths
    copied = {frozenset((paths[copy.i], paths[copy.j])) for copy in context.copies or ()}
    alike = [frozenset((leak.other, leak.train)) in copied for leak in found]
    findings = []
    for leak, copy in zip(found[:SHOWN], alike, strict=False):
        how = "looks like a copy of" if copy else "belongs with"
        findings.append(Finding(f"{leak.other} {how} {leak.train}, which is trained on", (leak.other, leak.train)))
    others = int(np.isin(context.dataset.splits, ("validation", "test")).sum())
    unknown = "" if context.copies is not None else " Near-duplicates were not searched."
    if not found:
        return [], f"None of {counted(others, 'image')} outside of training belongs with a training image.{unknown}"
    share = f"{len(found)} of {counted(others, 'image')} outside of training"
    if all(alike):
        # Alignment finds them, and once in a while takes different scenes for one.
        return findings, f"{share} look like copies of training images: where they are, numbers are too good.{unknown}"
    return findings, f"{share} belong with training images: numbers measured on them are too good.{unknown}"


def copied_leaks(context: Context) -> tuple[Leak, ...]:
    """Leaks that near-duplicates show and groups do not: one for each image outside of training."""
    dataset = context.dataset
    known = {leak.other for leak in context.audit.leaks}
    found: dict[str, Leak] = {}
    for copy in context.copies or ():
        for inside, outside in ((copy.i, copy.j), (copy.j, copy.i)):
            path = dataset.paths[outside]
            if dataset.splits[inside] == "train" and dataset.splits[outside] in ("validation", "test"):
                if path not in known:
                    found.setdefault(path, Leak(dataset.paths[inside], path, round(1 - copy.likeness, 4)))
    return tuple(found.values())


def _finding(dataset: Dataset, rows: Sequence[int], likeness: float) -> Finding:
    classes = sorted({dataset.classes[dataset.labels[row]] for row in rows})
    splits = sorted({str(dataset.splits[row]) for row in rows})
    twofold = f", in the classes {' and '.join(classes)}" if len(classes) > 1 else ""
    sides = f", in {' and '.join(splits)}" if len(splits) > 1 else ""
    return Finding(
        f"{_same(len(rows))}{twofold}{sides}",
        tuple(dataset.paths[row] for row in rows),
        "problem" if twofold or sides else "note",
        {"likeness": likeness, "images": len(rows)},
    )


def _same(images: int) -> str:
    if images == 2:
        return "2 images show the same picture or scene"
    return f"{images} images show the same picture or scene: each matches the first"


def _apart(context: Context) -> Integers:
    # Images with the same number are not compared: of one group by name, or the same content.
    names = context.audit.groups.by_name or (None,) * len(context.dataset)
    duplicate = {path: paths[0] for paths in context.audit.duplicates for path in paths}
    keys = [
        ("group", name) if name is not None else ("image", duplicate.get(path, path))
        for name, path in zip(names, context.dataset.paths, strict=True)
    ]
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def _candidates(
    units: Floats, thumbnails: npt.NDArray[np.uint8], compared: _Compared, frames: npt.NDArray[np.bool_]
) -> Integers:
    """Pairs (m, 2), i < j, worth a look in detail; `frames` are the images that belong to a sequence."""
    by_embedding, cosines = _neighbours(lambda rows: units[rows] @ units.T, compared, LEAST_COSINE)
    small = planes.reduced(thumbnails @ planes.LUMINANCE, SMALL)
    turns = [_flat(planes.turned(small, turn)) for turn in range(8)]
    plain = contrasts(thumbnails) < MINIMUM_CONTRAST  # blank pages all look alike

    def correlations(rows: slice) -> Floats:
        best = turns[0][rows] @ turns[0].T
        for turn in turns[1:]:
            np.maximum(best, turns[0][rows] @ turn.T, out=best)
        best[:, plain] = -1
        return best

    by_look, looks = _neighbours(correlations, compared, LEAST_CORRELATION)
    kept_cosines = (cosines >= LEAST_COSINE_OF_SEQUENCES) | ~frames[by_embedding].all(axis=1)
    kept_looks = (looks >= LEAST_CORRELATION_OF_SEQUENCES) | ~frames[by_look].all(axis=1)
    pairs = np.concatenate([by_embedding[kept_cosines], by_look[kept_looks]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _unframed_thumbnails(context: Context) -> npt.NDArray[np.uint8]:
    # A frame would be all that a small picture shows; the pixels are read only where its rim is of one colour.
    thumbnails = context.images.thumbnails().copy()
    rim = np.concatenate([thumbnails[:, 0], thumbnails[:, -1], thumbnails[:, 1:-1, 0], thumbnails[:, 1:-1, -1]], axis=1)
    for row in np.flatnonzero(rim.std(axis=1).max(axis=1, initial=0) < RIM).tolist():
        (image,) = context.images.pixels([row])
        inner = planes.without_frame(image)
        if inner is not image:
            thumbnails[row] = thumbnail(inner)
    return thumbnails


def _nearer_than_mates(
    context: Context, units: Floats, apart: Integers, pairs: Integers, likeness: Floats
) -> npt.NDArray[np.bool_]:
    """Whether the two of each pair (m, 2) are clearly nearer to each other than to their own sequences' frames."""
    mates = np.full(pairs.shape, -1, dtype=np.intp)
    for place, row in enumerate(pairs.ravel()):
        others = np.setdiff1d(np.flatnonzero(apart == apart[row]), [row])
        mates.flat[place] = others[(units[others] @ units[row]).argmax()]
    of_mates = _likeness(context, np.stack([pairs.ravel(), mates.ravel()], axis=1)).reshape(-1, 2)
    return np.asarray(1 - likeness < NEARER * (1 - of_mates.max(axis=1, initial=0)))


def _neighbours(likenesses: Callable[[slice], Floats], compared: _Compared, least: float) -> tuple[Integers, Floats]:
    # The likest others of each image, pairs (m, 2) and how alike, block by block: n² work, memory for one block.
    found: list[Integers] = [np.zeros((0, 2), dtype=np.intp)]
    alike: list[Floats] = [np.zeros(0, dtype=np.float32)]
    for start in range(0, len(compared.apart), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = likenesses(rows)
        scores[compared.never(rows)] = -1
        own = np.arange(len(scores))
        for _ in range(NEIGHBOURS):
            other = scores.argmax(axis=1)
            near = scores[own, other] >= least
            found.append(np.stack([own[near] + start, other[near]], axis=1))
            alike.append(scores[own, other][near])
            scores[own, other] = -1
            if not near.any():
                break
    return np.concatenate(found), np.concatenate(alike)


def _likeness(context: Context, pairs: Integers) -> Floats:
    from threadpoolctl import threadpool_limits

    # In the order of their rows, neighbouring pairs share images, which are read and reduced once a part.
    def part(start: int) -> Floats:
        rows, places = np.unique(pairs[start : start + PART], return_inverse=True)
        pictures = [planes.without_frame(image) for image in context.images.pixels(rows)]
        return alignment.similarity(planes.planes(pictures), places.reshape(-1, 2))

    # Each of our threads would have BLAS ask threads of its own, which then wait for each other: 2.4 times the work.
    with threadpool_limits(1, user_api="blas"):
        parts = list(ordered_map(part, range(0, len(pairs), PART), ahead=1))
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])


def _likest_of_groups(copies: Sequence[Copy], apart: Integers) -> list[Copy]:
    # Sorted by likeness, the first pair of an image and a group is the likest.
    seen: set[tuple[int, int]] = set()
    kept = []
    for copy in copies:
        keys = {(copy.i, int(apart[copy.j])), (copy.j, int(apart[copy.i]))}
        if not keys & seen:
            kept.append(copy)
        seen |= keys
    return kept


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _flat(pictures: Floats) -> Floats:
    flat = pictures.reshape(len(pictures), -1)
    return _unit(flat - flat.mean(axis=1, keepdims=True))

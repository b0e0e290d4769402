"""Copies: near-duplicates, found by two kinds of neighbours and confirmed by laying one picture over the other.

Neither kind of neighbour is enough. Embeddings know a picture again when it is cropped, framed or slightly turned,
and lose it when it is blurred, grey or turned by a quarter; small pictures of the brightness do just the opposite
(measured: docs/concepts/audit.md). Both also take different scenes for alike, so every candidate is looked at in
detail.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from fieldmark.checks import alignment, planes
from fieldmark.checks.candidates import Compared, Integers, candidates, unframed_thumbnails, unit
from fieldmark.checks.context import Context, Copy, Floats
from fieldmark.images.audit import Leak
from fieldmark.images.cache import RowStore, cache_folder
from fieldmark.images.dataset import Dataset
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted
from fieldmark.images.threads import ordered_map

PART = 128  # pairs whose images are read at a time
# Raised whenever the answer of `alignment.similarity` changes, so that none is remembered.
ALIGNMENT = "2"

# Details that agree this well are a copy (measured: see `alignment.similarity`).
LIKENESS = 0.8
# And then one is a copy of the other only if it is this much nearer than the nearest frame of either's own sequence.
NEARER = 0.5
SHOWN = 1000  # pairs that become findings; more are counted
# Rules of GROUP_RULES by which a group is one picture several times, and so no sequence whose frames resemble others'.
OF_COPIES = ("augmented", "copy")


class _Search(NamedTuple):
    """What is compared, and what was found out about pairs already."""

    context: Context
    units: Floats  # (n, d): embeddings of length 1
    thumbnails: npt.NDArray[np.uint8]
    contents: Integers  # (n,): equal where all pixels are
    apart: Integers  # (n,): images with the same number are not compared
    frames: npt.NDArray[np.bool_]  # (n,): of a sequence that shows more than this image
    judged: dict[tuple[int, int], float]  # how alike pairs are that were laid over each other
    remembered: RowStore  # the same from earlier searches, by content


def find_copies(context: Context, *, across_splits: bool = False) -> tuple[Copy, ...]:
    """Return the near-duplicates of a dataset, the most alike first; identical images are left out.

    Images that file names put into one group, such as frames of one sequence, are alike by nature and not compared.
    Of an image that resembles several frames of one sequence only the likest is named, but every image outside of
    training that resembles a training image is. Training images are compared with the others first, whatever else is
    near them, and what is left of those with the leaks that were found. With `across_splits` nothing else is compared:
    so an audit and a training find the same leaks where they search in the same pixels and embeddings.
    """
    splits = context.dataset.splits
    if context.embeddings is None or len(splits) < 2:
        return ()
    contents = _contents(context)
    apart = _apart(context, contents)
    frames = _frames(context, contents, apart)
    units, thumbnails = unit(context.embeddings), unframed_thumbnails(context)
    search = _Search(context, units, thumbnails, contents, apart, frames, {}, _remembered(context))
    outside = np.isin(splits, ("validation", "test"))
    found = set(_copies_between(search, np.where(splits == "train", 0, np.where(outside, 1, -1))))
    leaked = _leaked(dataclasses.replace(context, copies=tuple(found)))
    found |= set(_copies_between(search, np.where(outside, 1 - leaked, -1)))
    if not across_splits:
        found |= set(_copies_between(search, None))
    return tuple(sorted(found, key=_likest_first))


def _copies_between(search: _Search, sides: Integers | None) -> list[Copy]:
    """The copies among those images that `Compared` would compare; of sides, side 1 is asked what it is a copy of."""
    if sides is not None and not (np.any(sides == 0) and np.any(sides == 1)):
        return []
    pairs = candidates(search.units, search.thumbnails, Compared(search.apart, sides), search.frames)
    likeness = _likeness(search, pairs)
    similarity = np.einsum("md,md->m", search.units[pairs[:, 0]], search.units[pairs[:, 1]])
    kept = likeness >= LIKENESS
    of_sequences = np.flatnonzero(kept & search.frames[pairs].all(axis=1))
    kept[of_sequences] = _nearer_than_mates(search, pairs[of_sequences], likeness[of_sequences])
    copies = [
        Copy(int(i), int(j), round(float(alike), 4), round(float(cosine), 4))
        for (i, j), alike, cosine in zip(pairs[kept], likeness[kept], similarity[kept], strict=True)
    ]
    return _likest_of_groups(sorted(copies, key=_likest_first), search.apart, sides)


def _likest_first(copy: Copy) -> tuple[float, int, int]:
    return -copy.likeness, copy.i, copy.j


def near_duplicates(context: Context) -> tuple[list[Finding], str]:
    """The findings of the check for near-duplicates: each an image and those that were found to match it."""
    copies = context.copies or ()
    if not copies:
        return [], "No two images look like the same picture or scene."
    sets = sets_of(copies)
    findings = [_finding(context.dataset, rows, likeness) for rows, likeness in sets[:SHOWN]]
    images = len({row for rows, _ in sets for row in rows})
    return findings, f"{counted(images, 'image')} in {counted(len(sets), 'set')} look like the same picture or scene."


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
    group = dict(zip(paths, context.dataset.groups, strict=True))
    copied = {frozenset((paths[copy.i], paths[copy.j])) for copy in context.copies or ()}
    findings = []
    for leak in found[:SHOWN]:
        how = "belongs with" if group[leak.train] == group[leak.other] else "looks like a copy of a copy of"
        if frozenset((leak.other, leak.train)) in copied:
            how = "looks like a copy of"
        findings.append(Finding(f"{leak.other} {how} {leak.train}, which is trained on", (leak.other, leak.train)))
    others = int(np.isin(context.dataset.splits, ("validation", "test")).sum())
    unknown = "" if context.copies is not None else " Near-duplicates were not searched."
    if not found:
        return [], f"None of {counted(others, 'image')} outside of training belongs with a training image.{unknown}"
    share = f"{len(found)} of {counted(others, 'image')} outside of training"
    if all(group[leak.train] != group[leak.other] for leak in found):
        # Alignment finds them, and once in a while takes different scenes for one.
        return findings, f"{share} look like copies of training images: where they are, numbers are too good.{unknown}"
    return findings, f"{share} belong with training images: numbers measured on them are too good.{unknown}"


def copied_leaks(context: Context) -> tuple[Leak, ...]:
    """Leaks that near-duplicates show and groups do not: one for each image outside of training.

    An image is a leak, too, whose copy outside of training is one: a copy with a date bar may resemble the crop of a
    training image and no longer that image itself. And so is what has the same content as a leak.
    """
    dataset = context.dataset
    known = {leak.other: leak for leak in context.audit.leaks}
    direct: dict[str, Leak] = {}
    outside = np.isin(dataset.splits, ("validation", "test"))
    for one, other, copy in _both_ways(context.copies or ()):
        path = dataset.paths[other]
        if dataset.splits[one] == "train" and outside[other] and path not in known:
            direct.setdefault(path, Leak(dataset.paths[one], path, round(1 - copy.likeness, 4)))
    direct |= _twins(context, known | direct)
    known |= direct
    further: dict[str, Leak] = {}
    for one, other, copy in _both_ways(context.copies or ()):
        path, leak = dataset.paths[other], known.get(dataset.paths[one])
        if leak is not None and outside[other] and path not in known:
            further.setdefault(path, Leak(leak.train, path, max(leak.distance, round(1 - copy.likeness, 4))))
    further |= _twins(context, known | further)
    return (*direct.values(), *further.values())


def _twins(context: Context, known: Mapping[str, Leak]) -> dict[str, Leak]:
    # The leaks of images outside of training with the content of one that is known; by their paths.
    split = dict(zip(context.dataset.paths, context.dataset.splits.tolist(), strict=True))
    found = {}
    for paths in context.audit.duplicates:
        first = next((known[path] for path in paths if path in known), None)
        for path in paths:
            if first is not None and path not in known and split[path] in ("validation", "test"):
                found[path] = Leak(first.train, path, first.distance)
    return found


def _leaked(context: Context) -> npt.NDArray[np.intp]:
    # (n,): 1 for images that are leaks by groups or copies, else 0
    leaks = {leak.other for leak in (*context.audit.leaks, *copied_leaks(context))}
    return np.array([path in leaks for path in context.dataset.paths], dtype=np.intp)


def _both_ways(copies: Sequence[Copy]) -> Iterator[tuple[int, int, Copy]]:
    for copy in copies:
        yield copy.i, copy.j, copy
        yield copy.j, copy.i, copy


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
        return "2 images look like the same picture or scene"
    return f"{images} images look like the same picture or scene: each matches the first"


def _contents(context: Context) -> Integers:
    first = {path: paths[0] for paths in context.audit.duplicates for path in paths}
    return _numbered([first.get(path, path) for path in context.dataset.paths])


def _apart(context: Context, contents: Integers) -> Integers:
    # Images with the same number are not compared: of one group by name, or the same content.
    names = context.audit.groups.by_name or (None,) * len(contents)
    return _numbered(
        [content if name is None else name for name, content in zip(names, contents.tolist(), strict=True)]
    )


def _frames(context: Context, contents: Integers, apart: Integers) -> npt.NDArray[np.bool_]:
    # Twins do not make a sequence: each would be the other's mate, than which no copy can be nearer.
    names = context.audit.groups.by_name
    if not names or context.audit.groups.rule in OF_COPIES:
        return np.zeros(len(apart), dtype=bool)
    shown = np.unique(np.stack([apart, contents], axis=1), axis=0)[:, 0]
    return np.array([name is not None for name in names]) & (np.bincount(shown)[apart] > 1)


def _numbered(keys: Sequence[str | int]) -> Integers:
    # Equal keys get equal numbers.
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def _nearer_than_mates(search: _Search, pairs: Integers, likeness: Floats) -> npt.NDArray[np.bool_]:
    """Whether the two of each pair (m, 2) are clearly nearer to each other than to their own sequences' frames."""
    mates = np.full(pairs.shape, -1, dtype=np.intp)
    for place, row in enumerate(pairs.ravel()):
        others = np.flatnonzero((search.apart == search.apart[row]) & (search.contents != search.contents[row]))
        mates.flat[place] = others[(search.units[others] @ search.units[row]).argmax()]
    of_mates = _likeness(search, np.stack([pairs.ravel(), mates.ravel()], axis=1)).reshape(-1, 2)
    return np.asarray(1 - likeness < NEARER * (1 - of_mates.max(axis=1, initial=0)))


def _likeness(search: _Search, pairs: Integers) -> Floats:
    new = [pair for pair in map(tuple, pairs.tolist()) if pair not in search.judged]
    search.judged.update(zip(new, _remembered_likeness(search, new), strict=True))
    return np.array([search.judged[pair] for pair in map(tuple, pairs.tolist())], dtype=np.float32)


def _remembered_likeness(search: _Search, pairs: Sequence[tuple[int, int]]) -> list[float]:
    # Laid over each other once, remembered by content: it takes 4-11 ms of processor time an image.
    store, hashes = search.remembered, search.context.dataset.hashes
    keys = [hashlib.sha256(f"{hashes[i]} {hashes[j]}".encode()).hexdigest()[:32] for i, j in pairs]
    new = [number for number, key in enumerate(keys) if store.find(key) is None]
    with store.writer() as writer:
        for number, likeness in zip(new, _aligned(search, [pairs[number] for number in new]), strict=True):
            writer.add(keys[number], np.asarray(likeness))
    store.touch(keys)
    return [float(likeness) for likeness in store.take(keys)]


def _remembered(context: Context) -> RowStore:
    # The pixels' folder names everything that shaped them.
    folder = cache_folder() / "likenesses" / f"{ALIGNMENT}-{context.images.store.folder.name}"
    return RowStore(folder, np.dtype(np.float32))


def _aligned(search: _Search, pairs: Sequence[tuple[int, int]]) -> Floats:
    # In the order of their rows, neighbouring pairs share images, which are read and reduced once a part.
    def part(start: int) -> Floats:
        rows, places = np.unique(pairs[start : start + PART], return_inverse=True)
        pictures = [planes.without_frame(image) for image in search.context.images.pixels(rows)]
        return alignment.similarity(planes.planes(pictures), places.reshape(-1, 2))

    # One BLAS thread: the products are too small for several, which only wait for each other (8 instead of 25 s of
    # processor time for 540 leaves on a busy machine).
    with threadpool_limits(1, user_api="blas"):
        parts = list(ordered_map(part, range(0, len(pairs), PART), ahead=1))
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])


def _likest_of_groups(copies: Sequence[Copy], apart: Integers, sides: Integers | None) -> list[Copy]:
    # Sorted by likeness, the first pair of an image and a group is the likest. With sides only the images of side 1
    # are asked, so that each of them keeps its pair: one frame of side 0 may match all those of a sequence there.
    seen: set[tuple[int, int]] = set()
    kept = []
    for copy in copies:
        both = ((copy.i, copy.j), (copy.j, copy.i))
        keys = {(one, int(apart[other])) for one, other in both if sides is None or sides[one] == 1}
        if not keys & seen:
            kept.append(copy)
        seen |= keys
    return kept

"""Groups: images that belong together and must stand on one side of a split.

Frames of one video, crops of one plate or copies of one picture resemble each other so much that a classifier
recognises the individual instead of the class. Groups are searched in the file names, believed only where
the images agree, and always joined with identical files and near copies.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fieldmark.errors import DatasetError
from fieldmark.images.agreement import Evidence, Integers, nearest_agreement
from fieldmark.images.duplicates import Copies, invariants, near_copies

Names = Sequence[str | None]  # one an image; None where the file name says nothing

# name of the rule: (expression for the file name without its suffix, what it means)
GROUP_RULES = {
    "sequence": (
        r"(?P<group>.*\d)[-_. ]+\d+",
        "a number after a name that itself ends in a number, as in horse01-0",
    ),
    "frame": (
        r"(?P<group>.*[^-_. ])[-_. ]+(?:frame|frm|fr|f)[-_. ]?\d+",
        "a frame number after the name of a video, as in clip3_frame_0001",
    ),
    "individual": (
        r"(?P<group>(?:patient|pat|person|participant|subject|subj|sub|case|animal|plant|video|vid|clip|scene"
        r"|id|p|s)[-_. ]?\d+)[-_. ].*",
        "the number of a patient, animal or video in front, as in P012_003",
    ),
    "augmented": (
        r"(?P<group>.+?)(?:[-_. ](?:rot|rotated?|[hv]?flip|flipped|mirror|mirrored|aug|augmented|crop|cropped"
        r"|shear|zoom|shift|blur|noise|bright|brightness|contrast)[-_. ]?\d*|\.rf\.[0-9a-f]+)*",
        "what was done to a copy after the name of the original, as in leaf_rot90",
    ),
    "copy": (
        r"(?P<group>.+?)(?:[-_. ]+copy|[-_. ]*\(\d+\))*",
        "a copy mark after the name of the original, as in leaf (2)",
    ),
}

CONTENT = "image:"  # in front of the hash, in the name of an image that stands alone
MINIMUM_SEQUENCES = 4  # of a rule: with fewer, the images cannot tell


@dataclass(frozen=True)
class Groups:
    """Which images belong together, and how that was found."""

    rule: str  # a key of GROUP_RULES, the expression the user gave, or "none"
    meaning: str  # sentences for people, with the evidence
    names: tuple[str, ...]  # one an image; images of one group share it
    count: int  # different names
    sequences: int  # groups of two or more images that the file names make
    by_name: tuple[str | None, ...] = ()  # one an image: the group that its name says, before copies are joined


def find_groups(
    paths: Sequence[str],
    hashes: Sequence[str],
    labels: Sequence[str],
    thumbnails: npt.NDArray[np.uint8],
    *,
    group_by: str | None = None,
    known_rule: str | None = None,
    copies: Copies | None = None,
) -> Groups:
    """Find the images that must stay on one side of a split.

    All four describe the same n images: `paths` relative to the root with `/`, content `hashes`, `labels` the
    names of their classes, `thumbnails` uint8 (n, 16, 16, 3). `group_by` is None to search the file names by
    GROUP_RULES, "none" to leave them out, or a regular expression that is searched in each path: its group
    called "group", else its first group, else all that it matched, names the group. `known_rule` is the rule that
    was found in, or given for, more images of the same kind, such as a run's: where it names any group here it
    holds, unless the images contradict it, however few they are. `copies` are the near copies where they are known
    already. Identical files and near copies are always joined.

    Names survive new files and another order. An image alone is named by its content, so that renaming it
    changes nothing; joined groups by the smallest name, one from file names before one from content.
    Raises DatasetError for an expression that is wrong or matches nothing.

    >>> images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    >>> paths = ["cat/tom_1.png", "cat/tom_2.png", "dog/rex_1.png"]
    >>> groups = find_groups(paths, ["a", "b", "c"], ["cat", "cat", "dog"], images, group_by=r"/(\\w+)_")
    >>> groups.names, groups.sequences
    (('tom', 'tom', 'rex'), 1)
    """
    names: Names = [None] * len(paths)
    if group_by is None and known_rule is not None and known_rule not in GROUP_RULES:
        group_by = known_rule if known_rule == "none" or _names_any(paths, known_rule) else None
    if group_by is None:
        rule, meaning, names = _search(paths, hashes, labels, thumbnails, known_rule)
    elif group_by == "none":
        rule, meaning = "none", "File names are not looked at."
    else:
        rule, meaning, names = group_by, *_by_expression(paths, group_by)
    joined = _join(names, hashes, near_copies(thumbnails) if copies is None else copies)
    return Groups(
        rule=rule,
        meaning=f"{meaning} With copies joined (identical, turned or encoded again): {_sizes(joined)}.",
        names=tuple(joined),
        count=len(set(joined)),
        sequences=len(_sequences(names)),
        by_name=tuple(names),
    )


def join_groups(groups: Groups, pairs: Iterable[tuple[int, int]]) -> Groups:
    """The groups of n images with those of each pair of rows joined, and named as `find_groups` names them.

    >>> rows = find_groups(["a", "b"], ["x", "y"], ["c", "c"], np.zeros((2, 16, 16, 3), np.uint8), group_by="none")
    >>> join_groups(rows, [(0, 1)]).names
    ('image:x', 'image:x')
    """
    parents = list(range(len(groups.names)))
    first: dict[str, int] = {}
    for row, name in enumerate(groups.names):
        parents[row] = first.setdefault(name, row)
    joined = 0
    for a, b in pairs:
        one, other = root_of(parents, a), root_of(parents, b)
        joined += one != other
        parents[one] = other
    if not joined:
        return groups
    by_names = {name for name in groups.by_name if name is not None}
    names = _smallest(parents, [(name not in by_names, name) for name in groups.names])
    meaning = f"{groups.meaning} With near-duplicates (cropped, recoloured, written on) joined, too: {_sizes(names)}."
    return replace(groups, meaning=meaning, names=tuple(names), count=len(set(names)))


def _names_any(paths: Sequence[str], expression: str) -> bool:
    try:
        pattern = re.compile(expression)
    except re.error as error:  # from a classifier's file, which may come from anywhere
        raise DatasetError(
            f"group_by {expression} of the training: not a regular expression: {error}",
            hint="the classifier's file was changed, or comes from another Python: train again",
        ) from error
    return any(pattern.search(path) for path in paths)


def _by_expression(paths: Sequence[str], expression: str) -> tuple[str, Names]:
    # The meaning and the names that the user's own expression gives.
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise DatasetError(
            f"--group-by {expression}: not a regular expression: {error}",
            hint="an example: --group-by '([a-z]+[0-9]+)-' makes horse01-0 and horse01-1 one group",
        ) from error
    matches = [pattern.search(path) for path in paths]
    key: str | int = "group" if "group" in pattern.groupindex else min(pattern.groups, 1)
    names = [(match[key] or None) if match else None for match in matches]
    unmatched = names.count(None)
    if paths and unmatched == len(paths):
        raise DatasetError(
            f"--group-by {expression}: names no group for any of {len(paths)} images, such as {paths[0]}",
            hint="it is searched in each path below the root; --group-by none takes no groups from names",
        )
    alone = f"; {unmatched} images that it does not match stand alone" if unmatched else ""
    return f"Groups by the expression {expression}: {_sizes(names)}{alone}.", names


Resemblance = Callable[[Names, Integers, Integers | None], Evidence]


def _search(
    paths: Sequence[str],
    hashes: Sequence[str],
    labels: Sequence[str],
    thumbnails: npt.NDArray[np.uint8],
    known_rule: str | None,
) -> tuple[str, str, Names]:
    # Of the rules that the images agree with, the one that leaves the fewest groups. Fewer is the safer side:
    # too coarse costs some precision of the estimate, too fine makes it worthless.
    order = sorted(range(len(paths)), key=lambda row: (hashes[row], paths[row]))
    resemblance = _resemblance(thumbnails, order)
    # Identical files are no evidence for a rule: they are alike whatever they are called.
    single = [row for number, row in enumerate(order) if not number or hashes[row] != hashes[order[number - 1]]]
    resemblance_of_singles = _resemblance(thumbnails[single], list(range(len(single))))
    places = [(posixpath.dirname(path), posixpath.splitext(posixpath.basename(path))[0]) for path in paths]
    believed, doubted = [], ""
    for rule, (expression, meaning) in GROUP_RULES.items():
        names = _by_rule(places, expression)
        in_class = [name and f"{label}/{name}" for name, label in zip(names, labels, strict=True)]
        of_singles = [in_class[row] for row in single]
        few = len(_sequences(of_singles)) < MINIMUM_SEQUENCES
        if few and (rule != known_rule or not _sequences(in_class)):
            continue
        evidence = resemblance_of_singles(of_singles, _codes([labels[row] for row in single]), None)
        known = rule == known_rule and (few or not evidence.looked_at or evidence.clear)
        if evidence.convincing or known:
            count = len(set(in_class) - {None}) + in_class.count(None)
            why = "the rule of the training" if known else str(evidence)
            believed.append((count, rule, meaning, why, names))
        elif evidence.looked_at:
            doubted = doubted or f" Tried and not believed: {meaning}; {evidence}."
    if not believed:
        return "none", f"File names tell no groups.{doubted}", [None] * len(paths)
    _, rule, meaning, why, names = min(believed, key=lambda found: found[0])
    names = _placed(names, [folder for folder, _ in places], labels, resemblance)
    return rule, f"Groups by file name, {meaning}: {_sizes(names)}; {why}.", names


def _by_rule(places: Sequence[tuple[str, str]], expression: str) -> Names:
    # `places` are (folder, file name without its suffix)
    pattern = re.compile(expression, re.IGNORECASE)
    matches = [pattern.fullmatch(stem) for _, stem in places]
    names = [match["group"] if match else None for match in matches]
    times = Counter((folder, name) for (folder, _), name in zip(places, names, strict=True))
    # An original without copies is matched too; it is no group, so its content is to name it.
    return [
        None if name == stem and times[folder, name] == 1 else name
        for (folder, stem), name in zip(places, names, strict=True)
    ]


def _placed(names: Names, folders: Sequence[str], labels: Sequence[str], resemblance: Resemblance) -> Names:
    """Put the place before a name, unless one name in several places is one group.

    Names repeat in two ways. The frames of one video may be sorted into several classes, or into train and
    validation: that is one group, and the very leak to be found. Or each folder counts from 1: cat/video1 has
    nothing to do with dog/video1, and joining them would tie the classes together. The images tell: only in
    the first case has the most similar image of the other places mostly the same name.
    """
    classes = _codes(labels)
    if resemblance(names, np.zeros_like(classes), classes).convincing:
        return names
    in_class = resemblance(names, classes, _codes(folders))
    where = folders if in_class.looked_at and not in_class.convincing else labels
    return [name and f"{place}/{name}" for name, place in zip(names, where, strict=True)]


def _resemblance(thumbnails: npt.NDArray[np.uint8], order: Sequence[int]) -> Resemblance:
    # The features are computed once, if at all; `order` makes the answer independent of the order of files.
    features: list[npt.NDArray[np.float32]] = []

    def resemblance(names: Names, arenas: Integers, apart: Integers | None) -> Evidence:
        if not features:
            features.append(invariants(thumbnails[order]))
        codes = _codes(row if name is None else name for row, name in enumerate(names))[order]
        return nearest_agreement(features[0], codes, arenas[order], None if apart is None else apart[order])

    return resemblance


def _codes(values: Iterable[object]) -> Integers:
    # Equal values get equal numbers.
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp)


def _join(names: Names, hashes: Sequence[str], copies: Copies) -> list[str]:
    # The final name of each image: union-find over equal names, equal content and near copies.
    parents = list(range(len(names)))
    first: dict[tuple[bool, str], int] = {}
    keys = [
        (name is None, f"{CONTENT}{content}" if name is None else name)
        for name, content in zip(names, hashes, strict=True)
    ]
    for row, (key, content) in enumerate(zip(keys, hashes, strict=True)):
        parents[root_of(parents, row)] = root_of(parents, first.setdefault((True, f"{CONTENT}{content}"), row))
        parents[root_of(parents, row)] = root_of(parents, first.setdefault(key, row))
    for a, b, _ in copies:
        parents[root_of(parents, a)] = root_of(parents, b)
    return _smallest(parents, keys)


def root_of(parents: list[int], row: int) -> int:
    """The root of the tree that `row` stands in, of a union-find; shortens the way there."""
    while parents[row] != row:
        parents[row] = row = parents[parents[row]]
    return row


def _smallest(parents: list[int], keys: Sequence[tuple[bool, str]]) -> list[str]:
    # The name of each row's tree: its smallest key, where one from a file name comes first.
    smallest: dict[int, tuple[bool, str]] = {}
    for row, key in enumerate(keys):
        root = root_of(parents, row)
        smallest[root] = min(key, smallest.get(root, key))
    return [smallest[root_of(parents, row)][1] for row in range(len(parents))]


def _sequences(names: Names) -> dict[str, int]:
    counts = Counter(name for name in names if name is not None)
    return {name: count for name, count in counts.items() if count > 1}


def _sizes(names: Names) -> str:
    sizes = _sequences(names).values()
    if not sizes:
        return "no group of two or more images"
    few, many = min(sizes), max(sizes)
    groups = "1 group" if len(sizes) == 1 else f"{len(sizes)} groups"
    return f"{groups} of {few} images" if few == many else f"{groups} of {few} to {many} images"

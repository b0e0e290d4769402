"""Audit: what is wrong with a dataset before any training: bad files, copies, leaks between splits, groups.

What needs no more than names, hashes and thumbnails, so that every training does it. `fieldmark.checks` asks further.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.images.dataset import Dataset
from fieldmark.images.duplicates import distance, exact_duplicates
from fieldmark.images.findings import CheckResult
from fieldmark.images.groups import Groups, find_groups
from fieldmark.images.names import counted, printable, some
from fieldmark.images.read import Images
from fieldmark.images.remarks import remarks_on

# Training images of a leaking group that each image is compared with: 0.4 ms each, and groups may hold thousands.
COMPARED = 50


@dataclasses.dataclass(frozen=True)
class Leak:
    """A training image and an image of another split that belong together."""

    train: str
    other: str
    distance: float  # 0 for the same file; else the distance of their thumbnails

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found; `dataset` is the audited one, with its groups."""

    dataset: Dataset
    groups: Groups
    duplicates: tuple[tuple[str, ...], ...]
    leaks: tuple[Leak, ...]
    remarks: tuple[str, ...]  # sentences for people, such as a class that validation lacks
    checks: tuple[CheckResult, ...] = ()  # of fieldmark.checks, where they were run
    suspected_labels: tuple[dict[str, Any], ...] = ()  # the most suspicious first
    near_duplicates: tuple[dict[str, Any], ...] = ()  # the most alike first

    def __repr__(self) -> str:
        dataset = self.dataset
        classes = f"{counted(len(dataset.classes), 'class', 'classes')} ({printable(some(dataset.classes))})"
        found = (
            counted(len(dataset.problems), "problem"),
            counted(len(self.duplicates), "set of duplicates", "sets of duplicates"),
            counted(len(self.leaks), "leak"),
            counted(len(self.suspected_labels), "suspected label"),
        )
        images = f"{counted(len(dataset), 'image')} in {classes}"
        return f"<Audit of {printable(str(dataset.root))}: {images}; {', '.join(found)}; to_json() holds all>"

    def to_json(self) -> dict[str, Any]:
        """The object of `fieldmark audit --json`."""
        dataset = self.dataset
        return {
            "root": str(dataset.root),
            "images": len(dataset),
            "classes": {name: int(np.sum(dataset.labels == label)) for label, name in enumerate(dataset.classes)},
            "splits": {split: counts for split, counts in dataset.counts().items() if split},
            "problems": [problem.to_json() for problem in dataset.problems],
            "duplicates": [list(paths) for paths in self.duplicates],
            "leaks": [leak.to_json() for leak in self.leaks],
            "groups": {"rule": self.groups.rule, "count": self.groups.count, "meaning": self.groups.meaning},
            "suspected_labels": [dict(row) for row in self.suspected_labels],
            "near_duplicates": [dict(pair) for pair in self.near_duplicates],
            "corrections": [correction.to_json() for correction in dataset.corrections],
            "checks": [check.to_json() for check in self.checks],
            "remarks": list(self.remarks),
            "fingerprint": dataset.fingerprint,
        }


def audit_images(images: Images, *, group_by: str | None = None, known_rule: str | None = None) -> Audit:
    """Audit a dataset that has been read; `group_by` and `known_rule` as in `find_groups`.

    Raises DatasetError for a `group_by` that is no regular expression.
    """
    dataset = images.dataset
    thumbnails = images.thumbnails()
    groups = find_groups(
        dataset.paths,
        dataset.hashes,
        given_classes(dataset),
        thumbnails,
        group_by=group_by,
        known_rule=known_rule,
    )
    dataset = dataset.replace(groups=groups.names)
    copies = exact_duplicates(_contents(images, thumbnails))
    return Audit(
        dataset=dataset,
        groups=groups,
        duplicates=tuple(tuple(dataset.paths[row] for row in rows) for rows in copies),
        leaks=find_leaks(dataset, thumbnails),
        remarks=tuple(remarks_on(dataset, copies)),
    )


def given_classes(dataset: Dataset) -> list[str]:
    """The class of each image by its folder: a corrected image stays with its sequence."""
    given = {correction.path: correction.given for correction in dataset.corrections}
    return [given.get(path, dataset.classes[label]) for path, label in zip(dataset.paths, dataset.labels, strict=True)]


def _contents(images: Images, thumbnails: npt.NDArray[np.uint8]) -> list[str]:
    """A name for what each image shows: equal for the same pixels in another format or with other metadata."""
    dataset = images.dataset
    # Pixels are read only of images that equal another one in all that is at hand.
    keys = [(cells.tobytes(), size) for cells, size in zip(thumbnails, dataset.sizes, strict=True)]
    different: dict[Any, set[str]] = defaultdict(set)
    for key, content in zip(keys, dataset.hashes, strict=True):
        different[key].add(content)
    contents = list(dataset.hashes)
    for row, key in enumerate(keys):
        if len(different[key]) > 1:
            contents[row] = hashlib.sha256(images.pixels([row]).tobytes()).hexdigest()
    return contents


def find_leaks(dataset: Dataset, thumbnails: Any) -> tuple[Leak, ...]:
    """One leak for each image outside of training whose group has a training image: the likest of some of them."""
    training: dict[str, list[int]] = defaultdict(list)
    for row in dataset.rows("train"):
        training[dataset.groups[row]].append(int(row))
    leaks = []
    for row in np.flatnonzero(np.isin(dataset.splits, ("validation", "test"))):
        members = training.get(dataset.groups[row], [])
        same = [other for other in members if dataset.hashes[other] == dataset.hashes[row]]
        candidates = same[:1] or members[:COMPARED]
        if candidates:
            far, likest = min((_distance(dataset, thumbnails, int(row), other), other) for other in candidates)
            leaks.append(Leak(dataset.paths[likest], dataset.paths[row], far))
    return tuple(leaks)


def _distance(dataset: Dataset, thumbnails: Any, row: int, other: int) -> float:
    if dataset.hashes[row] == dataset.hashes[other]:
        return 0.0
    return round(float(distance(thumbnails[row], thumbnails[other])), 4)

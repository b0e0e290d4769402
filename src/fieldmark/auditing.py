"""Auditing: every question about a dataset, without any training; and a look at some of its images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark import storage
from fieldmark.checks.context import Copy
from fieldmark.checks.table import run_checks
from fieldmark.grouping import embeddings_of, splits_itself, why_not_searched, with_copies_joined
from fieldmark.images.audit import Audit, audit_images
from fieldmark.images.names import printable
from fieldmark.images.read import Images, read
from fieldmark.images.samples import sample_grid
from fieldmark.images.scan import scan, without_empty_classes
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.training.choices import choose
from fieldmark.training.progress import Progress


def audit(
    directory: str | Path,
    *,
    validation: str | Path | None = None,
    group_by: str | None = None,
    corrections: str | Path | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Ask every question of `fieldmark.checks` about a folder of folders of images, without any training.

    Every file is opened and decoded once, and embedded once, into the cache that training uses. `quick` leaves
    out the questions that need embeddings; where the backbone has to be converted and torch is not installed,
    they say that they were not asked. Raises DatasetError.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> from fieldmark.images.demo import draw_demo
    >>> draw_demo(folder / "faces")
    >>> found = audit(folder / "faces", quick=True)
    >>> [problem.code for problem in found.dataset.problems], len(found.leaks)
    (['truncated'], 1)
    """
    progress = progress or Progress(quiet=True)
    _, preprocessing = choose(Recipe.network, {})
    images, found = _read_and_grouped(
        directory,
        preprocessing,
        validation=validation,
        group_by=group_by,
        corrections=corrections,
        progress=progress,
    )
    embeddings, not_run, hint = None, "--quick leaves out what needs embeddings", "run it without --quick"
    if not quick:
        embeddings, not_run, hint = embeddings_of(images, preprocessing, progress)
    copies = None
    with progress.stage("check"):
        if splits_itself(found.dataset):
            images, found, copies = _grouped_as_trained(images, found, embeddings)
        return run_checks(images, found, embeddings, not_run=not_run, hint=hint, copies=copies)


def _grouped_as_trained(
    images: Images, found: Audit, embeddings: npt.NDArray[np.float32] | None
) -> tuple[Images, Audit, tuple[Copy, ...] | None]:
    """With the groups by which a training would split; where these lack the near-duplicates, it says so."""
    if why := why_not_searched(found.dataset):
        remark = f"near-duplicates are not joined to groups, so the split of a training may part some: {why}"
        return images, dataclasses.replace(found, remarks=(*found.remarks, remark)), None
    if embeddings is None:
        remark = "near-duplicates were not searched: a training joins them to groups before it splits"
        return images, dataclasses.replace(found, remarks=(*found.remarks, remark)), None
    found, copies, _ = with_copies_joined(images, found, embeddings)
    return dataclasses.replace(images, dataset=found.dataset), found, copies


def inspect(
    directory: str | Path,
    preprocessing: Preprocessing,
    *,
    validation: str | Path | None = None,
    group_by: str | None = None,
    corrections: str | Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Problems, duplicates, and groups and leaks by names and thumbnails alone. Raises DatasetError."""
    progress = progress or Progress(quiet=True)
    _, found = _read_and_grouped(
        directory, preprocessing, validation=validation, group_by=group_by, corrections=corrections, progress=progress
    )
    return found


def _read_and_grouped(
    directory: str | Path,
    preprocessing: Preprocessing,
    *,
    validation: str | Path | None,
    group_by: str | None,
    corrections: str | Path | None,
    progress: Progress,
) -> tuple[Images, Audit]:
    with progress.stage("scan"):
        dataset = scan(
            Path(directory),
            validation=Path(validation) if validation is not None else None,
            corrections=Path(corrections) if corrections is not None else None,
        )
    with progress.stage("read") as step:
        images = read(dataset, preprocessing, on_progress=step)
        images = dataclasses.replace(images, dataset=without_empty_classes(images.dataset))
    with progress.stage("audit"):
        found = audit_images(images, group_by=group_by)
    return dataclasses.replace(images, dataset=found.dataset), found


def samples(
    directory: str | Path,
    out: str | Path,
    *,
    per_class: int = 8,
    seed: int = 0,
    corrections: str | Path | None = None,
) -> dict[str, Any]:
    """Write random images of every class as one picture; return what it shows, with the files that could not be.

    Raises DatasetError for the directory, OutputError for the place or a suffix that is no picture's.
    """
    table = Path(corrections) if corrections is not None else None
    dataset = scan(Path(directory), corrections=table)
    by_class = {
        name: [dataset.file(int(row)) for row in np.flatnonzero(dataset.labels == label)]
        for label, name in enumerate(dataset.classes)
    }
    picture, problems = sample_grid(by_class, per_class=per_class, seed=seed)
    storage.write_picture(Path(out), picture)
    return {
        "out": str(out),
        "classes": {name: min(per_class, len(paths)) for name, paths in by_class.items()},
        "problems": [{"path": printable(str(path)), "code": code} for path, code in problems],
    }

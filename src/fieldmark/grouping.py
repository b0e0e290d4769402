"""Grouping: the groups by which a split is made, near-duplicates among them; a function of the images alone.

Neither the network nor the image size of a run changes them, so that runs of one dataset and seed hold out the same
images: they are found in pixels at the default recipe's size and in the pretrained backbone's embeddings, whatever is
trained. What pictures laid over each other have told is kept in the cache. A network from scratch also pays one pass of
the backbone, which the cache keeps, too; and at another image size all images are decoded a second time, and kept a
second time in the cache, at the usual one.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Copy
from fieldmark.checks.copies import find_copies
from fieldmark.checks.joining import join_within
from fieldmark.embedding import embed, find_backbone
from fieldmark.errors import MissingExtraError
from fieldmark.images.audit import Audit, audit_images
from fieldmark.images.cache_limit import DEFAULT_LIMIT_BYTES
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images, read
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.training.choices import choose
from fieldmark.training.progress import Progress

# Images up to which a training asks what an audit does: 1-2 ms an image, and more for the labels of many.
MOST_CHECKED = 20_000


class Grouped(NamedTuple):
    """A dataset with its groups, and the near-duplicates that were found on the way."""

    audit: Audit
    copies: tuple[Copy, ...] | None = None  # None where they were not searched
    embeddings: npt.NDArray[np.float32] | None = None  # (n, d) of the pretrained backbone, where they were needed


def splits_itself(dataset: Dataset) -> bool:
    """Whether a training makes the split."""
    return not len(dataset.rows("validation"))


def why_not_searched(dataset: Dataset) -> str:
    """Why near-duplicates are not kept together by the split; nothing where they are."""
    return f"more than {MOST_CHECKED:,} images" if len(dataset) > MOST_CHECKED else ""


def group(
    images: Images,
    preprocessing: Preprocessing,
    *,
    group_by: str | None,
    progress: Progress,
    threads: int | None = None,
    cache_limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Grouped:
    """Audit images that were read for a training, before it splits them; with near-duplicates in one group.

    `preprocessing` is that of `images`; `threads` embed at once (None: one a core). Raises DatasetError for a
    `group_by` that is no regular expression.
    """
    if why := why_not_searched(images.dataset):
        return _without(audit_images(images, group_by=group_by), why)
    _, usual = choose(Recipe.network, {})
    usual_images = images
    if preprocessing != usual:
        with progress.stage("read for near-duplicates") as step:
            usual_images = read(images.dataset, usual, cache_limit_bytes=cache_limit_bytes, on_progress=step)
    if usual_images.dataset.hashes != images.dataset.hashes:  # a file changed, or cannot be read at this size
        return _without(audit_images(images, group_by=group_by), "not every image can be read at the usual size")
    found = audit_images(usual_images, group_by=group_by)
    embeddings, why, _ = embeddings_of(usual_images, usual, progress, threads=threads, what="embed for near-duplicates")
    if embeddings is None:
        return _without(found, why)
    with progress.stage("near-duplicates"):
        return with_copies_joined(usual_images, found, embeddings)


def _without(found: Audit, why: str) -> Grouped:
    remark = f"near-duplicates were not searched, so the split may part some: {why}"
    return Grouped(dataclasses.replace(found, remarks=(*found.remarks, remark)))


def with_copies_joined(images: Images, found: Audit, embeddings: npt.NDArray[np.float32]) -> Grouped:
    """The audit with the near-duplicates of its training images joined to groups; `embeddings` (n, d) are of all."""
    dataset = found.dataset
    copies = find_copies(Context(dataclasses.replace(images, dataset=dataset), found, embeddings))
    to_split = np.isin(dataset.splits, ("train", ""))
    groups, remarks = join_within(dataset, found.groups, copies, to_split)
    joined = dataclasses.replace(
        found, dataset=dataset.replace(groups=groups.names), groups=groups, remarks=(*found.remarks, *remarks)
    )
    return Grouped(joined, copies, embeddings)


def embeddings_of(
    images: Images,
    preprocessing: Preprocessing,
    progress: Progress,
    *,
    threads: int | None = None,
    what: str = "embed",
) -> tuple[npt.NDArray[np.float32] | None, str, str]:
    """The embeddings of all images; or None, why there are none, and what to do."""
    try:
        with progress.stage("prepare the backbone"):
            backbone = find_backbone(preprocessing)
    except MissingExtraError as error:
        return None, str(error), error.hint
    with progress.stage(what) as step:
        return embed(images, backbone, threads=threads, on_progress=step), "", ""

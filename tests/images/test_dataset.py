"""Dataset: its columns, and what is counted over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldmark.images.dataset import Dataset


def test_counts_are_those_of_every_split_that_has_images_and_of_every_class() -> None:
    splits = np.array(["train", "test", "train", "train"], dtype=object)
    labels = np.array([0, 2, 2, 0], dtype=np.int32)
    dataset = Dataset(Path(), ("cat", "cow", "dog"), ("1", "2", "3", "4"), labels, splits)
    assert dataset.counts() == {"train": {"cat": 2, "cow": 0, "dog": 1}, "test": {"cat": 0, "cow": 0, "dog": 1}}
    assert all(type(count) is int for counts in dataset.counts().values() for count in counts.values())

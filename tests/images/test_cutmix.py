"""CutMix: rectangles within the image, labels by area, decided by seed, epoch and content alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fieldmark.images.augment import AUGMENTATIONS, Augmentation
from fieldmark.images.cutmix import Cuts, cuts, fill, shared_labels

KEYS = np.random.default_rng(1).integers(0, 2**63, 4000, dtype=np.uint64)


def drawn(keys: np.ndarray = KEYS, share: float = 1.0, **changed: int) -> Cuts:
    found = cuts(Augmentation(cutmix=share), keys, (40, 60, 3), **{"seed": 0, "epoch": 1, **changed})
    assert found is not None
    return found


def columns(found: Cuts) -> np.ndarray:
    return np.stack([getattr(found, field.name) for field in dataclasses.fields(found)])


def test_only_one_augmentation_cuts() -> None:
    cutting = [name for name, each in AUGMENTATIONS.items() if cuts(each, KEYS, (8, 8, 3), seed=0, epoch=1) is not None]
    assert cutting == ["cutmix"]


def test_rectangles_lie_within_the_image_everywhere_and_count_by_their_area() -> None:
    found = drawn()
    assert (found.left.min(), found.top.min()) == (0, 0)
    assert (found.right.max(), found.bottom.max()) == (60, 40)
    assert found.kept == pytest.approx(1 - (found.right - found.left) * (found.bottom - found.top) / 2400, abs=1e-6)
    assert np.quantile(found.kept, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    middle = (found.left + found.right) / 2, (found.top + found.bottom) / 2
    assert [float(each.mean()) for each in middle] == pytest.approx([30, 20], abs=0.5)


def test_the_next_image_fills_the_rectangle() -> None:
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (0, 100, 200)])
    one = np.ones(3, np.float32)
    pasted = fill(images, Cuts(left=one * 2, top=one, right=one * 4, bottom=one * 3, kept=one))
    assert (pasted[:, 1:3, 2:4] == np.array([100, 200, 0]).reshape(3, 1, 1, 1)).all()
    assert [int((own != image).sum()) for own, image in zip(pasted, images, strict=True)] == [12, 12, 12]
    assert (images == np.array([0, 100, 200]).reshape(3, 1, 1, 1)).all()


def test_labels_count_by_area() -> None:
    found = dataclasses.replace(drawn(KEYS[:3]), kept=np.array([0.25, 1.0, 0.5], np.float32))
    shares = shared_labels(np.array([2, 0, 2], np.int32), found, 3)
    assert shares.tolist() == [[0.75, 0, 0.25], [1, 0, 0], [0, 0, 1]]
    assert shares.dtype == np.float32


@pytest.mark.parametrize("changed", [{"seed": 1}, {"epoch": 2}, {}])
def test_seed_epoch_and_content_decide(changed: dict[str, int]) -> None:
    first, again = columns(drawn()), columns(drawn(**changed))
    assert np.array_equal(first, again) == (not changed)
    assert np.array_equal(first[:, 7:8], columns(drawn(KEYS[7:8])))


def test_a_share_of_the_images_is_cut() -> None:
    assert (drawn(share=0.3).kept < 1).mean() == pytest.approx(0.3, abs=0.03)

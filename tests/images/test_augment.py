import dataclasses
import hashlib

import numpy as np
import pytest
from scipy.ndimage import correlate

from fieldmark.errors import RecipeError
from fieldmark.images.augment import AUGMENTATIONS, Augmentation, _turn_hue, augment, draw, filters

CHANGING = sorted(set(AUGMENTATIONS) - {"none"})

# Regenerate: PYTHONPATH=. python -c "from tests.images.test_augment import *; print_golden()"
GOLDEN = {
    "none": "b9a7dee725ccf98b",
    "flip": "a3d277ae98653a54",
    "color": "bf90cd0f51791ed2",
    "standard": "b57f0cf23208baf9",
    "erasing": "7f891b3090e3e352",
    "lighten": "57a96e5cf48a1b34",
    "texture": "5304494b33ceba6e",
}


def batch(count=6, *, height=20, width=24, channels=3):
    """Smooth images with a bright spot, no two alike, and their content keys."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width][:, :, :, None]
    tops = rng.uniform(2, 6, (count, 1, 1, channels))
    images = 60 + tops * x + rng.integers(0, 4, (count, height, width, channels)) + 40 * (y < 6)
    return images.astype(np.uint8), rng.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2)


def print_golden():
    for name in AUGMENTATIONS:
        print(f'    "{name}": "{digest(name)}",')


def digest(name):
    images, keys = batch()
    return hashlib.sha256(augment(images, keys, name=name, seed=7, epoch=2).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_golden(name):
    assert digest(name) == GOLDEN[name]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(6, 20, 24, 3), (6, 20, 24, 1), (1, 1, 1, 3), (0, 20, 24, 3)])
def test_shape_type_and_input_are_kept(name, shape):
    images, keys = batch(shape[0], height=shape[1], width=shape[2], channels=shape[3])
    before = images.copy()
    images.flags.writeable = False
    changed = augment(images, keys, name=name, seed=0, epoch=0)
    assert changed.shape == shape
    assert changed.dtype == np.uint8
    assert changed.flags.writeable
    assert not np.shares_memory(changed, images)
    np.testing.assert_array_equal(images, before)


def test_none_returns_the_same_values():
    images, keys = batch()
    np.testing.assert_array_equal(augment(images, keys, name="none", seed=0, epoch=0), images)


@pytest.mark.parametrize("name", CHANGING)
def test_an_image_does_not_depend_on_its_batch_or_place(name):
    images, keys = batch()
    together = augment(images, keys, name=name, seed=3, epoch=4)
    turned = augment(images[::-1], keys[::-1], name=name, seed=3, epoch=4)
    np.testing.assert_array_equal(turned[::-1], together)
    for index in range(len(images)):
        alone = augment(images[index : index + 1], keys[index : index + 1], name=name, seed=3, epoch=4)
        np.testing.assert_array_equal(alone[0], together[index])


@pytest.mark.parametrize("name", CHANGING)
def test_global_random_state_is_neither_used_nor_touched(name):
    images, keys = batch()
    np.random.seed(1)  # noqa: NPY002
    first = augment(images, keys, name=name, seed=0, epoch=0)
    state = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == state  # noqa: NPY002
    np.testing.assert_array_equal(augment(images, keys, name=name, seed=0, epoch=0), first)


def test_seed_epoch_and_key_each_change_the_images():
    images, keys = batch()
    base = augment(images, keys, name="standard", seed=0, epoch=0)
    for other in (
        augment(images, keys, name="standard", seed=1, epoch=0),
        augment(images, keys, name="standard", seed=0, epoch=1),
        augment(images, keys + np.uint64(1), name="standard", seed=0, epoch=0),
    ):
        assert all((a != b).any() for a, b in zip(other, base, strict=True))


def test_no_draw_is_repeated():
    """1000 neighbouring keys, 3 epochs, 4 seeds: no image has the same draws twice, or those of another."""
    keys = np.arange(1000, dtype=np.uint64)
    tables = [np.stack(list(draw(keys, seed=seed, epoch=epoch).values())) for seed in range(4) for epoch in range(3)]
    every = np.concatenate(tables, axis=1)  # (kinds of change, keys × epochs × seeds)
    assert len(np.unique(every, axis=1).T) == 12_000
    # Kind by kind too: equal numbers would be a sign that one stream runs behind another.
    assert all(len(np.unique(kind)) == 12_000 for kind in every)
    assert len(np.unique(every)) == every.size


def test_draws_are_uniform_and_unrelated():
    """20,000 draws of each kind fill ten bins evenly; kinds, neighbours and epochs do not go together."""
    keys = np.arange(20_000, dtype=np.uint64)
    now = np.stack(list(draw(keys, seed=0, epoch=0).values()))
    later = np.stack(list(draw(keys, seed=0, epoch=1).values()))
    assert now.min() >= 0
    assert now.max() < 1
    for kind in now:
        counts, _ = np.histogram(kind, bins=10, range=(0, 1))
        assert abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)
    correlations = np.corrcoef(np.concatenate([now, later, np.roll(now, 1, axis=1)])) - np.eye(3 * len(now))
    assert abs(correlations).max() < 5 / np.sqrt(20_000)


def test_seeds_of_any_size_are_taken():
    images, keys = batch()
    results = [augment(images, keys, name="standard", seed=seed, epoch=0) for seed in (-1, 0, 2**63, 2**64 - 2)]
    assert len({result.tobytes() for result in results}) == 4


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    images, _ = batch(1)
    keys = np.arange(400, dtype=np.uint64)
    flipped = augment(np.repeat(images, 400, axis=0), keys, name="flip", seed=0, epoch=0)
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 160 <= mirrored.sum() <= 240


def test_a_change_that_is_switched_on_leaves_the_others_as_they_were():
    images, keys = batch(40)
    standard = augment(images, keys, name="standard", seed=0, epoch=0)
    erasing = augment(images, keys, name="erasing", seed=0, epoch=0)
    same = (standard == erasing).all(axis=(1, 2, 3))
    assert 8 <= same.sum() <= 32
    covered = (standard != erasing).any(axis=3).mean(axis=(1, 2))[~same]
    assert covered.max() < 0.25


def test_gray_images_change_as_gray_colour_images_do(monkeypatch):
    """Without clipping, the one channel is the mean of the three that the same grey would have become."""
    mild = dataclasses.replace(AUGMENTATIONS["standard"], brightness=1.1, contrast=1.1, gains=1.1)
    monkeypatch.setitem(AUGMENTATIONS, "standard", mild)
    images, keys = batch(channels=1)
    gray = augment(images, keys, name="standard", seed=0, epoch=0)
    colour = augment(np.repeat(images, 3, axis=3), keys, name="standard", seed=0, epoch=0)
    np.testing.assert_allclose(gray[..., 0], colour.mean(axis=3), atol=1.01)
    assert (gray != images).any()


def test_lighten_fades_the_border_and_keeps_the_middle():
    images = np.full((200, 32, 32, 3), 90, dtype=np.uint8)
    keys = np.arange(200, dtype=np.uint64)
    standard = augment(images, keys, name="standard", seed=0, epoch=0).astype(int)
    lighter = augment(images, keys, name="lighten", seed=0, epoch=0).astype(int)
    faded = (lighter[:, 0, 0] > standard[:, 0, 0] + 50).all(axis=1)
    assert 70 <= faded.sum() <= 130
    np.testing.assert_array_equal(lighter[:, 16, 16], standard[:, 16, 16])
    assert (lighter >= standard).all()


@pytest.fixture
def only(monkeypatch):
    """Change images by the given fields alone: only(images, gray=1.0)."""

    def change(images, **fields):
        monkeypatch.setitem(AUGMENTATIONS, "only", Augmentation(**fields))
        return augment(images, np.arange(len(images), dtype=np.uint64), name="only", seed=0, epoch=0)

    return change


def test_colours_stay_within_their_limits(only):
    changed = only(np.full((500, 4, 4, 3), 128, np.uint8), brightness=1.3, gains=1.3, contrast=1.5).astype(int)
    darkest, lightest = 1.5 * (128 / 1.69 - 127.5) + 127.5, 255
    assert darkest - 1 <= changed.min() < darkest + 20
    assert lightest - 20 < changed.max()
    assert (changed == changed[:, :1, :1]).all()


def test_contrast_turns_about_the_middle_gray(only):
    images = np.array([28, 127, 228], np.uint8).reshape(1, 1, 3, 1).repeat(50, axis=0).repeat(3, axis=3)
    low, middle, high = np.moveaxis(only(images, contrast=1.5)[..., 0].astype(int), 2, 0)
    assert abs(middle - 127).max() <= 1
    np.testing.assert_allclose(low + high, 255, atol=2)
    assert low.min() == 0
    assert 55 < low.max() < 64


def test_gray_is_the_luma_of_the_image(only):
    images, _ = batch()
    luma = images @ np.array([0.299, 0.587, 0.114])
    changed = only(images, gray=1.0)
    np.testing.assert_allclose(changed[..., 1], luma, atol=1)
    assert (changed == changed[..., :1]).all()


def test_hue_turns_colours_and_keeps_grays(only):
    gray = np.full((50, 3, 3, 3), 77, np.uint8)
    np.testing.assert_array_equal(only(gray, hue=180.0), gray)
    third_of_a_turn = _turn_hue(np.array([2 * np.pi / 3]))[0]
    np.testing.assert_allclose(third_of_a_turn, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)


def test_zoom_and_shift_move_a_square_within_their_limits_and_leave_no_gap(only):
    images = np.full((300, 40, 60, 3), 50, dtype=np.uint8)
    images[:, 15:25, 25:35] = 250
    changed = only(images, zoom=1.2, shift=0.1)[..., 0].astype(float)
    assert changed.min() == 50  # the edge is repeated: no black, no white
    weight = (changed - 50) / 200
    size = weight.sum(axis=(1, 2))
    assert 100 / 1.2**2 - 3 < size.min() < 75
    assert 135 < size.max() < 100 * 1.2**2 + 3
    x = (weight * (np.arange(60) + 0.5)).sum(axis=(1, 2)) / size - 30
    y = (weight * (np.arange(40) + 0.5)[:, None]).sum(axis=(1, 2)) / size - 20
    assert 6 < abs(x).max() < 0.1 * 60 * 1.2 + 0.5
    assert 4 < abs(y).max() < 0.1 * 40 * 1.2 + 0.5
    assert abs(x.mean()) < 0.6
    assert abs(y.mean()) < 0.4


def test_convolution_changes_texture_and_keeps_shape(only):
    """Noise becomes other noise, about as strong as before; where an image is plain it stays plain."""
    random = np.random.default_rng(0)
    plain = np.full((300, 12, 24, 3), 90, np.uint8)
    plain[:, :, 12:] = 160
    changed = only(plain, convolve=1.0).astype(int)
    left, right = changed[:, :, :11], changed[:, :, 13:]
    assert (left == left[:, :1, :1]).all()
    assert (right == right[:, :1, :1]).all()
    assert (left[:, 0, 0] != right[:, 0, 0]).any(axis=1).mean() > 0.95  # the edge between them is still there
    noise = np.clip(random.normal(128, 20, (300, 12, 24, 3)), 0, 255).astype(np.uint8)
    changed = only(noise, convolve=1.0).astype(float)
    assert 12 < changed.std(axis=(1, 2, 3)).mean() < 20
    assert np.median((changed != noise).mean(axis=(1, 2, 3))) > 0.9


def test_convolution_is_drawn_as_often_as_asked(only):
    images = np.random.default_rng(0).integers(0, 256, (400, 6, 6, 3), dtype=np.uint8)
    changed = (only(images, convolve=0.25) != images).any(axis=(1, 2, 3))
    assert 70 <= changed.sum() <= 130


def test_convolution_is_that_of_scipy(only):
    images = np.random.default_rng(0).integers(0, 256, (8, 9, 11, 3), dtype=np.uint8)
    weights = filters(Augmentation(convolve=1.0), draw(np.arange(8, dtype=np.uint64), seed=0, epoch=0))
    wide = (np.abs(weights) > 0).sum(axis=(1, 2, 3, 4)) > 9
    assert 0 < wide.sum() < 8  # both kinds are among them
    for image, weight, changed in zip(images, weights, only(images, convolve=1.0), strict=True):
        expected = [
            sum(correlate(image[:, :, old] - 128.0, weight[new, old], mode="nearest") for old in range(3)) + 128
            for new in range(3)
        ]
        np.testing.assert_array_equal(changed, np.clip(np.rint(np.stack(expected, 2)), 0, 255))


def test_unknown_name_and_missing_keys_are_refused():
    images, keys = batch()
    with pytest.raises(RecipeError, match="'stronger'") as error:
        augment(images, keys, name="stronger", seed=0, epoch=0)
    assert "standard" in error.value.hint
    with pytest.raises(ValueError, match="6 images and 5 keys"):
        augment(images, keys[:5], name="standard", seed=0, epoch=0)

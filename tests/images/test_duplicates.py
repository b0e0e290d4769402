"""Copies of one picture are found whatever was done to the file; different pictures never are."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from fieldmark.images import duplicates
from fieldmark.images.duplicates import (
    GAP,
    NEIGHBOURS,
    NOISE,
    distance,
    exact_duplicates,
    invariants,
    near_copies,
    thumbnail,
)
from tests.images.pictures import thumbnails

Bytes = np.ndarray


def photo(seed: int, size: int = 192) -> Bytes:
    """A smooth random picture with the coarse and fine structure of a photograph."""
    random = np.random.default_rng(seed)
    gray, color = (
        np.average(
            [resized(random.integers(0, 256, (n, n, channels), dtype=np.uint8), size) for n in (3, 6, 12, 24)],
            axis=0,
            weights=[5, 4, 3, 1],
        )
        for channels in (1, 3)
    )
    return (0.7 * gray + 0.3 * color).astype(np.uint8)


def face(mouth: float, eyes: float) -> Bytes:
    """A flat drawing: a yellow ball on white, drawn large and reduced, so that small changes show."""
    image = Image.new("RGB", (640, 640), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((32, 32, 608, 608), fill="yellow", outline="black", width=12)
    for x in (220, 420):
        draw.ellipse((x - 36, 240 - eyes, x + 36, 240 + eyes), fill="black")
    draw.arc((160, 360 - mouth, 480, 360 + mouth), 20, 160, fill="black", width=20)
    return np.asarray(image.reduce(4))


def encoded(pixels: Bytes, **options: object) -> Bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(buffer).convert("RGB"))


def turns(pixels: Bytes) -> list[Bytes]:
    return [np.rot90(side, k) for side in (pixels, pixels[:, ::-1]) for k in range(4)]


def resized(pixels: Bytes, size: int) -> Bytes:
    image = Image.fromarray(pixels.squeeze()).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, -1)


EDITS = {
    "turned by 90°": lambda pixels: np.rot90(pixels),
    "turned by 180°": lambda pixels: np.rot90(pixels, 2),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "JPEG 90": lambda pixels: encoded(pixels, format="JPEG", quality=90),
    "JPEG 75": lambda pixels: encoded(pixels, format="JPEG", quality=75),
    "WebP": lambda pixels: encoded(pixels, format="WEBP", quality=90),
    "half the size": lambda pixels: resized(pixels, 96),
    "turned and JPEG 90": lambda pixels: encoded(np.rot90(pixels, 3), format="JPEG", quality=90),
}

ORIGINALS = [photo(seed) for seed in range(60)]
PHOTOS = thumbnails(ORIGINALS)


def slow_thumbnail(pixels: Bytes) -> Bytes:
    """The same mean colours by cutting each pixel into 16 × 16 equal pieces."""
    height, width, channels = pixels.shape
    pieces = pixels.repeat(16, axis=0).repeat(16, axis=1).reshape(16, height, 16, width, channels)
    return np.broadcast_to(np.rint(pieces.mean(axis=(1, 3))), (16, 16, 3)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_thumbnail_is_the_mean_of_each_cell(height: int, width: int, channels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    small = thumbnail(pixels)
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, slow_thumbnail(pixels))


@pytest.mark.parametrize(("height", "width"), [(300, 300), (37, 501), (5, 3)])
def test_a_turned_image_has_the_turned_thumbnail(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for turned, expected in zip(turns(pixels), turns(thumbnail(pixels)), strict=True):
        np.testing.assert_array_equal(thumbnail(turned), expected)


def test_thumbnails_of_no_images() -> None:
    assert thumbnails([]).shape == (0, 16, 16, 3)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=12))
def test_exact_duplicates_are_all_places_of_repeated_hashes(hashes: list[str]) -> None:
    found = exact_duplicates(hashes)
    assert sorted(row for rows in found for row in rows) == [
        row for row, content in enumerate(hashes) if hashes.count(content) > 1
    ]
    assert all(len({hashes[row] for row in rows}) == 1 for rows in found)
    assert len({hashes[rows[0]] for rows in found}) == len(found)


def test_distance_knows_every_turn_and_is_symmetric() -> None:
    a, b = PHOTOS[0], PHOTOS[1]
    assert [distance(a, turned) for turned in turns(a)] == [0.0] * 8
    assert distance(a, b) == pytest.approx(distance(b, a)) == pytest.approx(distance(np.rot90(a), b[::-1]))
    assert distance(a, b) > 0.3


def test_distance_is_relative_to_contrast() -> None:
    a, b = PHOTOS[0].astype(int), PHOTOS[1].astype(int)
    faint = [(200 + (pixels - 128) // 4).clip(0, 255).astype(np.uint8) for pixels in (a, b)]
    assert distance(*faint) == pytest.approx(distance(PHOTOS[0], PHOTOS[1]), rel=0.05)


def test_invariants_never_exceed_the_distance_at_the_best_turn() -> None:
    close = np.clip(PHOTOS.astype(int) + np.random.default_rng(0).integers(-3, 4, PHOTOS.shape), 0, 255)
    pairs = [(a, np.rot90(b)) for a, b in zip(PHOTOS, close, strict=True)]
    pairs += itertools.pairwise(PHOTOS)
    for a, b in pairs:
        best = min(np.linalg.norm(turned.astype(float) - a) for turned in turns(b))
        assert np.linalg.norm(np.subtract(*invariants(np.stack([a, b])))) <= best * (1 + 1e-5)
    for turned in turns(PHOTOS[0]):
        np.testing.assert_array_equal(invariants(turned[None]), invariants(PHOTOS[:1]))


@pytest.mark.parametrize("edit", EDITS)
def test_every_copy_is_found_and_nothing_else(edit: str) -> None:
    copies = thumbnails(EDITS[edit](pixels) for pixels in ORIGINALS[:40])
    found = near_copies(np.concatenate([PHOTOS, copies]))
    assert [(i, j) for i, j, _ in found] == [(seed, 60 + seed) for seed in range(40)]
    assert all(0 <= apart < 0.1 for _, _, apart in found)


def test_the_distance_of_a_pair_is_its_distance() -> None:
    both = np.concatenate([PHOTOS, thumbnails([EDITS["JPEG 75"](ORIGINALS[0])])])
    [(i, j, apart)] = near_copies(both)
    assert apart == pytest.approx(distance(both[i], both[j]), rel=1e-5)
    assert apart > 0


def test_copies_of_copies_all_belong_together() -> None:
    family = thumbnails(edit(ORIGINALS[0]) for edit in EDITS.values())
    found = near_copies(np.concatenate([PHOTOS, family]))
    assert {row for i, j, _ in found for row in (i, j)} == {0, *range(60, 60 + len(EDITS))}


def test_frames_of_an_animation_are_not_copies() -> None:
    # Neighbours are as close as a photograph is to its JPEG: that they are many, ever farther away, tells.
    frames = thumbnails(face(mouth=40 + 2 * step, eyes=20 + step / 2) for step in range(60))
    neighbours = [distance(a, b) for a, b in itertools.pairwise(frames)]
    assert np.median(neighbours) < 0.02
    assert near_copies(frames) == []


def lighter(picture: Bytes, levels: float) -> Bytes:
    """A thumbnail that differs by so many levels root mean square."""
    share = np.arange(768).reshape(16, 16, 3) % 16 < round(16 * (levels % 1) ** 2)
    return (picture + int(levels) + share).astype(np.uint8)


def test_upright_copies_need_a_gap() -> None:
    copy, beside, far = (lighter(PHOTOS[0], levels) for levels in (0.5, 2, 0.5 + 0.5 * GAP + 1))
    assert [pair[:2] for pair in near_copies(np.stack([PHOTOS[0], copy, far]))] == [(0, 1)]
    assert near_copies(np.stack([PHOTOS[0], copy, beside])) == []
    assert near_copies(np.stack([PHOTOS[0], lighter(PHOTOS[0], NOISE + 1)])) == []


def test_both_pictures_must_claim_a_pair() -> None:
    # 0.3 from the first to the second, 1.7 on to the third: wide enough seen from the first, not from the second.
    step = np.arange(768).reshape(16, 16, 3)
    second = PHOTOS[0] + (step % 11 == 0)
    third = second + np.where(step % 11 == 0, 5, step % 11 < 8)
    images = np.stack([PHOTOS[0], second, third]).astype(np.uint8)
    apart = [np.sqrt(np.mean((images[i].astype(float) - images[j]) ** 2)) for i, j in [(0, 1), (1, 2), (0, 2)]]
    assert apart[1] < GAP * apart[0] < apart[2]
    assert near_copies(images) == []


def test_turned_copies_need_none() -> None:
    copy, beside = np.rot90(lighter(PHOTOS[0], 0.5)), lighter(PHOTOS[0], 2)
    assert [pair[:2] for pair in near_copies(np.stack([PHOTOS[0], copy, beside]))] == [(0, 1)]


def test_a_symmetric_picture_is_as_good_as_upright() -> None:
    symmetric = (PHOTOS[0] // 2 + PHOTOS[0][:, ::-1] // 2).astype(np.uint8)
    copy, beside = lighter(symmetric, 0.5)[:, ::-1], lighter(symmetric, 2)
    assert near_copies(np.stack([symmetric, copy, beside])) == []


def test_nothing_is_claimed_of_plain_images() -> None:
    random = np.random.default_rng(0)
    plain = np.full((20, 16, 16, 3), (200, 60, 20), dtype=np.uint8)
    noisy = plain + random.integers(0, 3, plain.shape, dtype=np.uint8)
    assert near_copies(np.concatenate([plain, noisy])) == []


def test_faint_images_must_agree_closely() -> None:
    faint = (120 + (PHOTOS[:1].astype(int) - 128) // 6).astype(np.uint8)
    assert near_copies(np.concatenate([faint, lighter(faint[0], 0.75)[None]])) == []
    assert len(near_copies(np.concatenate([PHOTOS[:1], lighter(PHOTOS[0], 0.75)[None]]))) == 1
    assert len(near_copies(np.concatenate([faint, faint[:, ::-1]]))) == 1


def test_frames_of_a_still_scene_are_not_copies() -> None:
    # More than are looked at, all within the noise: nobody knows where they end.
    noise = np.random.default_rng(0).integers(0, 2, (3 * NEIGHBOURS, 16, 16, 3), dtype=np.uint8)
    assert near_copies(PHOTOS[0] // 2 * 2 + noise) == []
    assert len(near_copies(PHOTOS[0] // 2 * 2 + noise[:5])) == 10


def test_pairs_are_sorted() -> None:
    images = np.stack([PHOTOS[0], PHOTOS[1], PHOTOS[1], lighter(PHOTOS[0], 0.5)])
    assert [pair[:2] for pair in near_copies(images)] == [(0, 3), (1, 2)]


def test_many_equal_images_are_paired_with_the_first() -> None:
    equal = np.stack([turns(PHOTOS[5])[k % 8] for k in range(NEIGHBOURS + 30)])
    found = near_copies(np.concatenate([PHOTOS[:5], equal]))
    assert found == [(5, row, 0.0) for row in range(6, 5 + len(equal))]


def test_copies_among_many_images() -> None:
    random = np.random.default_rng(0)
    many = random.integers(0, 256, (1500, 4, 4, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    noise = random.integers(0, 2, (300, 16, 16, 3), dtype=np.uint8)
    copies = np.rot90(many[:300] // 2 * 2 + noise, axes=(1, 2))
    found = near_copies(np.concatenate([many, copies]))
    assert [(i, j) for i, j, _ in found] == [(row, 1500 + row) for row in range(300)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images(count: int) -> None:
    assert near_copies(PHOTOS[:count]) == []


def test_the_order_of_images_does_not_matter() -> None:
    all_of_them = np.concatenate([PHOTOS, thumbnails(EDITS["JPEG 90"](pixels) for pixels in ORIGINALS[:20])])
    order = np.random.default_rng(1).permutation(len(all_of_them))
    again = {frozenset((int(order[i]), int(order[j]))) for i, j, _ in near_copies(all_of_them[order])}
    assert again == {frozenset((i, j)) for i, j, _ in near_copies(all_of_them)}


def upright(paths: list[Path]) -> Bytes:
    return thumbnails(np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")) for path in paths)


def test_every_turned_copy_of_rice_leaf_is_found(shared_data: Path) -> None:
    paths = sorted((shared_data / "rice-leaf/train/Bacterial").iterdir())
    found = near_copies(upright(paths))
    assert len(found) == 180  # 60 pictures, each there three times
    assert {row for pair in found for row in pair[:2]} == set(range(180))


def test_no_frame_of_happy_or_sad_is_a_copy(shared_data: Path) -> None:
    assert near_copies(upright(sorted((shared_data / "happy-or-sad").rglob("*.png")))) == []


def test_few_and_many_pictures_have_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    few = duplicates._nearest(features, 25, 4.0)
    monkeypatch.setattr(duplicates, "FEW", 10)
    np.testing.assert_array_equal(few, duplicates._nearest(features, 25, 4.0))
    assert 0 < (few == 300).sum() < few.size

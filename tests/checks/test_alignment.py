"""Alignment: copies are recognised however they were changed, other pictures are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from fieldmark.checks import alignment
from fieldmark.checks.alignment import similarity
from fieldmark.checks.copies import LIKENESS
from fieldmark.checks.planes import planes

SIDE = 112


def scene(seed: int) -> Image.Image:
    """A picture with detail at all scales, like a photograph: noise of several sizes, summed."""
    random = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE, 3))
    for cells in (3, 7, 14, 28, 56):
        small = random.normal(0, cells**-0.5, (cells, cells, 3)).astype(np.float32)
        layers = [Image.fromarray(small[:, :, c]).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for c in range(3)]
        total += np.stack([np.asarray(layer) for layer in layers], axis=2)
    return Image.fromarray(np.clip(128 + 90 * total, 0, 255).astype(np.uint8))


def watermark(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    for top in range(30, 80, 24):
        mask.paste(120, (10, top, 100, top + 2))
    return Image.composite(Image.new("RGB", image.size, "white"), image, mask)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "halved": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "cropped by 10 %": lambda image: image.crop((0, 11, 101, SIDE)),
    "cropped by 20 %": lambda image: image.crop((11, 0, 101, 90)),
    "framed": lambda image: ImageOps.expand(image, 8, "white"),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: ImageOps.mirror(image.crop((22, 0, SIDE, 90))),
    "turned by a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned a little": lambda image: image.rotate(4, Image.Resampling.BICUBIC),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "written on": watermark,
}


def pictures(*images: Image.Image) -> np.ndarray:
    return planes(np.stack([np.asarray(image.resize((SIDE, SIDE))) for image in images]))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_recognised(change: str) -> None:
    originals = [scene(seed) for seed in range(3)]
    both = pictures(*originals, *[CHANGES[change](image) for image in originals])
    found = similarity(both, np.array([[row, row + 3] for row in range(3)]))
    # A third of this watermark's pixels changed; what people write on photographs covers less.
    assert found.min() > (0.7 if change == "written on" else LIKENESS), found


def test_other_scenes_are_not() -> None:
    all_of_them = pictures(*[scene(seed) for seed in range(10, 22)])
    pairs = np.array([(i, j) for i in range(12) for j in range(i)])
    assert similarity(all_of_them, pairs).max() < 0.6


def band(seed: int) -> Image.Image:
    """A textured band across white paper, as leaves are photographed: one outline, another texture each."""
    image = Image.new("RGB", (SIDE, SIDE), (240, 236, 232))
    texture = scene(seed).resize((SIDE, 36)).point(lambda value: value // 2)
    image.paste(texture, (0, 40))
    return image


def test_the_same_outline_with_another_texture_is_another_picture() -> None:
    both = pictures(*[band(seed) for seed in range(6)], ImageEnhance.Brightness(band(0)).enhance(1.3))
    pairs = np.array([(i, j) for i in range(6) for j in range(i)])
    # The outline alone agrees to 0.94 where strong details drown the weak ones around them.
    assert similarity(both, pairs).max() < 0.85
    assert similarity(both, np.array([[0, 6]]))[0] > 0.95


def test_blank_pictures_and_no_pairs() -> None:
    blank = planes(np.full((2, 60, 60, 3), 255, np.uint8))
    assert np.isfinite(similarity(blank, np.array([[0, 1]]))).all()
    assert similarity(blank, np.zeros((0, 2), dtype=np.intp)).shape == (0,)


def test_burnt_out_places_count_less() -> None:
    originals = [scene(seed) for seed in range(3)]
    both = pictures(*originals, *[ImageEnhance.Brightness(image).enhance(2) for image in originals])
    # 0.73 where what is white in one picture counts as much as all else.
    assert similarity(both, np.array([[row, row + 3] for row in range(3)])).mean() > 0.75


def leaf(seed: int) -> Image.Image:
    """A leaf across white paper: much the same outline and veins as any other, and spots of its own."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:448, :448]
    across = y - 224 - random.uniform(-0.03, 0.03) * (x - 224)
    levels = np.where(np.abs(across) < random.uniform(60, 66), 105 + 10 * np.cos(across / 5), 232)
    for left, top in zip(random.integers(24, 424, 9), random.integers(180, 264, 9), strict=True):
        levels[top - 5 : top + 5, left - 8 : left + 8] -= 35
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)


def test_leaves_that_lie_alike_are_other_pictures() -> None:
    both = pictures(*[leaf(seed) for seed in range(6)], ImageEnhance.Brightness(leaf(0)).enhance(0.8))
    pairs = np.array([(i, j) for i in range(6) for j in range(i)])
    assert similarity(both, pairs).max() < LIKENESS
    assert similarity(both, np.array([[0, 6]]))[0] > 0.95


@pytest.mark.parametrize(
    ("change", "along_lines", "likeness"),
    [
        ("written on", 0.31, 0.95),
        ("mirrored", 0.31, 0.95),  # a turn was tried, nothing was fitted
        ("cropped by 10 %", 0.9, 0.95),
        ("cropped by 10 %", 0.47, 0.83),
        *[(change, 0.29, 0.0) for change in ("written on", "mirrored", "cropped by 10 %")],
    ],
)
def test_where_little_agrees_along_lines_a_moved_picture_is_less_alike(
    monkeypatch: pytest.MonkeyPatch, change: str, along_lines: float, likeness: float
) -> None:
    """Where one picture had to be moved over the other; and wherever it is hardly anything, nothing is alike."""
    both = pictures(scene(0), CHANGES[change](scene(0)))
    for name, value in (("crosswise", along_lines), ("detail_correlation", 0.95)):
        monkeypatch.setattr(alignment, name, lambda a, b, maps, value=value: np.full(len(a), value, np.float32))
    monkeypatch.setattr(alignment, "likeness_beside_marks", lambda a, b: np.zeros(len(a), np.float32))
    assert similarity(both, np.array([[0, 1]])) == pytest.approx([likeness], abs=1e-3)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 2)])
@pytest.mark.parametrize(("off", "moved"), [(0.0, False), (-0.014, False), (0.016, True), (-0.016, True)])
def test_a_map_moves_a_picture_where_one_of_its_numbers_is_off(place: tuple[int, int], off: float, moved: bool) -> None:
    maps = np.eye(2, 3, dtype=np.float32)[None].repeat(2, axis=0)
    maps[1][place] += off
    assert alignment._moved(maps).tolist() == [False, moved]

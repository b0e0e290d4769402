"""Marks: what is written on a copy hides it no longer, and what little two scenes share makes none of them a copy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from fieldmark.checks.alignment import similarity
from fieldmark.checks.copies import LIKENESS
from fieldmark.checks.marks import MOST_LOST, likeness_beside_marks
from fieldmark.checks.planes import planes
from tests.checks.test_alignment import SIDE, leaf, scene


def logo(image: Image.Image) -> Image.Image:
    marked = image.copy()
    width, height = round(0.27 * image.width), round(0.09 * image.height)
    box = image.width - width - 3, image.height - height - 3, image.width - 3, image.height - 3
    ImageDraw.Draw(marked).rectangle(box, fill="black")
    ImageDraw.Draw(marked).text((box[0] + 2, box[1]), "ACME", fill="white")
    return marked


def stripes(image: Image.Image) -> Image.Image:
    """Bright strokes, half transparent, across the middle, as wide as bold letters."""
    mask = Image.new("L", image.size)
    for left in range(6, 100, 12):
        mask.paste(130, (left, 50, left + 4, 64))
    return Image.composite(Image.new("RGB", image.size, "white"), image, mask)


def small_doll(seed: int) -> Image.Image:
    """A doll before white: all that these share is white, and a part of an outline."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((46, 20, 66, 40), fill=(200, 160, 120))
    for top in range(40, 84, 11):
        draw.rectangle((46, top, 66, top + 11), fill=tuple(random.integers(0, 200, 3).tolist()))
    return image


def pictures(*images: Image.Image) -> np.ndarray:
    return planes(np.stack([np.asarray(image) for image in images]))


def letter(which: str) -> Image.Image:
    """Of E the last bar is all that F lacks: a mark in one place."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for box in ((40, 20, 50, 90), (40, 20, 75, 30), (40, 50, 70, 58), (40, 80, 75, 90))[: 4 if which == "E" else 3]:
        draw.rectangle(box, fill="black")
    return image


@pytest.mark.parametrize("mark", [logo, stripes])
@pytest.mark.parametrize("picture", [scene, leaf])
def test_a_marked_copy_is_recognised(
    mark: Callable[[Image.Image], Image.Image], picture: Callable[[int], Image.Image]
) -> None:
    originals = [picture(seed) for seed in range(4)]
    both = pictures(*originals, *[mark(image) for image in originals])
    pairs = np.array([[row, row + 4] for row in range(4)])
    assert similarity(both, pairs).min() > LIKENESS
    assert similarity(both, pairs[:, ::-1]).min() > LIKENESS


def beside(pairs: list[tuple[Image.Image, Image.Image]]) -> np.ndarray:
    return likeness_beside_marks(pictures(*[one for one, _ in pairs]), pictures(*[other for _, other in pairs]))


@pytest.mark.parametrize("picture", [scene, leaf, small_doll])
def test_other_scenes_are_not_taken_for_marked_copies(picture: Callable[[int], Image.Image]) -> None:
    assert beside([(picture(i), picture(j)) for i in range(6) for j in range(i)]).max() == 0


def test_printed_letters_are_not_marked_copies_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside([(letter("E"), letter("F"))]).max() == 0
    monkeypatch.setattr("fieldmark.checks.marks.MOST_PLAIN", 1.0)
    assert beside([(letter("E"), letter("F"))]).max() > LIKENESS


def test_what_is_written_on_two_skies_makes_them_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.linspace(180, 200, SIDE)[:, None, None] * np.ones((1, SIDE, 3))
    x = y.transpose(1, 0, 2)
    both = [Image.fromarray(sky.astype(np.uint8)) for sky in (y, 0.8 * y + 0.2 * x)]
    for sky in both:
        ImageDraw.Draw(sky).text((10, 50), "ACME", fill="white")
    assert beside([(both[0], both[1])]).max() == 0
    monkeypatch.setattr("fieldmark.checks.marks.LEAST_SHOWN", 0.0)
    assert beside([(both[0], both[1])]).max() > LIKENESS


def test_leaves_are_spared_by_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(leaf(i), leaf(j)) for i in range(6) for j in range(i)]
    monkeypatch.setattr("fieldmark.checks.marks._like_a_mark", lambda difference: np.ones(len(difference), bool))
    assert beside(pairs).max() > LIKENESS


def test_dolls_are_spared_by_what_they_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(small_doll(i), small_doll(j)) for i in range(6) for j in range(i)]
    assert MOST_LOST < 0.5
    monkeypatch.setattr("fieldmark.checks.marks.MOST_PLAIN", 1.0)
    assert beside(pairs).max() == 0
    monkeypatch.setattr("fieldmark.checks.marks.MOST_LOST", 1.0)
    assert beside(pairs).max() > LIKENESS


def test_blank_pictures_and_other_levels_are_left_to_the_alignment() -> None:
    blank = Image.new("RGB", (SIDE, SIDE), "white")
    assert beside([(blank, blank), (scene(0), ImageEnhance.Brightness(scene(0)).enhance(0.7))]).max() == 0
    assert likeness_beside_marks(*np.zeros((2, 0, 56, 56), np.float32)).shape == (0,)

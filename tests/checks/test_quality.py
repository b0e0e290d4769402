"""Quality: the more blurred, the wider the edges; burnt-out light is told from white paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fieldmark.checks.planes import luminance
from fieldmark.checks.quality import BLURRED, MUCH_BURNT, Look, _look, _over_exposed, edge_width
from tests.checks.test_alignment import leaf, scene

SIDE = 224


def discs(seed: int) -> Image.Image:
    """Discs of all sizes that hide each other: edges as photographs have them."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), "grey")
    draw = ImageDraw.Draw(image)
    for _ in range(150):
        radius, x, y = 5 / np.sqrt(random.uniform(0.005, 1)), *random.uniform(0, SIDE, 2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(random.integers(0, 200, 3).tolist()))
    return image


def digit(seed: int) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), ("black", "white")[seed % 2])
    ImageDraw.Draw(image).ellipse((70, 30 + seed, 150, 190), outline=("white", "black")[seed % 2], width=20)
    return image


def before_waves(seed: int) -> Image.Image:
    """A small sharp subject before a smooth pattern that fills the picture."""
    y, x = np.mgrid[:SIDE, :SIDE]
    levels = 128 + 25 * np.sin(2 * np.pi * (x * np.cos(seed) + y * np.sin(seed)) / 24)
    image = Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    image.paste(digit(0).resize((60, 60)), (80, 60 + seed))
    return image


def grainy(image: Image.Image, levels: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, levels, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def width(image: Image.Image) -> float:
    return edge_width(luminance(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))))


SHARP: dict[str, Callable[[int], Image.Image]] = {
    "discs": discs,
    "pale discs": lambda seed: discs(seed).point(lambda value: 120 + value // 10),
    "enlarged": lambda seed: discs(seed).resize((128, 128), Image.Resampling.LANCZOS),
    "a digit": digit,
    "a leaf across white paper": leaf,
    "before waves": before_waves,
    "grain": lambda seed: grainy(discs(seed), 8),
}


@pytest.mark.parametrize("name", SHARP)
def test_what_is_sharp_is_not_called_blurred(name: str) -> None:
    for seed in range(5):
        assert width(SHARP[name](seed)) < BLURRED


@pytest.mark.parametrize("name", [name for name in SHARP if name != "grain"])
def test_the_more_blurred_the_wider_the_edges(name: str) -> None:
    for seed in range(3):
        sharp = SHARP[name](seed).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        found = [width(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 3, 4, 6)]
        assert name == "before waves" or found == sorted(found)  # above 8 the waves alone are measured
        # Beyond, contrast is taken over fewer pixels than the blur: no wider than 17, and never sharp again.
        strong = [width(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (4, 9, 14, 20)]
        assert min(strong) > BLURRED


def test_blur_is_seen_through_a_little_grain() -> None:
    for seed in range(3):
        assert width(grainy(discs(seed).filter(ImageFilter.GaussianBlur(5)), 3)) > BLURRED


def test_no_edge_and_no_room_for_one() -> None:
    assert edge_width(np.full((SIDE, SIDE), 7, np.float32)) == 17
    assert edge_width(np.zeros((3, SIDE), np.float32)) == 17
    assert edge_width(np.zeros((1, 1), np.float32)) == 17


def exposed(image: Image.Image, stops: int) -> Image.Image:
    """As with so many stops more light, which is linear below the display's gamma."""
    light = (np.asarray(image) / 255) ** 2.2 * 2.0**stops
    return Image.fromarray((np.minimum(light, 1) ** (1 / 2.2) * 255).astype(np.uint8))


def over_exposed(*images: Image.Image) -> list[bool]:
    pictures = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    return _over_exposed(Look(*np.array([_look(picture) for picture in pictures], np.float32).T)).tolist()


def test_burnt_out_pictures_are_found() -> None:
    pictures = [scene(seed).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for seed in range(5)]
    assert not any(over_exposed(*pictures, *[exposed(picture, 1) for picture in pictures]))
    assert all(over_exposed(*[exposed(picture, 3) for picture in pictures]))


def on_white(picture: Image.Image) -> Image.Image:
    """A product before plain white, in a soft shadow."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((60, 40, 170, 190), fill=255)
    shadow = mask.filter(ImageFilter.GaussianBlur(6)).point(lambda value: value // 3)
    image.paste("black", (6, 8), shadow)
    image.paste(picture.resize(image.size), (0, 0), mask)
    return image


def test_white_paper_is_not_burnt_out() -> None:
    assert not any(over_exposed(*[on_white(scene(seed)) for seed in range(5)], *[digit(seed) for seed in (1, 3, 5)]))
    shares = [_look(np.asarray(on_white(scene(seed))))[3] for seed in range(5)]
    assert min(shares) > MUCH_BURNT  # it is not spared because little of it is white


def test_a_few_thin_strokes_on_white_paper_are_dark_enough() -> None:
    page = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(page).line((60, 60, 160, 62), fill="black", width=2)
    assert over_exposed(page, page.point(lambda value: 225 + value * 30 // 255)) == [False, True]

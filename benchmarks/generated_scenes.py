"""Pictures of scenes that never were: each is drawn anew from its number, so no two show the same scene.

What they are for: counting how often the search for near-duplicates joins pictures that share no scene, which takes
more pictures than the shared datasets have. Families differ in what such a search could go wrong by: smooth pictures
without details, lines without ends, repeated patterns, textures, figures before white, leaves across white paper.
Every family has enough freedom (tens of random numbers a picture) that no two pictures come out alike by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 128  # pixels
Random = np.random.Generator
Floats = npt.NDArray[np.float64]
Colour = tuple[int, int, int]


def _colour(random: Random, least: int = 0, most: int = 255) -> Colour:
    red, green, blue = random.integers(least, most, 3, endpoint=True).tolist()
    return red, green, blue


def _plain(colour: Colour) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), colour)


def _picture(levels: Floats) -> Image.Image:
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _field(random: Random, slope: float) -> Floats:
    """Noise (SIDE, SIDE) of mean 0 and deviation 1, whose amplitude falls with frequency to the power of `slope`."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.normal(size=(SIDE, SIDE))) / frequency**slope
    field = np.fft.irfft2(spectrum, (SIDE, SIDE))
    return np.asarray(field / field.std())


def _tinted(random: Random, field: Floats) -> Image.Image:
    # From one colour to another, as the field says.
    one, other = np.array(_colour(random)), np.array(_colour(random))
    share = (1 / (1 + np.exp(-1.5 * field)))[:, :, None]
    return _picture(one * share + other * (1 - share))


def _gradient(random: Random) -> Image.Image:
    """Four corners of different colours, and what lies between them."""
    y, x = np.mgrid[:SIDE, :SIDE][..., None] / (SIDE - 1)
    corners = random.uniform(0, 255, (4, 3))
    return _picture(
        corners[0] * (1 - x) * (1 - y) + corners[1] * x * (1 - y) + corners[2] * (1 - x) * y + corners[3] * x * y
    )


def _place(random: Random) -> tuple[float, float]:
    x, y = random.uniform(0, SIDE, 2).tolist()
    return x, y


def _shape(draw: ImageDraw.ImageDraw, random: Random, size: float) -> None:
    (x, y), (width, height) = _place(random), (size * random.uniform(0.4, 1, 2)).tolist()
    kind, box, colour = random.integers(4), (x - width, y - height, x + width, y + height), _colour(random)
    if kind == 0:
        draw.ellipse(box, colour)
    elif kind == 1:
        draw.rectangle(box, colour)
    elif kind == 2:
        draw.regular_polygon((x, y, width), int(random.integers(3, 8)), float(random.uniform(0, 360)), colour)
    else:
        draw.line((x - width, y - height, x + width, y + height * random.uniform(-1, 1)), colour, int(size / 8) + 1)


def shapes(random: Random) -> Image.Image:
    """Some 5 to 14 plain shapes on a plain ground."""
    picture = _plain(_colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(5, 15)):
        _shape(draw, random, float(random.uniform(8, 40)))
    return picture


def shapes_on_gradient(random: Random) -> Image.Image:
    """3 to 7 shapes on a ground that changes colour from corner to corner."""
    picture = _gradient(random)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(3, 8)):
        _shape(draw, random, float(random.uniform(8, 30)))
    return picture


def lights(random: Random) -> Image.Image:
    """A gradient with soft lights on it: nothing has an edge."""
    levels = np.asarray(_gradient(random), dtype=np.float64)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(random.integers(4, 10)):
        (left, top), width = _place(random), random.uniform(6, 30)
        bell = np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * width**2))[:, :, None]
        levels = levels + bell * random.uniform(-120, 120, 3)
    return _picture(levels)


def clouds(random: Random) -> Image.Image:
    """Smooth noise between two colours."""
    return _tinted(random, _field(random, random.uniform(1.5, 2.5)))


def texture(random: Random) -> Image.Image:
    """Rough noise in three colours of its own: sand, felt, grass seen from above."""
    slope = random.uniform(0.3, 1.2)
    levels = np.stack([_field(random, slope) for _ in range(3)], axis=2) @ random.uniform(-1, 1, (3, 3))
    return _picture(np.array(_colour(random, 60, 195)) + random.uniform(15, 45) * levels)


def static(random: Random) -> Image.Image:
    """White noise, every pixel on its own."""
    return _picture(random.uniform(0, 255, (SIDE, SIDE, 3)))


def gratings(random: Random) -> Image.Image:
    """Waves of 3 to 6 directions and lengths, one over the other: all that is there repeats itself."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    field = np.zeros((SIDE, SIDE))
    for _ in range(random.integers(3, 7)):
        angle, waves = random.uniform(0, np.pi), random.uniform(2, 16)
        field += np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 2 * np.pi))
    return _tinted(random, field)


def tiles(random: Random) -> Image.Image:
    """A grid of tiles, each of one of four colours by chance."""
    count = int(random.integers(5, 12))
    palette = random.integers(0, 256, (4, 3))
    small = Image.fromarray(palette[random.integers(0, 4, (count, count))].astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def cells(random: Random) -> Image.Image:
    """20 to 60 cells around points (Voronoi), as of a giraffe's coat or dry mud."""
    count = int(random.integers(20, 61))
    points, colours = random.uniform(0, SIDE, (count, 2)), random.integers(0, 256, (count, 3))
    if random.integers(2):
        colours = np.array(_colour(random)) + random.integers(-25, 26, (count, 1))
    y, x = np.mgrid[:SIDE, :SIDE]
    apart = np.sort((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2, axis=2)
    nearest = ((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    edge = (np.sqrt(apart[:, :, 1]) - np.sqrt(apart[:, :, 0]) < random.uniform(0, 3))[:, :, None]
    return _picture(np.where(edge, np.array(_colour(random)), colours[nearest]))


def dead_leaves(random: Random) -> Image.Image:
    """Discs of all sizes that hide each other: the statistics of photographs (Lee, Mumford & Huang 2001)."""
    picture = _plain(_colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(300):
        radius, (x, y) = 3 / np.sqrt(random.uniform(0.005, 1)), _place(random)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), _colour(random))
    return picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.5))))


def landscape(random: Random) -> Image.Image:
    """Sky above, hills with their outlines below, and a few trees: what small pictures of most places resemble."""
    top, bottom = np.array(_colour(random, 80, 200)), np.array(_colour(random, 150, 255))
    rows = np.linspace(0, 1, SIDE)[:, None, None]
    sky = (top * (1 - rows) + bottom * rows) * np.ones((1, SIDE, 1))
    picture = _picture(sky + 12 * random.uniform(0, 2) * _field(random, 2)[:, :, None])
    draw = ImageDraw.Draw(picture)
    for hill in range(random.integers(2, 5)):
        ridge = _field(random, 2)[0] * random.uniform(3, 12) + SIDE * (0.35 + 0.15 * hill)
        ground = [(float(x), float(y)) for x, y in enumerate(ridge)]
        draw.polygon([*ground, (SIDE, SIDE), (0, SIDE)], fill=_colour(random, 20, 170))
    for _ in range(random.integers(0, 6)):
        x, y, size = random.uniform(0, SIDE), random.uniform(0.5, 0.9) * SIDE, random.uniform(4, 16)
        draw.rectangle((x - size / 8, y, x + size / 8, y + size), (90, 60, 30))
        draw.ellipse((x - size / 2, y - size, x + size / 2, y + size / 3), _colour(random, 20, 110))
    return picture


def strokes(random: Random) -> Image.Image:
    """Lines of a pen on white paper."""
    picture = _plain((255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(4, 14)):
        steps = np.cumsum(np.vstack([random.uniform(0, SIDE, 2), random.normal(0, 9, (14, 2))]), axis=0)
        draw.line([(float(x), float(y)) for x, y in steps], _colour(random, 0, 120), int(random.integers(1, 5)))
    return picture


def text(random: Random) -> Image.Image:
    """Lines of letters, black on white, such as a scanned page."""
    picture = _plain(_colour(random, 235, 255))
    draw = ImageDraw.Draw(picture)
    size = int(random.integers(9, 20))
    font, top = ImageFont.load_default(size), int(random.integers(0, 12))
    for y in range(top, SIDE, round(size * 1.3)):
        words = ["".join(chr(97 + int(c)) for c in random.integers(0, 26, random.integers(2, 9))) for _ in range(6)]
        draw.text((int(random.integers(4, 12)), y), " ".join(words), fill=_colour(random, 0, 60), font=font)
    return picture


def leaf(random: Random) -> Image.Image:
    """A leaf across white paper: outline and veins run as in any other, only the spots are its own."""
    picture = _plain(_colour(random, 225, 245))
    draw = ImageDraw.Draw(picture)
    middle, half = SIDE * random.uniform(0.4, 0.6), SIDE * random.uniform(0.14, 0.28)
    tilt, bend = random.uniform(-0.12, 0.12), random.uniform(-0.08, 0.08)
    x = np.arange(-4, SIDE + 5, 4.0)
    axis = middle + tilt * (x - SIDE / 2) + bend * (x - SIDE / 2) ** 2 / SIDE
    upper, lower = np.stack([x, axis - half], axis=1), np.stack([x, axis + half], axis=1)
    green = np.array([random.uniform(70, 130), random.uniform(120, 180), random.uniform(20, 70)])
    if random.integers(2):
        draw.polygon([tuple(point) for point in [*(upper + 4), *(lower + 4)[::-1]]], (150, 155, 165))  # its shadow
    draw.polygon([tuple(point) for point in [*upper, *lower[::-1]]], tuple(green.astype(int).tolist()))
    for share in np.linspace(-0.8, 0.8, int(random.integers(3, 10))):
        shade = tuple((green + random.uniform(-25, 25)).astype(int).tolist())
        draw.line([(float(a), float(b + share * half)) for a, b in zip(x, axis, strict=True)], shade)
    for _ in range(random.integers(6, 25)):
        place, size = random.uniform(0, SIDE), random.uniform(1, 4.5)
        y = float(np.interp(place, x, axis) + random.uniform(-0.85, 0.85) * half)
        long = size * random.uniform(1, 3)
        draw.ellipse((place - long, y - size / 2, place + long, y + size / 2), _colour(random, 40, 110))
    return picture.filter(ImageFilter.GaussianBlur(0.6)).rotate(90 * int(random.integers(4)))


def figure(random: Random) -> Image.Image:
    """A doll before white: head, trunk and limbs, in a pose and clothes of its own."""
    picture = _plain((255, 255, 255))
    draw = ImageDraw.Draw(picture)
    x, y, size = *(SIDE * random.uniform(0.4, 0.6, 2)), SIDE * random.uniform(0.12, 0.22)
    for side in (-1, 1):
        for height, thick in ((-0.9, 0.25), (1.0, 0.35)):
            joint = (x + side * size * 0.5, y + height * size)
            for colour in (_colour(random), _colour(random)):
                angle = random.uniform(0.1, 0.9) * np.pi
                end = joint[0] + side * size * np.cos(angle) * 0.9, joint[1] + size * np.sin(angle) * 0.9
                draw.line((*joint, *end), colour, max(2, int(size * thick)))
                joint = end
    draw.ellipse((x - size * 0.7, y - size * 1.2, x + size * 0.7, y + size * 1.3), _colour(random))
    for _ in range(random.integers(2, 7)):
        left, top = x + size * random.uniform(-0.6, 0.4), y + size * random.uniform(-1, 1)
        draw.rectangle((left, top, left + size * 0.25, top + size * random.uniform(0.1, 0.5)), _colour(random))
    turn = x + size * random.uniform(-0.4, 0.4)
    draw.ellipse((turn - size * 0.5, y - size * 2.2, turn + size * 0.5, y - size * 1.1), _colour(random))
    return picture


def spheres(random: Random) -> Image.Image:
    """Shaded balls on a floor, before a wall."""
    y, x = np.mgrid[:SIDE, :SIDE]
    horizon = SIDE * random.uniform(0.3, 0.7)
    wall, floor = np.array(_colour(random)), np.array(_colour(random))
    levels = np.where((y < horizon)[:, :, None], wall, floor) * (1 - 0.3 * (x / SIDE))[:, :, None]
    light = random.uniform(-0.6, 0.6, 2)
    for _ in range(random.integers(3, 9)):
        (left, top), radius = _place(random), random.uniform(6, 26)
        across, down = (x - left) / radius, (y - top) / radius
        inside = across**2 + down**2 < 1
        depth = np.sqrt(np.clip(1 - across**2 - down**2, 0, None))
        shade = np.clip(0.25 + 0.9 * (depth * 0.7 + across * light[0] + down * light[1]), 0, 1.2)
        levels = np.where(inside[:, :, None], shade[:, :, None] * np.array(_colour(random, 60, 255)), levels)
    return _picture(levels)


Family = Callable[[Random], Image.Image]
FAMILIES: dict[str, Family] = {
    family.__name__.replace("_", " "): family
    for family in (
        shapes,
        shapes_on_gradient,
        lights,
        clouds,
        texture,
        static,
        gratings,
        tiles,
        cells,
        dead_leaves,
        landscape,
        strokes,
        text,
        leaf,
        figure,
        spheres,
    )
}


def write_scenes(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` pictures, evenly of all families, as folder/FAMILY/LETTERS.jpg (quality 90)."""
    for number in range(count):
        random = np.random.default_rng((seed, number))
        name, family = list(FAMILIES.items())[number % len(FAMILIES)]
        # No number in the name: that would be a sequence.
        letters = "".join(chr(97 + int(c)) for c in random.integers(0, 26, 14))
        path = folder / name.replace(" ", "-") / f"{letters}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        family(random).save(path, quality=90)

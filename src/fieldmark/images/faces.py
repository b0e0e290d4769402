"""Faces: one happy or sad face, drawn from a random generator.

Only the mouth tells the two apart, and a sad mouth is a happy one upside down. Place, size, tilt, colours, background,
eyes, glasses, hair and hat come from the same draws for both, so that no short cut leads to the label.
"""

from __future__ import annotations

import colorsys
import dataclasses
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageOps

RGB = tuple[int, int, int]
Point = tuple[float, float]
Outline = Sequence[Point]

SIZE = 160  # pixels, width and height
_SCALE = 2  # drawn this many times larger, then reduced: smooth edges

# Skin, and a colour that shows on it.
_SKINS: tuple[tuple[RGB, RGB], ...] = (
    ((255, 224, 196), (92, 52, 40)),
    ((241, 194, 150), (84, 44, 32)),
    ((224, 172, 105), (74, 38, 24)),
    ((198, 134, 66), (56, 28, 16)),
    ((141, 85, 36), (34, 16, 8)),
    ((96, 60, 38), (250, 226, 206)),
    ((62, 40, 30), (246, 214, 196)),
    ((255, 217, 61), (70, 46, 10)),
    ((150, 210, 120), (28, 64, 30)),
    ((140, 190, 235), (24, 42, 92)),
    ((240, 160, 190), (96, 24, 60)),
    ((190, 170, 230), (54, 34, 100)),
)
_HAIR_COLORS: tuple[RGB, ...] = (
    *((28, 22, 20), (70, 42, 26), (122, 74, 38), (206, 160, 84), (188, 76, 34), (168, 166, 170)),
    *((90, 60, 160), (40, 120, 130)),
)


def draw_face(rng: random.Random, mood: str) -> Image.Image:
    """Draw one face, RGB, SIZE × SIZE pixels.

    The mood changes no draw: with an equal `rng`, the happy and the sad face differ in the mouth alone.
    """
    side = SIZE * _SCALE
    image = rng.choice(_BACKGROUNDS)(rng, side)
    skin, ink = rng.choice(_SKINS)
    radius = side * rng.uniform(0.28, 0.4)
    pen = _Pen(
        draw=ImageDraw.Draw(image),
        center=(side / 2 + side * rng.uniform(-0.1, 0.1), side / 2 + side * rng.uniform(-0.06, 0.12)),
        radius=radius,
        stretch=rng.uniform(0.86, 1.04),
        tilt=math.radians(rng.uniform(-25, 25)),
        line=radius * rng.uniform(0.045, 0.085),
    )
    (behind, front), hair = rng.choice(_HAIRS), rng.choice(_HAIR_COLORS)
    hat, glasses = rng.choice(_HATS), rng.choice(_GLASSES)
    pen.fill_all(behind, hair)
    _head(pen, rng, skin, ink)
    pen.fill_all(() if hat else front, hair)
    _eyes(pen, rng, ink)
    _nose(pen, rng, ink)
    _mouth(pen, rng, ink, upside_down=mood == "sad")
    frame, hat_color, band = _color(rng, 0.8, 0.35), _color(rng, 0.75, 0.8), _color(rng, 0.75, 0.6)
    for line in glasses:
        pen.stroke(line, frame)
    for color, outlines in zip((hat_color, band), hat, strict=False):
        pen.fill_all(outlines, color)
    return image.reduce(_SCALE)


@dataclasses.dataclass(frozen=True)
class _Pen:
    """Draws in the face's own measure: the head is the circle of radius 1 about (0, 0), y points down."""

    draw: ImageDraw.ImageDraw
    center: Point  # pixels
    radius: float  # pixels
    stretch: float  # width over height
    tilt: float  # radians
    line: float  # width of lines in pixels

    def place(self, points: Outline) -> list[Point]:
        cosine, sine = math.cos(self.tilt) * self.radius, math.sin(self.tilt) * self.radius
        wide = [(x * self.stretch, y) for x, y in points]
        return [(self.center[0] + x * cosine - y * sine, self.center[1] + x * sine + y * cosine) for x, y in wide]

    def fill(self, outline: Outline, color: RGB) -> None:
        self.draw.polygon(self.place(outline), fill=color)

    def fill_all(self, outlines: Sequence[Outline], color: RGB) -> None:
        for outline in outlines:
            self.fill(outline, color)

    def stroke(self, points: Outline, color: RGB, *, width: float = 1.0) -> None:
        placed, half = self.place(points), self.line * width / 2
        self.draw.line(placed, fill=color, width=round(2 * half), joint="curve")
        for x, y in (placed[0], placed[-1]):
            self.draw.ellipse((x - half, y - half, x + half, y + half), fill=color)

    def disc(self, middle: Point, radius: float, color: RGB, *, height: float = 1.0) -> None:
        self.fill(_arc(middle, radius, radius * height), color)


def _arc(middle: Point, width: float, height: float, *, start: float = 0, end: float = 360) -> list[Point]:
    # Degrees, clockwise from the right: 180 to 360 is the upper half. Whole arcs close.
    angles = [math.radians(start + (end - start) * step / 32) for step in range(33)]
    return [(middle[0] + width * math.cos(angle), middle[1] + height * math.sin(angle)) for angle in angles]


def _color(rng: random.Random, saturation: float, value: float) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation * rng.random(), value * rng.uniform(0.7, 1.25))
    return min(255, int(red * 255)), min(255, int(green * 255)), min(255, int(blue * 255))


def _head(pen: _Pen, rng: random.Random, skin: RGB, ink: RGB) -> None:
    shade = (skin[0] * 7 // 8, skin[1] * 7 // 8, skin[2] * 7 // 8)
    outline = rng.random() < 0.5
    for x in (-1.0, 1.0):
        pen.disc((x, 0.05), 0.17, shade, height=1.3)
    pen.disc((0, 0), 1, skin)
    if outline:
        pen.stroke(_arc((0, 0), 1, 1), ink)
    if rng.random() < 0.3:
        blush = ((skin[0] + 235) // 2, (skin[1] + 90) // 2, (skin[2] + 90) // 2)
        for x in (-0.58, 0.58):
            pen.disc((x, 0.2), 0.15, blush, height=0.7)


def _eyes(pen: _Pen, rng: random.Random, ink: RGB) -> None:
    y, apart, size = rng.uniform(-0.24, -0.12), rng.uniform(0.32, 0.42), rng.uniform(0.1, 0.16)
    look = (rng.uniform(-0.4, 0.4) * size, rng.uniform(-0.4, 0.4) * size)
    iris = _color(rng, 0.8, 0.45)
    style = rng.choice(("dots", "ovals", "whites", "whites", "lines"))
    brows, brow_slant, brow_width = rng.random() < 0.5, rng.uniform(-0.06, 0.06), rng.uniform(0.8, 1.6)
    for side in (-1, 1):
        x = side * apart
        if style == "dots":
            pen.disc((x, y), size * 0.75, ink)
        elif style == "ovals":
            pen.disc((x, y), size * 0.7, ink, height=1.7)
        elif style == "whites":
            pen.disc((x, y), size * 1.35, (252, 252, 250), height=1.1)
            pen.disc((x + look[0], y + look[1]), size * 0.8, iris)
            pen.disc((x + look[0], y + look[1]), size * 0.42, (12, 12, 16))
        else:
            pen.stroke([(x - size, y), (x + size, y)], ink, width=1.4)
        if brows:
            inner, outer = x - side * size * 1.2, x + side * size * 1.2
            pen.stroke([(inner, y - 0.26 + brow_slant), (outer, y - 0.26 - brow_slant)], ink, width=brow_width)


def _nose(pen: _Pen, rng: random.Random, ink: RGB) -> None:
    style, size = rng.choice(("none", "dot", "line", "corner")), rng.uniform(0.06, 0.12)
    if style == "dot":
        pen.disc((0, 0.1), size * 0.6, ink)
    elif style == "line":
        pen.stroke([(0, 0.1 - size), (0, 0.1 + size)], ink)
    elif style == "corner":
        pen.stroke([(0, 0.1 - size), (size, 0.1 + size), (0, 0.1 + size)], ink, width=0.8)


def _mouth(pen: _Pen, rng: random.Random, ink: RGB, *, upside_down: bool) -> None:
    middle = (rng.uniform(-0.06, 0.06), rng.uniform(0.42, 0.5))
    half, depth = rng.uniform(0.4, 0.56), rng.uniform(0.3, 0.44) * (-1 if upside_down else 1)
    style, width, lips = (
        rng.choice(("line", "line", "open", "teeth")),
        rng.uniform(1.2, 1.9),
        _color(rng, 0.6, 0.35),
    )
    steps = [step / 20 for step in range(-20, 21)]
    # Both curves meet in the corners of the mouth; upside down, depth is negative and mirrors them.
    outer = [(middle[0] + half * t, middle[1] + depth * (0.5 - t * t)) for t in steps]
    inner = [(x, middle[1] - depth * 0.5 + (y - middle[1] + depth * 0.5) * 0.25) for x, y in outer]
    if style != "line":
        pen.fill([*outer, *reversed(inner)], lips)
    if style == "teeth":
        teeth = [(x, y + (v - y) * 0.35) for (x, y), (_, v) in zip(inner, outer, strict=True)]
        pen.fill([*inner, *reversed(teeth)], (250, 250, 246))
    pen.stroke(outer, ink, width=width)
    if style != "line":
        pen.stroke(inner, ink, width=width)


def _plain(rng: random.Random, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), _color(rng, 0.5, 0.85))


def _gradient(rng: random.Random, side: int) -> Image.Image:
    # Turned within a larger square, so that no corner stays empty.
    ramp = Image.linear_gradient("L").resize((side * 3 // 2, side * 3 // 2)).rotate(rng.uniform(0, 360))
    cut = side // 4
    ramp = ramp.crop((cut, cut, cut + side, cut + side))
    return ImageOps.colorize(ramp, _color(rng, 0.7, 0.8), _color(rng, 0.7, 0.8))


def _noise(rng: random.Random, side: int) -> Image.Image:
    cells = rng.randint(6, 40)
    grain = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
    grain = grain.resize((side, side), Image.Resampling.BICUBIC)
    return ImageOps.colorize(grain, _color(rng, 0.6, 0.75), _color(rng, 0.6, 0.75))


def _shapes(rng: random.Random, side: int) -> Image.Image:
    image = _plain(rng, side)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(6, 16)):
        x, y, size = rng.uniform(0, side), rng.uniform(0, side), side * rng.uniform(0.05, 0.2)
        corners = rng.choice((3, 4, 4, 30))
        draw.regular_polygon((x, y, size), corners, rng.uniform(0, 360), fill=_color(rng, 0.6, 0.8))
    return image


def _stripes(rng: random.Random, side: int) -> Image.Image:
    image = _plain(rng, side * 2)
    draw, width, color = ImageDraw.Draw(image), side * rng.uniform(0.04, 0.14), _color(rng, 0.6, 0.8)
    for step in range(0, int(2 * side / width), 2):
        draw.rectangle((step * width, 0, (step + 1) * width, 2 * side), fill=color)
    cut = side // 2
    return image.rotate(rng.uniform(0, 180)).crop((cut, cut, cut + side, cut + side))


_BACKGROUNDS = (_plain, _gradient, _noise, _shapes, _stripes)

# Lines of the frame; most faces wear none.
_GLASSES: tuple[tuple[Outline, ...], ...] = (
    *((), (), ()),
    (
        _arc((-0.38, -0.17), 0.29, 0.27),
        _arc((0.38, -0.17), 0.29, 0.27),
        _arc((0, -0.17), 0.09, 0.06, start=180),
    ),
    (
        [(-0.1, -0.38), (-0.7, -0.4), (-0.7, 0.02), (-0.1, 0.04), (-0.1, -0.38)],
        [(0.1, -0.38), (0.7, -0.4), (0.7, 0.02), (0.1, 0.04), (0.1, -0.38)],
        [(-0.1, -0.24), (0.1, -0.24)],
        [(-0.7, -0.28), (-0.98, -0.28)],
        [(0.7, -0.28), (0.98, -0.28)],
    ),
)

# Outlines behind the head, and before it where no hat is worn.
_FRINGE = [*_arc((0, -0.03), 1.06, 1.06, start=196, end=344), *_arc((0.1, -0.75), 0.75, 0.3, end=180)]
_SPIKES = [_arc((0, 0), length, length, start=198, end=342) for length in (0.98, 1.32)]
_HAIRS: tuple[tuple[tuple[Outline, ...], tuple[Outline, ...]], ...] = (
    ((), ()),
    ((), (_FRINGE,)),
    ((_arc((0, 0.2), 1.24, 1.3),), (_FRINGE,)),
    ((_arc((0, -1.15), 0.36, 0.36),), (_FRINGE,)),
    ((_arc((-1.12, 0.45), 0.3, 0.62), _arc((1.12, 0.45), 0.3, 0.62)), (_FRINGE,)),
    ((_arc((0, -0.2), 1.3, 1.15),), tuple(_arc(spot, 0.26, 0.26) for spot in _SPIKES[0][::4])),
    ((), ([_SPIKES[step % 8 == 4][step] for step in range(0, 33, 4)] + _arc((0, -0.7), 0.75, 0.2, end=180),)),
)

# Outlines in the hat's colour, and those of its band or bobble.
_HATS: tuple[tuple[tuple[Outline, ...], ...], ...] = (
    *((), (), ()),
    (
        (_arc((0, -0.45), 1.02, 0.85, start=180),),
        ([(-1.04, -0.62), (1.04, -0.62), (1.04, -0.4), (-1.04, -0.4)], _arc((0, -1.32), 0.17, 0.17)),
    ),
    (
        (_arc((0, -0.5), 0.96, 0.68, start=180),),
        ([(-0.2, -0.6), (1.35, -0.6), (1.45, -0.48), (1.3, -0.44), (-0.2, -0.48)],),
    ),
    (
        (
            [(-0.62, -1.55), (0.62, -1.55), (0.6, -0.6), (-0.6, -0.6)],
            [(-1.05, -0.68), (1.05, -0.68), (1.05, -0.54), (-1.05, -0.54)],
        ),
        ([(-0.61, -0.88), (0.61, -0.88), (0.6, -0.68), (-0.6, -0.68)],),
    ),
    (
        ([(0, -1.75), (0.55, -0.72), (-0.55, -0.72)],),
        ([(-0.18, -1.4), (0.18, -1.4), (0.3, -1.2), (-0.3, -1.2)], _arc((0, -1.75), 0.13, 0.13)),
    ),
)

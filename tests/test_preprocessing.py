"""Preprocessing: one value, one function; sizes, colours, depths and transparency."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fieldmark.preprocessing import RESAMPLING, Preprocessing, eight_bit, resized_size, to_pixels

MODES = [
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
]


def column(values, dtype):
    """An image one pixel wide."""
    return Image.fromarray(np.array(values, dtype)[:, None])


def gray_values(image):
    return np.asarray(eight_bit(image)).ravel().tolist()


# ---- the value


def test_value_survives_json_and_refuses_unknown_fields():
    preprocessing = Preprocessing(30, 20, "pad", "lanczos", "grayscale", 127.0, 128.0)
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
    with pytest.raises(TypeError):
        Preprocessing.from_json({"size": 3})


def test_pixels_key_names_what_shapes_pixels_and_nothing_else():
    plain = Preprocessing()
    changed = {"width": 1, "height": 1, "fit": "pad", "interpolation": "nearest", "color": "grayscale"}
    keys = [dataclasses.replace(plain, **{name: value}).pixels_key for name, value in changed.items()]
    assert len({plain.pixels_key, *keys}) == 6
    assert dataclasses.replace(plain, mean=1.0, deviation=2.0).pixels_key == plain.pixels_key
    assert plain.pixels_key == "333e1e4fda5b7987"  # caches on users' disks bear it


# ---- sizes


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_fit_gives_the_shape(mode, fit, interpolation):
    for color, channels in (("rgb", 3), ("grayscale", 1)):
        preprocessing = Preprocessing(6, 4, fit, interpolation, color)
        pixels = to_pixels(Image.new(mode, (11, 5)), preprocessing)
        assert (pixels.shape, pixels.dtype) == ((4, 6, channels), np.uint8)


def test_image_of_the_right_size_is_untouched():
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for fit in ("stretch", "crop", "pad"):
        pixels = to_pixels(Image.fromarray(values), Preprocessing(7, 5, fit, "lanczos"))
        np.testing.assert_array_equal(pixels, values)


def test_fits():
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 10, 20))
    image.paste("lime", (30, 0, 40, 20))
    blue, white = [0, 0, 255], [255, 255, 255]
    stretched = to_pixels(image, Preprocessing(20, 20))
    assert stretched[10, 2].tolist() == [255, 0, 0]
    assert stretched[10, 17].tolist() == [0, 255, 0]
    cropped = to_pixels(image, Preprocessing(20, 20, "crop"))
    assert (cropped == blue).all()
    padded = to_pixels(image, Preprocessing(20, 20, "pad"))
    assert (padded[:5] == white).all()
    assert (padded[15:] == white).all()
    np.testing.assert_array_equal(padded[5:15, 7:13], np.broadcast_to(blue, (10, 6, 3)))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300), st.integers(1, 300))
def test_resized_size_contains_or_is_contained(width, height, across, down):
    cropped = resized_size((width, height), Preprocessing(across, down, "crop"))
    padded = resized_size((width, height), Preprocessing(across, down, "pad"))
    assert cropped[0] >= across
    assert cropped[1] >= down
    assert 1 <= padded[0] <= across
    assert 1 <= padded[1] <= down
    assert resized_size((width, height), Preprocessing(across, down)) == (across, down)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_no_combination_of_sizes_fails_by_rounding(fit):
    for side in range(1, 400):
        for wanted in (7, 49, 50):
            image = Image.new("1", (side, side + 9))
            assert to_pixels(image, Preprocessing(wanted, wanted, fit)).shape == (wanted, wanted, 3)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_extreme_shapes(fit, size):
    assert to_pixels(Image.new("RGB", size, "red"), Preprocessing(16, 16, fit))[8, 8].tolist()[0] == 255


def test_box_is_the_part_that_counts():
    ramp = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None] * 5, 30, axis=0))
    box = (9.5, 0.0, 29.5, 20.0)
    for fit in ("stretch", "crop", "pad"):
        pixels = to_pixels(ramp, Preprocessing(5, 5, fit, color="grayscale"), box=box)[2, :, 0]
        # the centres of five equal parts of the box; that of column 9 lies at 9.5
        assert np.abs(pixels - 5.0 * (np.array([11.5, 15.5, 19.5, 23.5, 27.5]) - 0.5)).max() <= 3
    half = to_pixels(ramp, Preprocessing(40, 30, color="grayscale"), box=(0.0, 0.0, 20.0, 15.0))
    assert half.max() <= 5 * 20


def test_box_of_each_fit_keeps_the_shape():
    ramp = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None] * 5, 30, axis=0))
    box = (0.0, 0.0, 40.0, 10.0)
    cropped = to_pixels(ramp, Preprocessing(8, 8, "crop", color="grayscale"), box=box)[:, :, 0]
    assert np.abs(cropped[4] - 5.0 * (15 + 10 / 8 * (np.arange(8) + 0.5) - 0.5)).max() <= 3
    padded = to_pixels(ramp, Preprocessing(8, 8, "pad", color="grayscale"), box=box)[:, :, 0]
    assert (padded == 255).all(axis=1).tolist() == [True] * 3 + [False] * 2 + [True] * 3


# ---- depths


def test_sixteen_bits_are_scaled_and_never_clipped():
    assert gray_values(column([0, 128, 129, 257, 32896, 65407, 65535], np.uint16)) == [
        0,
        0,
        1,
        1,
        128,
        255,
        255,
    ]
    exact = np.rint(np.arange(65536) / 257).astype(int).tolist()
    assert gray_values(Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))) == exact


def test_sixteen_bits_of_either_byte_order():
    values = np.array([[0, 1000, 65535]], np.uint16)
    for mode, layout in (("I;16L", "<u2"), ("I;16B", ">u2")):
        image = Image.frombytes(mode, (3, 1), values.astype(layout).tobytes())
        assert gray_values(image) == [0, 4, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 257, 65535], [0, 1, 255]),
        ([0, 0, 100], [0, 0, 100]),
        ([0, 0, 256], [0, 0, 1]),
        ([0, 131070, 262140], [0, 128, 255]),
        ([-50, 0, 150], [0, 64, 255]),
        ([-7, -7, -7], [0, 0, 0]),
        ([-(2**31), 0, 2**31 - 1], [0, 128, 255]),
    ],
)
def test_whole_numbers_of_32_bits(values, expected):
    assert gray_values(column(values, np.int32)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100.4, 254.9], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([-0.2, 0, 0.3], [0, 102, 255]),
        ([0, 0, 0], [0, 0, 0]),
        ([np.nan, 0.5, 1], [0, 128, 255]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([np.inf, 0.5, 1], [0, 128, 255]),
        ([-np.inf, 0.5, 1], [0, 128, 255]),
        ([-3e38, 0, 3e38], [0, 128, 255]),
        ([0, 1e-45, 1], [0, 0, 255]),
    ],
)
def test_fractions(values, expected):
    assert gray_values(column(values, np.float32)) == expected


def test_long_images_are_scaled_in_bands_alike(monkeypatch):
    values = np.arange(300_000, dtype=np.float32).reshape(300, 1000)
    values[299, 999] = 1e6  # the greatest stands in the last band
    scaled = np.asarray(eight_bit(Image.fromarray(values.repeat(4, axis=1).repeat(2, axis=0))))
    expected = np.rint(values.astype(float) * (255 / 1e6))
    np.testing.assert_array_equal(scaled[::2, ::4], expected)


# ---- colours and transparency


def test_transparency_is_laid_on_white():
    for mode, color in (("RGBA", (200, 0, 100, 51)), ("LA", (100, 51))):
        expected = [round(value * 0.2 + 255 * 0.8) for value in (color[:3] if mode == "RGBA" else [100] * 3)]
        pixels = to_pixels(Image.new(mode, (2, 2), color), Preprocessing(2, 2))
        assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1
    premultiplied = Image.new("RGBa", (2, 2), (100, 0, 50, 128))
    assert np.abs(to_pixels(premultiplied, Preprocessing(2, 2))[0, 0].astype(int) - [227, 127, 177]).max() <= 1


def test_transparent_colour_of_an_image_without_alpha():
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (10, 20, 31))
    image.info["transparency"] = (10, 20, 30)
    assert to_pixels(image, Preprocessing(2, 1)).tolist() == [[[255, 255, 255], [10, 20, 31]]]
    gray = column([5, 6], np.uint16)
    gray.info["transparency"] = 5
    assert to_pixels(gray, Preprocessing(1, 2, color="grayscale")).ravel().tolist() == [255, 0]


def test_lab_becomes_the_colour_it_names():
    lab = Image.new("RGB", (2, 2), (200, 80, 40)).convert("LAB")
    assert np.abs(to_pixels(lab, Preprocessing(2, 2))[0, 0].astype(int) - [200, 80, 40]).max() <= 3
    gray = to_pixels(lab, Preprocessing(2, 2, color="grayscale"))
    assert abs(int(gray[0, 0, 0]) - round(0.299 * 200 + 0.587 * 80 + 0.114 * 40)) <= 2


def test_the_image_itself_is_not_changed():
    for mode in MODES:
        image = Image.new(mode, (9, 9))
        before = image.tobytes()
        to_pixels(image, Preprocessing(4, 4))
        assert (image.mode, image.size, image.tobytes()) == (mode, (9, 9), before)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("width", [0, -5, 32.5, None, "32", 10**9, True, [32]]),
        ("height", [0, 65_536]),
        ("fit", ["zzz", None, ["crop"]]),
        ("interpolation", ["zzz", 1]),
        ("color", ["cmyk", {}]),
        ("mean", [None, "0", math.nan, math.inf, True]),
        ("deviation", [0, -1.0, None, math.nan]),
    ],
)
def test_a_value_that_none_can_have_is_refused(name: str, values: list[object]) -> None:
    assert Preprocessing.from_json(Preprocessing().to_json()) == Preprocessing()
    for value in values:
        with pytest.raises(ValueError, match=f"a preprocessing of {name} .*; expected "):
            Preprocessing.from_json({name: value})
    with pytest.raises(TypeError, match="a preprocessing with 'size'; expected width, height"):
        Preprocessing.from_json({"size": 32})

"""The one decoder: every format right, every broken file refused with a code, nothing else ever raised."""

import io
import os
import random
import socket
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from fieldmark.errors import ImageError
from fieldmark.images import containers, decoders, formats, plain
from fieldmark.images.formats import FORMATS, MAX_BYTES, decode, load, read_bytes, suffix_mismatch
from fieldmark.images.plain import decode_plain
from fieldmark.images.problems import PROBLEMS, Problem
from fieldmark.images.profiles import to_srgb
from fieldmark.preprocessing import Preprocessing, to_pixels
from tests.images.make_files import (
    FILES,
    HEIGHT,
    SAMPLES,
    WIDTH,
    chunk,
    interlaced_png,
    picture,
    png,
    rows_of,
    saved,
    swapped,
    swapped_profile,
    tiff,
)

WHOLE = Preprocessing(width=WIDTH, height=HEIGHT)
SMALL = Preprocessing(width=8, height=8)


def sample(name):
    return (FILES / name).read_bytes()


def refusal(data, preprocessing=WHOLE, **options):
    """The problem code that the bytes are refused with."""
    with pytest.raises(ImageError) as caught:
        decode(data, preprocessing, **options)
    assert not PROBLEMS[caught.value.code].usable
    assert caught.value.detail
    assert not isinstance(caught.value.__cause__, Warning)
    return caught.value.code


def outcome(data, preprocessing=SMALL):
    """Pixels and no error, or no pixels and the error; anything else that is raised fails the test."""
    try:
        return decode(data, preprocessing).pixels, None
    except ImageError as error:
        return None, error


def assert_documented(error, about):
    assert error.code in PROBLEMS, about
    assert not PROBLEMS[error.code].usable, about
    assert not isinstance(error.__cause__, Warning), f"{about} warned: {error}"


def assert_near(pixels, expected, *, lossy):
    difference = np.abs(pixels.astype(float) - expected)
    assert difference.mean() <= 2 if lossy else difference.max() <= 1


def plain_and_pillow(monkeypatch, data, preprocessing):
    """What comes of the bytes, decoded at once where that is done and by Pillow alone; and whether it was done."""
    done = []
    with monkeypatch.context() as patched:
        patched.setattr(plain, "decode_plain", lambda *opened: done.append(decode_plain(*opened)) or done[-1])
        ours = outcome(data, preprocessing)
        patched.setattr(plain, "decode_plain", lambda *opened: None)
        pillow = outcome(data, preprocessing)
    return ours, pillow, any(pixels is not None for pixels in done)


def assert_equal_outcomes(ours, pillow, about):
    assert (ours[0] is None) == (pillow[0] is None), f"{about}: {ours[1]} / {pillow[1]}"
    if ours[0] is None:
        assert ours[1].code == pillow[1].code, about
    else:
        np.testing.assert_array_equal(ours[0], pillow[0], err_msg=str(about))


# ---- right pixels


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_gives_the_pixels_it_was_made_from(name):
    decoded = decode(sample(name), WHOLE)
    assert (decoded.format, decoded.width, decoded.height) == (SAMPLES[name].format, WIDTH, HEIGHT)
    assert decoded.pixels.shape == (HEIGHT, WIDTH, 3)
    assert decoded.pixels.dtype == np.uint8
    assert_near(decoded.pixels, SAMPLES[name].expected(), lossy=SAMPLES[name].lossy)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_sample_in_gray_and_every_fit(name, fit):
    gray = decode(sample(name), Preprocessing(7, 9, fit=fit, color="grayscale")).pixels
    color = decode(sample(name), Preprocessing(7, 9, fit=fit)).pixels
    assert gray.shape == (9, 7, 1)
    luma = color.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(gray[:, :, 0] - luma).max() <= 2


# Plain: decoded at once, the rest by Pillow
PLAIN = {"animated.png", "baseline.jpg", "gray.jpg", "phone.mpo", "profile.jpg", "profile.png", "progressive.jpg"}
PLAIN |= {"profile_transparent.png", "rgba.png"} | {
    f"turned_{turn}.{suffix}" for turn in range(1, 9) for suffix in ("jpg", "png")
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_plain_files_have_the_bits_of_pillow(monkeypatch, name, color):
    for width, height in ((WIDTH, HEIGHT), (7, 9)):
        preprocessing = Preprocessing(width, height, color=color, interpolation="nearest")
        ours, pillow, done = plain_and_pillow(monkeypatch, sample(name), preprocessing)
        assert_equal_outcomes(ours, pillow, name)
        assert done == (name in PLAIN)


def encodings():
    """Colour and gray JPEGs and PNGs as encoders write them, of a size that is no multiple of a block."""
    image = scene(97, 61)
    for options in ({}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_blocks": 3}, {"keep_rgb": True}):
        yield saved(image, "JPEG", **options)
        yield saved(image.convert("L"), "JPEG", **options)
    for mode in ("L", "RGB", "RGBA"):
        yield saved(image.convert(mode), "PNG")


def test_plain_files_of_every_encoder_have_the_bits_of_pillow(monkeypatch):
    for number, data in enumerate(encodings()):
        for preprocessing in (Preprocessing(97, 61), Preprocessing(50, 40, fit="crop")):
            ours, pillow, done = plain_and_pillow(monkeypatch, data, preprocessing)
            assert_equal_outcomes(ours, pillow, number)
            assert ours[0] is not None
            assert done


@pytest.mark.parametrize(
    "data",
    [
        png(rows_of(picture()), 8, 2, before=chunk(b"tRNS", bytes([0, 200, 0, 30, 0, 40]))),
        png(rows_of(picture()[:, :, 0]), 8, 0, before=chunk(b"tRNS", b"\0\x80")),
        png([bytes(range(WIDTH // 4))] * HEIGHT, 2, 0),
        png([bytes(range(WIDTH // 2))] * HEIGHT, 4, 0),
    ],
    ids=["transparent color", "transparent gray", "2 bits", "4 bits"],
)
def test_other_pngs_are_left_to_pillow(monkeypatch, data):
    ours, pillow, done = plain_and_pillow(monkeypatch, data, WHOLE)
    assert_equal_outcomes(ours, pillow, "")
    assert ours[0] is not None
    assert not done


def with_checksums(png):
    """The PNG with every chunk's checksum made right, so far as chunks can be told."""
    data, position = bytearray(png), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, position)
        if position + 12 + length > len(data):
            break
        end = position + 8 + length
        struct.pack_into(">L", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(data)


def test_damaged_plain_files_have_the_outcome_of_pillow(monkeypatch, capfd):
    draw, files, done = random.Random(0), [*encodings(), *(sample(name) for name in sorted(PLAIN))], 0
    for turn in range(1500):
        data = bytearray(draw.choice(files))
        place = draw.randrange(len(data))
        damage = [
            lambda data, place: data.__setitem__(place, draw.randrange(256)),
            lambda data, place: data.__delitem__(slice(place, None)),
            lambda data, place: data.__delitem__(slice(place, place + 16)),
            lambda data, place: data.__setitem__(slice(place, None), b"\xff\xd9"),
        ]
        draw.choice(damage)(data, place)
        whole = with_checksums(data) if data[:4] == b"\x89PNG" else bytes(data)
        ours, pillow, at_once = plain_and_pillow(monkeypatch, whole, Preprocessing(97, 61))
        assert_equal_outcomes(ours, pillow, turn)
        done += at_once
    assert done > 300
    assert capfd.readouterr() == ("", "")  # the libraries' own warnings


@pytest.mark.parametrize("mark", [b"\xff\xc4", b"\xff\xda"], ids=["table", "scan"])
def test_jpeg_whose_end_mark_is_swallowed_is_truncated(mark):
    data = bytearray(saved(scene(97, 61), "JPEG", progressive=True))
    segment = data.index(b"\xff\xc4", data.index(b"\xff\xda"))  # between the first scan and the second
    before = bytes(data[:segment]) + b"\xff\xe9\xff\xff"  # whose length leads beyond the end
    assert refusal(before + bytes(data[data.rindex(mark) :])) == "truncated"


def test_jpeg_of_thousands_of_segments_is_left_to_pillow(monkeypatch):
    data = saved(scene(97, 61), "JPEG", progressive=True)
    table = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
    (length,) = struct.unpack_from(">H", data, table + 2)
    many = data[:table] + data[table : table + 2 + length] * containers.MAX_SEGMENTS + data[table:]
    ours, pillow, done = plain_and_pillow(monkeypatch, many, Preprocessing(97, 61))
    assert_equal_outcomes(ours, pillow, "")
    assert not done


def test_scans_are_counted_behind_thousands_of_segments():
    data = more_scans(100)
    scan = data.index(b"\xff\xda") + 2
    comment = b"\xff\xfe\0\x02"
    assert refusal(data[:scan] + comment * containers.MAX_SEGMENTS + data[scan:]) == "corrupt"


def test_large_images_are_left_to_pillow(monkeypatch):
    monkeypatch.setattr(plain, "MAX_PLAIN_PIXELS", WIDTH * HEIGHT - 1)
    assert not plain_and_pillow(monkeypatch, sample("baseline.jpg"), WHOLE)[2]


def test_every_format_and_every_file_has_its_sample():
    assert {entry.format for entry in SAMPLES.values()} == set(FORMATS)
    assert {path.name for path in FILES.iterdir()} == set(SAMPLES)
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 150_000


def test_make_files_still_makes_the_same_pictures():
    for name in ("baseline.jpg", "one_bit.png", "rows.bmp", "gray12.tif", "turned_6.webp"):
        made = decode(SAMPLES[name].make(), WHOLE).pixels
        assert_near(made, SAMPLES[name].expected(), lossy=SAMPLES[name].lossy)


def test_lab_and_premultiplied_tiffs():
    lab = Image.fromarray(picture()).convert("LAB")
    assert_near(decode(saved(lab, "TIFF"), WHOLE).pixels, picture(), lossy=True)
    assert decode(saved(lab, "TIFF"), Preprocessing(3, 3, color="grayscale")).pixels.shape == (3, 3, 1)
    opacity = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    stored = np.dstack([(picture() * (128 / 255)).astype(np.uint8), opacity])
    premultiplied = tiff(stored, [8, 8, 8, 8], 2, t338=1)
    on_white = picture() * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode(premultiplied, WHOLE).pixels - on_white).max() <= 2


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos", "nearest"])
def test_reduced_decoding_of_large_jpeg_is_as_good_as_full(turn, fit, interpolation):
    image = scene(701, 402)
    exif = Image.Exif()
    exif[274] = turn
    data = saved(image, "JPEG", quality=90, exif=exif)
    size = (32, 24) if turn < 5 else (24, 32)
    preprocessing = Preprocessing(*size, fit=fit, interpolation=interpolation)
    full = Image.open(io.BytesIO(data))
    transpose = {3: "ROTATE_180", 6: "ROTATE_270", 8: "ROTATE_90"}
    upright = full.transpose(Image.Transpose[transpose[turn]]) if turn > 1 else full
    decoded = decode(data, preprocessing)
    assert (decoded.width, decoded.height) == upright.size
    difference = np.abs(decoded.pixels.astype(int) - to_pixels(upright, preprocessing))
    assert difference.mean() <= (0 if interpolation == "nearest" else 1)


def test_large_jpeg_is_decoded_reduced_but_no_further_than_twice_the_size(monkeypatch):
    loaded = []
    to_srgb = formats.to_srgb
    monkeypatch.setattr(formats, "to_srgb", lambda image, *a, **k: loaded.append(image.size) or to_srgb(image, *a, **k))
    data = saved(scene(800, 400), "JPEG")
    decode(data, Preprocessing(50, 50))
    decode(data, Preprocessing(50, 40, fit="pad"))
    decode(data, Preprocessing(50, 40, interpolation="nearest"))
    exif = Image.Exif()
    exif[274] = 6
    decode(saved(scene(800, 400), "JPEG", exif=exif), Preprocessing(50, 20))
    assert loaded == [(200, 100), (100, 50), (800, 400), (100, 200)]


def scene(width, height):
    """A picture with edges, texture and gradients."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 90 + 60 * np.sin(columns / 9) * np.cos(rows / 14)
    discs = 70 * ((columns - 200) ** 2 + (rows - 150) ** 2 < 8000)
    noise = np.random.default_rng(0).normal(0, 6, (height, width))
    channels = [waves + discs + noise, waves + rows * 0.2 + noise, 200 - discs + noise]
    return Image.fromarray(np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8))


# ---- colour profiles


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_srgb_profile_changes_nothing():
    data = saved(picture(), "PNG", icc_profile=srgb_profile())
    np.testing.assert_array_equal(decode(data, WHOLE).pixels, picture())


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("profile", ["garbage", "cut", "of another colour space", "huge"])
def test_useless_profile_is_ignored(format, profile):
    blocks = {
        "garbage": b"not a profile" * 20,
        "cut": swapped_profile()[:200],
        "of another colour space": swapped_profile().replace(b"RGB XYZ", b"GRAYXYZ"),
        "huge": swapped_profile() + bytes(5_000_000),
    }
    options = {"lossless": True} if format == "WEBP" else {}
    plain = decode(saved(swapped(), format, **options), WHOLE).pixels
    if format == "JPEG" and profile == "huge":
        return  # the segments of a JPEG hold no such profile
    data = saved(swapped(), format, icc_profile=blocks[profile], **options)
    np.testing.assert_array_equal(decode(data, WHOLE).pixels, plain)


@pytest.mark.parametrize("format", ["WEBP", "TIFF", "AVIF"])
def test_profile_is_found_in_every_container(format):
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "AVIF" else {}
    data = saved(swapped(), format, icc_profile=swapped_profile(), **options)
    assert_near(decode(data, WHOLE).pixels, picture(), lossy=format == "AVIF")


def test_large_image_is_averaged_before_its_profile_is_applied():
    image = scene(640, 480)
    data = saved(Image.merge("RGB", [image.getchannel(c) for c in "GRB"]), "PNG", icc_profile=swapped_profile())
    preprocessing = Preprocessing(32, 24)
    difference = np.abs(decode(data, preprocessing).pixels.astype(int) - to_pixels(image, preprocessing))
    assert difference.mean() <= 2


def test_only_what_needs_it_is_converted_and_reduced():
    image, profile = scene(640, 480), swapped_profile()
    assert to_srgb(image, srgb_profile(), enough=(64, 48)) is image
    assert to_srgb(image, b"", enough=(64, 48)) is image
    gray = image.convert("L")
    assert to_srgb(gray, profile, enough=(64, 48)) is gray
    assert to_srgb(image, profile, enough=(60, 48)).size == (64, 48)
    assert to_srgb(image, profile, enough=(640, 480)).size == (640, 480)
    assert to_srgb(image, profile).size == (640, 480)
    image.putalpha(128)
    assert to_srgb(image, profile, enough=(64, 48)).size == (640, 480)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 60), st.integers(1, 8))
def test_boxes_stay_inside_their_image(width, height, block, turn):
    new = max(1, width // block), max(1, height // block)
    left, top, right, bottom = decoders.scaled_box((0.0, 0.0, float(width), float(height)), (width, height), new)
    assert (left, top) == (0, 0)
    assert new[0] - 1e-6 <= right <= new[0]
    assert new[1] - 1e-6 <= bottom <= new[1]
    box = decoders.turned_box((0.0, 0.0, width - 0.375, height - 0.75), (width, height), turn)
    assert min(box) >= 0
    assert (box[2] - box[0], box[3] - box[1]) == (
        (width - 0.375, height - 0.75) if turn < 5 else (height - 0.75, width - 0.375)
    )


# ---- names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jpg", None),
        ("a.JPEG", None),
        ("a.MPO", None),
        ("a.png", "the suffix .png says PNG, the content is JPEG"),
        ("a", "the name has no suffix, the content is JPEG"),
        ("a.", "the name has no suffix, the content is JPEG"),
        (".jpg", "the name has no suffix, the content is JPEG"),
        ("a.foo", "the suffix .foo is not one of JPEG, which the content is"),
    ],
)
def test_content_decides_and_the_name_is_judged(tmp_path, name, said):
    path = tmp_path / name
    path.write_bytes(sample("baseline.jpg"))
    np.testing.assert_array_equal(load(path, WHOLE), decode(sample("baseline.jpg"), WHOLE).pixels)
    assert suffix_mismatch(path, "JPEG") == said


def test_suffixes_of_formats_do_not_overlap():
    suffixes = [suffix for entry in FORMATS.values() for suffix in entry.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in suffixes)


# ---- refused: not images, or not ours


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"hello, I am a text", "not_an_image"),
        (b"BMW makes cars, not images", "not_an_image"),
        (b"\x89PN", "not_an_image"),
        (bytes(1000), "not_an_image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "unsupported_format"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(50), "unsupported_format"),
        (b"8BPS\0\1" + bytes(50), "unsupported_format"),
        (b"\0\0\1\0\1\0\x10\x10" + bytes(50), "unsupported_format"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by hand -->\n<svg></svg>", "unsupported_format"),
        (b"<?xml version='1.0'?><html>no drawing</html>", "not_an_image"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"SIMPLE  =                    T", "unsupported_format"),
        (b"P6 2 2 255\n" + bytes(12), "unsupported_format"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "unsupported_format"),
        (bytes([0, 0, 2]) + bytes(60) + b"TRUEVISION-XFILE.\0", "unsupported_format"),
        (bytes(128) + b"DICM", "unsupported_format"),
    ],
)
def test_content_that_is_not_read(data, code):
    assert refusal(data) == code


def test_formats_that_pillow_reads_and_we_do_not():
    for format in ("PPM", "PCX", "TGA", "ICO", "SGI", "JPEG2000", "EPS", "PDF", "DDS", "QOI"):
        assert refusal(saved(picture(), format)) == "unsupported_format"


def test_lossless_jpeg_raw_photograph_and_many_channels():
    assert refusal(sample("baseline.jpg").replace(b"\xff\xc0", b"\xff\xc3")) == "unsupported_format"
    assert refusal(tiff(picture(), [8, 8, 8], 2, t50706=1)) == "unsupported_format"
    assert refusal(tiff(bytes(40 * WIDTH * HEIGHT), [8] * 40, 2)) == "unsupported_format"
    assert refusal(tiff(bytes(8 * WIDTH * HEIGHT), [64], 1, t339=3)) == "unsupported_format"


# ---- refused: broken


@pytest.mark.parametrize("name", SAMPLES)
def test_truncated_at_every_tenth(name):
    data, whole = sample(name), decode(sample(name), WHOLE).pixels
    assert refusal(data[:0]) == "empty_file"
    for tenth in range(1, 10):
        kept = data[: len(data) * tenth // 10]
        pixels, error = outcome(kept, WHOLE)
        if error is None:
            np.testing.assert_array_equal(pixels, whole)
        else:
            # With less than a header it cannot be told from other files
            assert error.code == "truncated" or len(kept) < 32, f"{tenth}: {error}"


def test_whole_first_image_of_several_is_accepted():
    data = sample("phone.mpo")
    later = data.index(b"\xff\xd8\xff", 2)
    np.testing.assert_array_equal(outcome(data[:later])[0], decode(data, SMALL).pixels)
    assert refusal(data[: later - 30]) == "truncated"


def test_a_few_thousand_damaged_files_never_raise_anything_else():
    rng = random.Random(2)
    files = {name: sample(name) for name in SAMPLES}
    codes = set()
    for number in range(6000):
        name = rng.choice(sorted(files))
        damaged = damage(bytearray(files[name]), rng)
        started = time.perf_counter()
        _, error = outcome(damaged)
        assert time.perf_counter() - started < 2, f"{number}: {name}"
        if error is not None:
            assert_documented(error, f"{number}: {name}")
            codes.add(error.code)
    assert {"truncated", "corrupt", "too_many_pixels"} <= codes


def damage(data, rng):
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 1:
        first, last = sorted(rng.randrange(len(data)) for _ in range(2))
        return bytes(data[:first] + data[last:])
    reach = len(data) if kind == 2 else min(100, len(data))
    for _ in range(rng.choice([1, 2, 8, 64])):
        data[rng.randrange(reach)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 40), st.binary(max_size=200))
def test_any_bytes_after_any_beginning(name, kept, rest):
    _, error = outcome(sample(name)[:kept] + rest)
    if error is not None:
        assert_documented(error, name)


RAISED = {
    "corrupt": [
        *(error("x") for error in (struct.error, SyntaxError, OSError, KeyError, Warning, OverflowError)),
        *(error() for error in (RecursionError, AssertionError, ZeroDivisionError)),
    ],
    "too_many_pixels": [MemoryError(), Image.DecompressionBombError("x")],
    "truncated": [EOFError(), OSError("image file is truncated")],
    "unsupported_format": [SyntaxError("unknown pixel mode")],
}


@pytest.mark.parametrize(("code", "raised"), [(code, error) for code in RAISED for error in RAISED[code]])
def test_whatever_a_decoder_raises_becomes_an_image_error(monkeypatch, code, raised):
    def fail(*_):
        raise raised

    monkeypatch.setattr(decoders, "draft", fail)
    assert outcome(sample("baseline.jpg"))[1].code == code


def test_png_checksums_and_missing_rows():
    data = bytearray(sample("rgba.png"))
    data[data.index(b"IEND") - 6] ^= 1  # in the checksum of the pixels, which themselves are right
    assert refusal(bytes(data)) == "corrupt"
    whole = png(rows_of(picture()), 8, 2)
    np.testing.assert_array_equal(decode(whole, WHOLE).pixels, picture())
    for rows in (1, HEIGHT // 2, HEIGHT - 1):
        short = png(rows_of(picture())[:rows], 8, 2)
        header = chunk(b"IHDR", struct.pack(">LLBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
        assert refusal(short[:8] + header + short[33:]) == "truncated"
    # Of 15 rows the last does not come last
    interlaced = interlaced_png(picture()[:15])
    start = interlaced.index(b"IDAT") + 4
    inflated = zlib.decompress(interlaced[start:])
    assert decode(interlaced, WHOLE).height == 15
    for kept in (len(inflated) // 2, len(inflated) - 3 * WIDTH - 1):
        body = chunk(b"IDAT", zlib.compress(inflated[:kept]))
        assert refusal(interlaced[: start - 8] + body + chunk(b"IEND", b"")) == "truncated"


@pytest.mark.parametrize("name", ["rows.bmp", "rgb16.tif", "float.tif", "cmyk.tif", "one sample"])
def test_uncompressed_image_without_its_last_bytes(name):
    # Its three samples share one number of bits; Pillow takes such files
    data = tiff(picture(), [8], 2, t277=3) if name == "one sample" else sample(name)
    assert outcome(data)[1] is None
    assert {refusal(data[:-cut]) for cut in range(1, 60)} == {"truncated"}


def test_structure_that_makes_no_sense():
    data = sample("rgba.png")
    place = data.index(b"IDAT")
    assert refusal(data[:place] + b"\x01DAT" + data[place + 4 :]) == "corrupt"
    assert refusal(before_scan(b"\xff\xe5\0\0")) == "corrupt"
    assert refusal(sample("still.gif")[:25] + b";") == "corrupt"
    avif = sample("lossy.avif")
    assert refusal(avif[:32] + struct.pack(">L4s", 3, b"free") + avif[32:]) == "corrupt"


def test_black_png_is_whole():
    for color, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        black = np.zeros((HEIGHT, WIDTH, channels), np.uint8)
        assert decode(png(rows_of(black), 8, color), WHOLE).pixels.shape == (HEIGHT, WIDTH, 3)
    black = Image.new("RGB", (5, 1))
    assert decode(saved(black, "PNG"), WHOLE).pixels.max() == 0


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_jpeg_that_ends_early_with_an_end_mark(options):
    data = saved(scene(120, 90), "JPEG", **options)
    assert decode(data, SMALL).pixels.shape == (8, 8, 3)
    if "progressive" not in options:  # whose first scan is already a whole, if coarse, picture
        for share in (0.3, 0.6, 0.9):
            assert refusal(data[: int(len(data) * share)] + b"\xff\xd9") == "truncated"


def test_jpeg_with_a_corner_of_the_suspicious_grey_is_whole():
    for mode, gray in (("RGB", (128, 128, 128)), ("L", 128)):
        image = Image.new(mode, (64, 64), gray)
        data = saved(image, "JPEG", quality=95)
        assert decode(data, SMALL).pixels.max() == 128


# ---- refused before pixels are allocated


def gif_header(width, height, left=0, frame=None):
    wide, high = frame or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<4HB", left, 0, wide, high, 0) + b"\x02\x02\x4c\x01\0;"


def webp_header(width, height):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<L", 10) + bytes(4) + size + sample("lossless.webp")[12:]
    return b"RIFF" + struct.pack("<L", len(body)) + body


def jpeg_header(width, height):
    data = sample("baseline.jpg")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def png_header(width, height):
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def bmp_header(width, height):
    return sample("rows.bmp")[:18] + struct.pack("<ll", width, height) + sample("rows.bmp")[26:]


def avif_header(width, height):
    data = sample("lossy.avif")
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">LL", width, height) + data[place + 8 :]


BOMBS = {
    "PNG": lambda: png_header(60_000, 60_000),
    "PNG, second header": lambda: sample("rgba.png")[:33] + png_header(60_000, 60_000)[8:],
    "PNG, thin": lambda: png_header(40_000_000, 1),
    "JPEG": lambda: jpeg_header(65_000, 65_000),
    "GIF": lambda: gif_header(65_535, 65_535),
    "GIF, frame": lambda: gif_header(1, 1, left=65_535, frame=(65_535, 65_535)),
    "GIF of a size that Pillow warns of": lambda: gif_header(10_000, 10_000),
    "GIF, frame that Pillow warns of": lambda: gif_header(1, 1, frame=(10_000, 10_000)),
    "WEBP": lambda: webp_header(16_384, 16_384),
    "BMP": lambda: bmp_header(60_000, 60_000),
    "AVIF": lambda: avif_header(12_000, 12_000),
    "TIFF": lambda: tiff(b"", [8], 1, t256=60_000, t257=60_000, t259=8),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_by_its_header(name):
    data = BOMBS[name]()
    started = time.perf_counter()
    assert refusal(data) == "too_many_pixels"
    assert time.perf_counter() - started < 0.3


def test_limit_of_pixels_is_exact_and_can_be_moved():
    for name in ("baseline.jpg", "still.gif", "lossless.webp", "turned_6.png", "lossy.avif"):
        assert refusal(sample(name), max_pixels=WIDTH * HEIGHT - 1) == "too_many_pixels"
        assert decode(sample(name), SMALL, max_pixels=WIDTH * HEIGHT).width == WIDTH


def filled():
    return zlib.compress(bytes(30_000_000), 9)


def more_scans(count):
    data = sample("progressive.jpg")
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def more_frames(count):
    data = sample("still.gif")
    return data[:-1] + data[data.index(b",", 20) : -1] * count + b";"


def before_scan(junk):
    data = sample("baseline.jpg")
    return data[:2] + junk + data[2:]


def before_frame(junk):
    data = sample("still.gif")
    return data[:25] + junk + data[25:]


# Small files that would take minutes or gigabytes: their bytes, and the code or None if they are accepted
COSTLY = {
    "text": (lambda: png_with(chunk(b"zTXt", b"k\0\0" + filled())), None),
    "international text": (lambda: png_with(chunk(b"iTXt", b"k\0\1\0\0\0" + filled())), None),
    "profile": (lambda: png_with(chunk(b"iCCP", b"k\0\0" + filled())), None),
    "chunks": (lambda: png_with(chunk(b"tEXt", b"") * 210_000), "corrupt"),
    "scans": (lambda: more_scans(200), "corrupt"),
    "filling": (lambda: before_scan(b"\xff" * 300_000 + b"\0"), None),
    "segments": (lambda: before_scan(b"\xff\xfe\0\2" * 210_000), "corrupt"),
    "frames": (lambda: more_frames(10_000), None),
    "comments": (lambda: before_frame(b"!\xfe" + b"\1a" * 1_100_000 + b"\0"), "corrupt"),
    "extensions": (lambda: before_frame(b"!\xfe\0" * 210_000), "corrupt"),
    "tile": (lambda: tiff(bytes(9), [8], 1, t259=8, t322=40_000, t323=40_000, t324=8, t325=9), "corrupt"),
    "strips": (lambda: many_strips(50_000), "corrupt"),
    "runs": (lambda: sample("runs.bmp") + bytes(5_000_000), "unsupported_format"),
}


def png_with(chunks):
    return png(rows_of(picture()), 8, 2, before=chunks)


def many_strips(count):
    """Strips of half the image each, all at one place in the file."""
    data = tiff(bytes(1_000_000), [8], 1, t256=1000, t257=1000, t278=500)
    place = data.index(struct.pack("<HHL", 273, 4, 1))
    entry = struct.pack("<HHLL", 273, 4, count, len(data))
    return data[:place] + entry + data[place + 12 :] + struct.pack("<L", 200) * count


@pytest.mark.parametrize("name", COSTLY)
def test_small_file_that_would_cost_much(name):
    make, code = COSTLY[name]
    data, started = make(), time.process_time()
    if code is None:
        assert decode(data, SMALL).width == WIDTH
    else:
        assert refusal(data) == code
    assert time.process_time() - started < 1


def test_profile_that_inflates_is_not_inflated():
    data = png_with(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(50_000_000), 9)))
    tracemalloc.start()
    try:
        assert decode(data, SMALL).width == WIDTH
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_further_frames_cost_nothing(format):
    frames = [Image.new("RGB", (8, 8), (number * 5 % 256, 0, 0)) for number in range(60)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    started = time.process_time()
    assert decode(data, SMALL).pixels.max() <= 1
    assert time.process_time() - started < 0.5


# ---- metadata in disorder


def exif_block(body):
    return b"Exif\0\0" + body


BROKEN_EXIF = {
    "garbage": b"\xff" * 40,
    "cut": b"MM\0*\0\0\0\x08\0\x09\1\x12",
    "far": b"II*\0\xff\xff\xff\x7f",
    "endless": b"II*\0\x08\0\0\0\xff\xff" + b"\x0f\x01\x02\0\xff\xff\xff\xff\x08\0\0\0" * 4,
    "empty": b"",
    "orientation 9": b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0\0\0\0\0",
}


@pytest.mark.parametrize("kind", BROKEN_EXIF)
def test_broken_exif_does_not_cost_the_image(kind):
    block = BROKEN_EXIF[kind]
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + exif_block(block)
    jpeg, plain = sample("baseline.jpg"), decode(sample("baseline.jpg"), WHOLE).pixels
    np.testing.assert_array_equal(decode(jpeg[:2] + segment + jpeg[2:], WHOLE).pixels, plain)
    np.testing.assert_array_equal(decode(png_with(chunk(b"eXIf", block)), WHOLE).pixels, picture())
    webp = saved(picture(), "WEBP", lossless=True, exif=exif_block(block) or b"x")
    np.testing.assert_array_equal(decode(webp, WHOLE).pixels, picture())


def test_avif_with_exif_is_turned_by_its_boxes_alone():
    exif = Image.Exif()
    exif[271] = "a camera"
    exif[274] = 6
    data = saved(picture(), "AVIF", exif=exif)
    place = data.index(b"a camera")
    broken = data[: place - 20] + b"\xff" * 28 + data[place + 8 :]
    np.testing.assert_array_equal(decode(broken, SMALL).pixels, decode(data, SMALL).pixels)
    assert (decode(data, SMALL).width, decode(data, SMALL).height) == (HEIGHT, WIDTH)


def test_exif_orientation_is_read_in_every_number_type_and_byte_order():
    jpeg = sample("baseline.jpg")
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        for kind, layout in ((1, "Bxxx"), (3, "Hxx"), (4, "L")):
            entry = struct.pack(order + "HHL" + layout, 274, kind, 1, 6)
            block = exif_block(mark + struct.pack(order + "LH", 8, 1) + entry + bytes(4))
            segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
            assert decode(jpeg[:2] + segment + jpeg[2:], WHOLE).width == HEIGHT


def test_tags_with_too_many_values_are_taken_by_their_first():
    data = tiff(picture(), [8, 8, 8], 2)
    place = data.index(struct.pack("<HHL", 257, 4, 1))
    entry = struct.pack("<HHLL", 257, 4, 2, len(data))
    changed = data[:place] + entry + data[place + 12 :] + struct.pack("<LL", HEIGHT, 7)
    np.testing.assert_array_equal(decode(changed, WHOLE).pixels, picture())


def test_apng_with_wrong_counts_of_frames_is_its_still_image():
    for count in (0, 1, 2**31 + 1):
        control = chunk(b"acTL", struct.pack(">LL", count, 0))
        np.testing.assert_array_equal(decode(png_with(control + control), WHOLE).pixels, picture())


# ---- threads and global state


def test_eight_threads_give_identical_pixels():
    names = sorted(SAMPLES) * 8
    alone = {name: decode(sample(name), Preprocessing(13, 11)).pixels for name in SAMPLES}
    with ThreadPoolExecutor(8) as threads:
        together = threads.map(lambda name: decode(sample(name), Preprocessing(13, 11)).pixels, names)
        for name, pixels in zip(names, together, strict=True):
            np.testing.assert_array_equal(pixels, alone[name], err_msg=name)


def test_nothing_global_changes(monkeypatch):
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for name in SAMPLES:
        outcome(sample(name))
        outcome(sample(name)[:-9])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


# ---- reading files


def read_code(path):
    """The code that reading is refused with, found in a thread lest the test itself waits for ever."""
    codes = []

    def read():
        try:
            read_bytes(path)
        except ImageError as error:
            codes.append(error.code)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "reading waits"
    assert not codes or codes[0] in PROBLEMS
    return codes[0] if codes else None


def test_read_bytes_of_things_that_are_no_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to folder").symlink_to(tmp_path / "folder")
    (tmp_path / "good").write_bytes(b"content")
    (tmp_path / "to good").symlink_to("good")
    expected = {
        "folder": "not_regular_file",
        "empty": "empty_file",
        "nowhere": "broken_link",
        "loop": "broken_link",
        "to folder": "not_regular_file",
        "missing": "unreadable_file",
        "good/below": "unreadable_file",
        "nul\0": "unreadable_file",
        "x" * 300: "unreadable_file",
        "good": None,
        "to good": None,
    }
    assert {name: read_code(tmp_path / name) for name in expected} == expected
    assert read_bytes(tmp_path / "to good") == b"content"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_read_bytes_never_waits_on_a_pipe_socket_or_device(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert read_code(tmp_path / "socket") == "not_regular_file"
    assert read_code(tmp_path / "pipe") == "not_regular_file"
    assert read_code(Path(os.devnull)) == "not_regular_file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_read_bytes_does_not_wait_when_a_pipe_takes_the_place_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    stat = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: stat)
    assert read_code(tmp_path / "pipe") == "not_regular_file"


def test_read_bytes_without_permission(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert read_code(tmp_path / "file") == "unreadable_file"


def test_read_bytes_is_bounded(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: it takes no room
    assert read_code(path) == "too_many_bytes"


def test_read_bytes_of_a_file_without_end(tmp_path, monkeypatch):
    path = tmp_path / "endless"
    path.write_bytes(b"a")
    given = []

    def endless(descriptor, size):
        given.append(size)
        assert sum(given) < 2**18
        return bytes(size)

    monkeypatch.setattr(formats, "MAX_BYTES", 100_000)
    monkeypatch.setattr(os, "read", endless)
    with pytest.raises(ImageError, match="too_many_bytes"):
        read_bytes(path)


def test_read_bytes_takes_memory_for_the_file_alone(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(bytes(1_000))
    tracemalloc.start()
    read_bytes(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("more", [1, 5_000])
def test_read_bytes_of_a_file_that_grows_meanwhile(tmp_path, monkeypatch, more):
    path = tmp_path / "growing"
    path.write_bytes(b"a" * 3_000)
    status_of = os.fstat

    def then_grow(descriptor):
        status = status_of(descriptor)
        with path.open("ab") as file:
            file.write(b"b" * more)
        return status

    monkeypatch.setattr(os, "fstat", then_grow)
    grown = read_bytes(path)
    monkeypatch.undo()
    assert grown == path.read_bytes()
    assert len(grown) > 3_000
    monkeypatch.setattr(formats, "MAX_BYTES", len(grown))
    monkeypatch.setattr(os, "fstat", then_grow)
    with pytest.raises(ImageError, match="too_many_bytes"):
        read_bytes(path)


# ---- problems


def test_problems_are_a_documented_table():
    assert all(kind.meaning and not kind.meaning.endswith(".") for kind in PROBLEMS.values())
    assert [code for code, kind in PROBLEMS.items() if kind.usable] == ["suffix_mismatch"]
    assert Problem("a/b.jpg", "corrupt", "why").to_json() == {
        "path": "a/b.jpg",
        "code": "corrupt",
        "detail": "why",
    }


# ---- files found in the wild


def test_files_of_other_projects(shared_data):
    for path in sorted((shared_data / "bad-inputs").iterdir()):
        started = time.process_time()
        pixels, error = outcome(path.read_bytes(), Preprocessing(224, 224))
        assert time.process_time() - started < 2, path.name
        if error is None:
            assert pixels.shape == (224, 224, 3), path.name
        else:
            assert_documented(error, path.name)


def test_turned_photographs_of_one_scene(shared_data):
    names = [f"Portrait_{turn}.jpg" for turn in (1, 3, 6, 8)]
    views = [load(shared_data / "bad-inputs" / name, Preprocessing(40, 60)).astype(int) for name in names]
    for view in views[1:]:
        assert np.abs(view - views[0]).mean() < 3

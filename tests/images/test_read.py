"""Read: every image once, from then on out of the cache; bad files become rows."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldmark.errors import NothingUsableError
from fieldmark.images import formats
from fieldmark.images.cache import cache_folder
from fieldmark.images.read import _together, read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing

SMALL = Preprocessing(width=8, height=6)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three images each, every one of another colour."""
    root = tmp_path / "photos"
    for label, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20 + number, 10), (40 * number, 100 * label, 7)).save(root / name / f"{number}.png")
    return root


def test_pixels_are_those_of_the_one_decoder(photos: Path) -> None:
    images = read(scan(photos), SMALL)
    assert images.decoded == 6
    for row in range(6):
        assert np.array_equal(images.pixels([row])[0], formats.load(images.dataset.file(row), SMALL))
    assert images.dataset.sizes[:3] == ((20, 10), (21, 10), (22, 10))
    assert set(images.dataset.formats) == {"PNG"}
    assert images.dataset.hashes[0] == hashlib.sha256((photos / "a/0.png").read_bytes()).hexdigest()
    assert images.thumbnails().shape == (6, 16, 16, 3)


@pytest.mark.parametrize(
    ("images", "cores", "together"), [(6, 2, 1), (64, 2, 4), (10_000, 2, 8), (500, 64, 1), (0, 1, 1)]
)
def test_no_thread_is_given_many_when_there_are_few(
    images: int, cores: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert _together(images) == together


def test_a_second_read_decodes_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(scan(photos), SMALL)
    shutil.move(photos / "a" / "0.png", photos / "b" / "renamed.png")

    def decode(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(formats, "decode", decode)
    second = read(scan(photos), SMALL)
    assert second.decoded == 0
    assert second.dataset.fingerprint != first.dataset.fingerprint  # one image changed its class
    for row, hash_ in enumerate(second.dataset.hashes):
        assert np.array_equal(second.pixels([row])[0], first.pixels([first.dataset.hashes.index(hash_)])[0])


@pytest.mark.parametrize("half", [0, 1])
def test_damaged_pixels_are_decoded_again(photos: Path, half: int) -> None:
    """Half of a file of the cache is zeros: its images are decoded again, and once only."""
    wanted = read(scan(photos), SMALL)
    pixels, thumbnails = wanted.pixels(range(6)), wanted.thumbnails()
    (path,) = cache_folder().glob("pixels/*/*.rows")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[half * middle : (half + 1) * middle] = bytes(middle)
    path.write_bytes(content)
    for decoded in (3, 0):
        images = read(scan(photos), SMALL)
        assert images.decoded == decoded
        assert np.array_equal(images.pixels(range(6)), pixels)
        assert np.array_equal(images.thumbnails(), thumbnails)


def test_only_what_is_new_or_of_another_size_is_decoded(photos: Path) -> None:
    read(scan(photos), SMALL)
    Image.new("RGB", (5, 5), "red").save(photos / "a" / "new.png")
    assert read(scan(photos), SMALL).decoded == 1
    assert read(scan(photos), Preprocessing(width=9, height=6)).decoded == 7
    assert read(scan(photos), Preprocessing(width=8, height=6, mean=1.0, deviation=2.0)).decoded == 0


def test_a_changed_file_is_read_anew_also_with_its_old_time_and_size(photos: Path) -> None:
    path = photos / "a" / "0.png"
    before = path.stat()
    first = read(scan(photos), SMALL)
    Image.new("RGB", (20, 10), (0, 0, 8)).save(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = read(scan(photos), SMALL)
    assert second.pixels([0])[0, 0, 0].tolist() == [0, 0, 8]
    assert first.pixels([0])[0, 0, 0].tolist() == [0, 0, 7]


def test_bad_files_become_rows_and_are_not_decoded_twice(photos: Path) -> None:
    good = (photos / "a" / "0.png").read_bytes()
    (photos / "a" / "cut.png").write_bytes(good[: len(good) // 2])
    (photos / "a" / "text.jpg").write_text("not an image, whatever the name says")
    (photos / "a" / "zero.jpg").write_bytes(b"")
    (photos / "b" / "really.jpg").write_bytes(good)
    expected = {
        "a/cut.png": "truncated",
        "a/text.jpg": "not_an_image",
        "a/zero.jpg": "empty_file",
        "b/really.jpg": "suffix_mismatch",
    }
    for decoded in (8, 0):
        images = read(scan(photos), SMALL)
        assert {problem.path: problem.code for problem in images.dataset.problems} == expected
        assert len(images.dataset) == 7  # the mismatch is used
        assert images.decoded in (decoded, decoded + 1)  # a copy may be decoded beside its twin


def test_files_and_rows_belong_together_whatever_is_bad(photos: Path) -> None:
    (photos / "a" / "1.png").write_bytes(b"")
    images = read(scan(photos), SMALL)
    for row, path in enumerate(images.dataset.paths):
        assert images.dataset.classes[images.dataset.labels[row]] == path.split("/")[0]
        assert np.array_equal(images.pixels([row])[0], formats.load(photos / path, SMALL))


def test_nothing_usable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_text("text")
    with pytest.raises(NothingUsableError, match="not one of 2 files") as caught:
        read(scan(tmp_path), SMALL)
    assert caught.value.exit_code == 3


def test_the_cache_is_bounded(photos: Path) -> None:
    read(scan(photos), SMALL)
    read(scan(photos), Preprocessing(width=9, height=6), cache_limit_bytes=1)
    shards = list((cache_folder() / "pixels").rglob("*.rows"))
    assert len(shards) == 1  # that of the reading itself
    assert read(scan(photos), SMALL).decoded == 6


def test_columns_stay_small(tmp_path: Path) -> None:
    """The promise of the large dataset in small: hard links cost rows, not pixels."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    for number in range(200):
        os.link(tmp_path / "one.png", tmp_path / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "one.png").unlink()
    images = read(scan(tmp_path), SMALL)
    assert len(images.dataset) == 200
    (rows,) = (cache_folder() / "pixels").rglob("*.rows")
    assert rows.stat().st_size == images.store.dtype.itemsize

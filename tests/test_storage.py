"""Storage: files appear whole or not at all, with the permissions of any other file."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fieldmark import storage
from fieldmark.cli import datasets
from fieldmark.errors import OutputError
from fieldmark.images import demo

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")


@pytest.fixture
def restrictive() -> Iterator[int]:
    """A process whose files nobody else may read, as on many shared machines."""
    before, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns between nearly every two steps
    try:
        yield 0o027
    finally:
        sys.setswitchinterval(interval)
        os.umask(before)


@posix_only
def test_threads_that_read_the_umask_neither_change_it_nor_read_another(restrictive: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: storage.umask(), range(20_000)))
    assert found == {restrictive}
    assert storage.umask() == restrictive


@posix_only
def test_a_file_has_the_permissions_of_any_other(restrictive: int, tmp_path: Path) -> None:
    storage.write_text(tmp_path / "ours.txt", "whole")
    (tmp_path / "any.txt").touch()
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "any.txt").stat().st_mode


@posix_only
def test_no_file_made_meanwhile_is_open_to_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.umask
    monkeypatch.setattr(os, "umask", lambda mask: (seen.append(mask), real(mask))[1])
    storage.umask()
    assert seen[0] == 0o077


@posix_only
def test_a_folder_has_the_permissions_of_any_other(restrictive: int, tmp_path: Path) -> None:
    with storage.atomic_folder(tmp_path / "ours") as folder:
        storage.write_text(folder / "note.txt", "whole")
    (tmp_path / "any").mkdir()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["note.txt"]


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with storage.atomic_folder(tmp_path / "data" / "ours") as folder:
            storage.write_text(folder / "note.txt", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*ours"), storage.atomic_folder(tmp_path / "ours"):
        storage.write_text(tmp_path / "ours" / "theirs.txt", "first")
    assert [path.name for path in tmp_path.rglob("*")] == ["ours", "theirs.txt"]


@posix_only
def test_the_demo_dataset_can_be_read_by_whom_any_folder_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGES_PER_CLASS", {"train": 1})
    datasets._draw(tmp_path / "demo" / "faces")
    assert (tmp_path / "demo" / "faces").stat().st_mode == (tmp_path / "demo").stat().st_mode
    monkeypatch.setattr(demo, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        datasets._draw(tmp_path / "demo" / "more")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["faces"]


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_an_error_of_other_work_is_not_that_of_the_file(tmp_path: Path) -> None:
    def write() -> None:
        with storage.atomic_file(tmp_path / "ours.txt") as file:
            file.write(b"half")
            raise BrokenPipeError("the bar's terminal is gone")

    with pytest.raises(BrokenPipeError, match="the bar's terminal is gone"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [10, 100_000], ids=["when it ends", "in the middle"])
def test_a_full_disk_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    real = tempfile.mkstemp

    def full(**options: Any) -> tuple[int, str]:
        descriptor, name = real(**options)
        os.close(descriptor)
        return os.open("/dev/full", os.O_RDWR), name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OutputError, match=r"cannot write .*ours\.txt: No space left on device"):
        storage.write_bytes(tmp_path / "ours.txt", b"x" * size)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_on_a_full_disk_is_an_error_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)  # Pillow writes past the file it is given, to its descriptor
    with pytest.raises(OutputError, match=r"cannot write .*ours\.png: No space left on device"):
        storage.write_picture(tmp_path / "ours.png", Image.new("RGB", (4, 4)))
    assert list(tmp_path.iterdir()) == []

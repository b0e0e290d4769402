"""Storage: files appear whole or not at all, with the permissions of any other file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
    with pytest.raises(KeyboardInterrupt), storage.atomic_folder(tmp_path / "data" / "ours") as folder:
        storage.write_text(folder / "note.txt", "half")
        raise KeyboardInterrupt
    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write .*ours"), storage.atomic_folder(tmp_path / "ours"):
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

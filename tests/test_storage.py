"""Storage: files appear whole or not at all, with the permissions of any other file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fieldmark import storage

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

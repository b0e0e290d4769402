"""Listing: the images that a person names: files, folders, patterns, and paths from stdin."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fieldmark.images.scan import natural_key


def list_images(names: Iterable[str], *, recursive: bool = False) -> Iterator[str]:
    """Yield the paths that `names` stand for, in the order given; inside folders and patterns in natural order.

    A folder stands for its files that are not hidden, with `recursive` also for those of the folders inside.
    A name that exists is never a pattern; one that leads nowhere is yielded as it is, to be reported in its place.
    """
    for name in names:
        if name == "-":
            yield from list_images(_lines(), recursive=recursive)
        elif Path(name).is_dir():
            yield from _folder(name, recursive=recursive)
        elif glob.has_magic(name) and not os.path.lexists(name):
            # Not Path.glob: a pattern may be absolute and name several folders.
            yield from sorted(glob.glob(name, recursive=True), key=natural_key) or [name]  # noqa: PTH207
        else:
            yield name


def _lines() -> Iterator[str]:
    # Bytes, because a path need not be valid UTF-8.
    for line in sys.stdin.buffer:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path and path != "-":
            yield path


def _folder(folder: str, *, recursive: bool) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = (
            sorted((name for name in folders if not name.startswith(".")), key=natural_key) if recursive else []
        )
        for name in sorted(files, key=natural_key):
            if not name.startswith("."):
                yield str(Path(parent) / name)

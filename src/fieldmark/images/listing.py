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

    A folder stands for its files that are not hidden, with `recursive` also for those of the folders inside, each
    folder once. A name that exists is never a pattern. What leads nowhere, or cannot be listed, is yielded as it
    is, to be reported in its place.
    """
    for name in names:
        if name == "-":
            yield from list_images(_lines(), recursive=recursive)
        elif Path(name).is_dir():
            yield from _folder(name, recursive=recursive)
        elif glob.has_magic(name) and not os.path.lexists(name):
            # Not Path.glob: a pattern may be absolute and name several folders.
            found = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207
            yield from list_images(found, recursive=recursive) if found else [name]
        else:
            yield name


def _lines() -> Iterator[str]:
    # Bytes, because a path need not be valid UTF-8.
    for line in sys.stdin.buffer:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path and path != "-":
            yield path


def _folder(top: str, *, recursive: bool) -> Iterator[str]:
    stack, seen = [top], set()
    while stack:
        folder = stack.pop()
        try:
            status = Path(folder).stat()
            paths = [str(path) for path in Path(folder).iterdir() if not path.name.startswith(".")]
        except OSError:
            yield folder
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        paths.sort(key=natural_key)
        yield from (path for path in paths if not Path(path).is_dir())
        if recursive:
            stack.extend(reversed([path for path in paths if Path(path).is_dir()]))

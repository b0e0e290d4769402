"""Listing: the images that a person names: files, folders, patterns, and paths from stdin."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fieldmark.images.names import natural_key


def list_images(names: Iterable[str], *, recursive: bool = False) -> Iterator[str]:
    """Yield the paths that `names` stand for, in the order given; inside folders and patterns in natural order.

    A folder stands for its files that are not hidden, with `recursive` also for those of the folders inside, each
    folder once. A name that exists is never a pattern. What leads nowhere, or cannot be listed, is yielded as it
    is, to be reported in its place.
    """
    for name in names:
        if name == "-":
            yield from list_images(_lines(), recursive=recursive)
        elif _is_folder(name):
            yield from _folder(name, recursive=recursive)
        elif glob.has_magic(name) and not os.path.lexists(name):
            # Not Path.glob: a pattern may be absolute and name several folders.
            found = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207
            yield from list_images(found, recursive=recursive) if found else [name]
        else:
            yield name


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # a name too long for the system
        return False


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
            files, folders = _names(folder)
        except OSError:
            yield folder
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (str(Path(folder) / name) for name in files)
        if recursive:
            stack.extend(str(Path(folder) / name) for name in reversed(folders))


def _names(folder: str) -> tuple[list[str], list[str]]:
    """The names of files and of folders that are not hidden, in natural order: all that is kept of each entry."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                # Path, unlike the entry, takes a link that leads in a circle for a file, whose problem it then is.
                is_folder = Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
                (folders if is_folder else files).append(entry.name)
    return sorted(files, key=natural_key), sorted(folders, key=natural_key)

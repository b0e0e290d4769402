"""Entries: what lies in one folder, told by names and the folder's own listing: folders, images, and neither."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fieldmark.images.formats import FORMATS
from fieldmark.images.names import natural_key

IMAGE_SUFFIXES = frozenset(suffix for kind in FORMATS.values() for suffix in kind.suffixes)
# What operating systems, notebooks and archives leave behind; never a class, never an image.
SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "@eadir",
    }
)
# A run has its history from the first epoch on, and checkpoints before that.
RUN_FILES = ("history.csv", "run.json")


def list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder in natural order; raises OSError where it cannot be listed."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: natural_key(entry.name))


def kind_of(entry: os.DirEntry[str]) -> str:
    """Return "folder", "file", or the problem code of what can be neither class nor image."""
    name = entry.name
    if name.startswith("."):
        return "hidden"
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return "name_not_utf8"
    if name.lower() in SYSTEM_NAMES:
        return "system_file"
    # The folder's own listing knows the kind of all but links, which cost a system call.
    if entry.is_dir(follow_symlinks=False):
        return "run_folder" if _is_run(entry.path) else "folder"
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken_link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "not_regular_file"


def _is_run(folder: str) -> bool:
    return any(os.path.exists(f"{folder}/{name}") for name in RUN_FILES)  # noqa: PTH110  a hot path


def folder_names(folder: Path) -> list[str]:
    """The names of the folders in a folder that may be classes; none where it cannot be listed."""
    try:
        return [entry.name for entry in list_entries(folder) if kind_of(entry) == "folder"]
    except OSError:
        return []


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder itself, by their names; not where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return any(looks_like_image(entry.name) and kind_of(entry) == "file" for entry in entries)
    except OSError:
        return False


def looks_like_image(name: str) -> bool:
    """Whether a name ends as those of images do."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def identity(folder: Path) -> tuple[int, int]:
    """Device and number of a folder: the same under all its names and links."""
    try:
        status = folder.stat()
    except OSError:  # a name too long for the system; reading it will be reported
        return (-1, hash(folder))
    return (status.st_dev, status.st_ino)

"""Walk: every image below a folder with its class, and a problem row for whatever else lies there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fieldmark.images.entries import identity, kind_of, list_entries
from fieldmark.images.names import printable
from fieldmark.images.problems import Problem

DETAILS = {
    "hidden": "the name begins with a dot",
    "system_file": "left behind by an operating system, an archive or a notebook",
    "name_not_utf8": "the name is not valid UTF-8; rename it to use it",
    "not_regular_file": "a pipe, socket or device",
    "broken_link": "a link that leads nowhere",
    "link_loop": "by a link, this folder is read already under another name",
    "loose_file": "lies beside the class folders, so it has no class",
    "empty_class": "a folder without images",
    "beside_splits": "lies beside train/, so it belongs to no split",
    "run_folder": "left by an earlier training",
}


@dataclasses.dataclass
class Found:
    """What the walk has met so far: images as (path, class, split), and problems."""

    images: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    tables: frozenset[Path] = frozenset()  # of corrections, which are no stray files

    def problem(self, path: str, code: str, detail: str | None = None) -> None:
        """Add a row, with the code's usual sentence unless there is a better one."""
        self.problems.append(Problem(printable(path), code, DETAILS[code] if detail is None else detail))


def walk(root: Path, top: Path, split: str, found: Found, elsewhere: set[tuple[int, int]]) -> None:
    """Add all images below `top`, class by class, but for the folders whose identities are `elsewhere`."""
    stack = [(top, "")]  # no recursion: folders may nest deeper than Python's stack
    seen = {identity(top)}
    table_names = {table.name for table in found.tables}
    while stack:
        folder, name = stack.pop()
        try:
            entries = list_entries(folder)
        except OSError as error:
            found.problem(path_below(root, folder), "unreadable_folder", error.strerror or str(error))
            continue
        images = 0
        inner: list[tuple[Path, str]] = []
        # Once a folder, not once a file: Path takes longer than all else here.
        prefix = "" if folder == root else f"{path_below(root, folder)}/"
        for entry in entries:
            kind = kind_of(entry)
            number = identity(Path(entry.path)) if kind == "folder" else None
            if number in elsewhere:
                continue
            if number is not None and number not in seen:
                seen.add(number)
                inner.append((Path(entry.path), f"{name}/{entry.name}" if name else entry.name))
            elif entry.name in table_names and Path(entry.path) in found.tables:
                continue
            elif kind == "file" and name:
                images += 1
                found.images.append((prefix + entry.name, name, split))
            else:
                found.problem(prefix + entry.name, {"folder": "link_loop", "file": "loose_file"}.get(kind, kind))
        if name and not images and not inner:
            found.problem(path_below(root, folder), "empty_class")
        stack.extend(reversed(inner))


def report_beside(root: Path, splits: set[Path], found: Found, elsewhere: set[tuple[int, int]]) -> None:
    """Add a row for everything that lies beside the folders of splits."""
    for entry in list_entries(root):
        kind = kind_of(entry)
        if Path(entry.path) not in splits | found.tables and identity(Path(entry.path)) not in elsewhere:
            found.problem(entry.name, {"folder": "beside_splits", "file": "loose_file"}.get(kind, kind))


def path_below(root: Path, path: Path) -> str:
    """The path below root with "/", or absolute where it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.absolute().as_posix()

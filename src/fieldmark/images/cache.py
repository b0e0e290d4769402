"""The cache: rows of one shape, found by the content they were made from, in a few large files.

One training writes at most one new shard: `<id>.rows` (the raw rows) and `<id>.json` (which content each row
belongs to, written last, so that a shard without it never existed). A row is keyed by the SHA-256 of the image
file's bytes, so renaming, moving or adding images decodes nothing twice. Content that gave no row (a broken
image) is remembered with its problem.

Rows are read with positioned reads, not through a memory map: pages of a map that were touched count as memory of
the process, so that a training would seem to hold, and under a limit would hold, its whole cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import platformdirs

from fieldmark import storage
from fieldmark.errors import OutputError

Row = npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]

DEFAULT_LIMIT_BYTES = 20 * 10**9
# What has no manifest after this time was left by a process that was killed.
LEFT_OVER_SECONDS = 24 * 3600
# New rows after which the disk is given work: waiting for all of it at the end took a tenth of the time of reading.
WRITTEN_OUT_BYTES = 8 * 2**20


def cache_folder() -> Path:
    """The user's cache folder: FIELDMARK_CACHE_DIR, or the system's place for caches."""
    chosen = os.environ.get("FIELDMARK_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fieldmark", appauthor=False))


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the cache knows of one content: its row (None where it gave none), and a note."""

    shard: str
    row: int | None
    note: dict[str, Any]


class RowStore:
    """Rows of one dtype (often a structured one) below one folder; owns the files it has opened.

    Any number of threads may read and look up at once.

    >>> import tempfile
    >>> store = RowStore(Path(tempfile.mkdtemp()), np.dtype((np.uint8, (2, 2))))
    >>> with store.writer() as writer:
    ...     writer.add("hash of a file", np.ones((2, 2), np.uint8), {"width": 640})
    >>> store.take(["hash of a file"]).shape, store.find("hash of a file").note
    ((1, 2, 2), {'width': 640})
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.dtype = dtype
        self._entries: dict[str, Entry] = {}
        self._files: dict[str, _RowFile] = {}
        for manifest in sorted(folder.glob("*.json")):
            self._read_manifest(manifest)

    def find(self, key: str) -> Entry | None:
        """What is known of this content, or None."""
        return self._entries.get(key)

    def take(
        self, keys: Sequence[str], field: str | None = None, *, out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """The rows of these contents, (len(keys), *shape), read from the files; `field` reads one column alone.

        `out` is a contiguous array of that shape to read into: new memory for each batch costs as much as reading it.
        Raises KeyError for a content that is not known, OutputError where a file of the cache cannot be read.
        """
        dtype, start = self._part(field)
        # (n, *shape): NumPy gives an array the shape of a sub-array dtype
        rows = np.empty(len(keys), dtype) if out is None else out
        if rows.nbytes != len(keys) * dtype.itemsize or not rows.flags.c_contiguous:
            raise ValueError(f"out {rows.dtype} {rows.shape}: expected {len(keys)} contiguous rows of {dtype}")
        if not rows.size:
            return rows
        raw = rows.reshape(-1).view(np.uint8).data
        for number, key in enumerate(keys):
            entry = self._entries[key]
            if entry.row is None:
                raise KeyError(f"{key}: this content gave no row")
            target = raw[number * dtype.itemsize : (number + 1) * dtype.itemsize]
            self._file(entry.shard).read_into(target, entry.row * self.dtype.itemsize + start)
        return rows

    def touch(self, keys: Sequence[str]) -> None:
        """Mark the shards of these contents as used now, so that they are the last to be removed."""
        for shard in {entry.shard for key in keys if (entry := self._entries.get(key))}:
            with contextlib.suppress(OSError):
                os.utime(self.folder / f"{shard}.json")

    def hold(self, keys: Sequence[str]) -> frozenset[str]:
        """Open the shards of these contents, so that they can be read also after they were removed; their ids."""
        shards = frozenset(entry.shard for key in keys if (entry := self._entries.get(key)) and entry.row is not None)
        for shard in shards:
            self._file(shard)
        return shards

    @contextlib.contextmanager
    def writer(self) -> Iterator[ShardWriter]:
        """Collect rows for a new shard; it exists when the block ends without an error, and only if it has content."""
        shard = uuid.uuid4().hex
        with contextlib.ExitStack() as stack:
            # The file is opened for the first new content, so that a cache that knows all may be read-only.
            writer = ShardWriter(
                lambda: stack.enter_context(storage.atomic_file(self.folder / f"{shard}.rows")), self.dtype
            )
            yield writer
        if not writer.entries:
            return
        manifest = {"itemsize": self.dtype.itemsize, "rows": writer.rows, "entries": writer.entries}
        path = self.folder / f"{shard}.json"
        storage.write_bytes(path, json.dumps(manifest).encode())
        self._read_manifest(path)

    def _read_manifest(self, path: Path) -> None:
        try:
            manifest = json.loads(path.read_bytes())
            expected = manifest["rows"] * self.dtype.itemsize
            if manifest["itemsize"] != self.dtype.itemsize or path.with_suffix(".rows").stat().st_size != expected:
                return  # damaged or half removed: its content is made again
            entries = {key: Entry(path.stem, row, note) for key, (row, note) in manifest["entries"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._entries.update(entries)

    def _part(self, field: str | None) -> tuple[np.dtype[Any], int]:
        """The dtype of what is read of a row, and where in the row it begins, in bytes."""
        if field is None:
            return self.dtype, 0
        if self.dtype.fields is None:
            raise KeyError(field)
        dtype, start = self.dtype.fields[field][:2]
        return dtype, start

    def _file(self, shard: str) -> _RowFile:
        # Two threads may both open a shard; the file that is not kept is closed with its last user.
        if shard not in self._files:
            self._files.setdefault(shard, _RowFile(self.folder / f"{shard}.rows"))
        return self._files[shard]


class _RowFile:
    """One open file, read at any place by any number of threads; stays readable after the file was removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
        weakref.finalize(self, os.close, self._descriptor)
        self._one_at_a_time = threading.Lock()

    def read_into(self, target: memoryview, place: int) -> None:
        """Fill `target` with the bytes from `place` on."""
        while target:
            try:
                count = self._read(target, place)
            except OSError as error:
                raise _unreadable(self.path, error.strerror or str(error)) from error
            if not count:
                raise _unreadable(self.path, "it was cut short after it was opened")
            target, place = target[count:], place + count

    if hasattr(os, "preadv"):

        def _read(self, target: memoryview, place: int) -> int:
            # Straight into the result, without a copy and without Python's lock
            return os.preadv(self._descriptor, [target], place)

    else:  # Windows, where a file has only one position, which all threads share

        def _read(self, target: memoryview, place: int) -> int:
            with self._one_at_a_time:
                os.lseek(self._descriptor, place, os.SEEK_SET)
                content = os.read(self._descriptor, len(target))
            target[: len(content)] = content
            return len(content)


def _unreadable(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"cannot read {path}: {reason}", hint="remove this folder of the cache and start again; it is made anew"
    )


class ShardWriter:
    """Appends rows to a shard that is being written."""

    def __init__(self, open_file: Callable[[], BinaryIO], dtype: np.dtype[Any]) -> None:
        self._open_file = open_file
        self._file: BinaryIO | None = None
        self._dtype = dtype
        self.rows = 0
        self._written_out = 0  # bytes
        self.entries: dict[str, tuple[int | None, dict[str, Any]]] = {}

    def add(self, key: str, row: Row | None, note: dict[str, Any] | None = None) -> None:
        """Add the row of a content, or only a note where it gave none; a content known here is not written twice.

        The fields of a row may come one by one, in their order, which saves putting them together.
        """
        if key in self.entries:
            return
        if self._file is None:
            self._file = self._open_file()
        if row is None:
            self.entries[key] = (None, note or {})
            return
        fields = row if isinstance(row, tuple) else (row,)
        found = sum(field.nbytes for field in fields)
        if found != self._dtype.itemsize:
            raise ValueError(f"a row of {found} bytes; expected {self._dtype.itemsize}")
        for field in fields:
            self._file.write(np.ascontiguousarray(field).reshape(-1).view(np.uint8).data)  # not copied
        self.entries[key] = (self.rows, note or {})
        self.rows += 1
        self._write_out_early(self._file)

    def _write_out_early(self, file: BinaryIO) -> None:
        """Let the system begin to write to the disk while the next rows are made, instead of all at the end."""
        start, end = self._written_out, self.rows * self._dtype.itemsize
        if end - start < WRITTEN_OUT_BYTES or not hasattr(os, "posix_fadvise"):
            return
        file.flush()
        # It begins to write what is said not to be needed, and forgets none that is still to be written
        with contextlib.suppress(OSError):  # only advice
            os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
        self._written_out = end


def limit_cache(folder: Path, limit_bytes: int, *, keep: frozenset[str] = frozenset()) -> list[str]:
    """Remove the least recently used shards below `folder` until it holds at most `limit_bytes`; return their ids.

    Shards whose id is in `keep` (those of the running training) stay, also above the limit; a process that holds a
    removed shard goes on reading it. What a killed process left unfinished is removed after a day.
    """
    files = {path: status for path in folder.rglob("*") if (status := _status(path)) and stat.S_ISREG(status.st_mode)}
    _remove(path for path in files if _is_left_over(path, files[path].st_mtime))
    total = sum(status.st_size for path, status in files.items() if path.exists())
    shards = [path for path in files if path.suffix == ".json" and path.with_suffix(".rows") in files]
    removed = []
    for path in sorted(shards, key=lambda path: files[path].st_mtime):
        if total <= limit_bytes:
            break
        if path.stem in keep:
            continue
        # The manifest goes first: rows without one never existed.
        both = (path, path.with_suffix(".rows"))
        _remove(both)
        removed.append(path.stem)
        total -= sum(files[file].st_size for file in both)
    return removed


def _status(path: Path) -> os.stat_result | None:
    # Another process may remove files at the same time.
    try:
        return path.stat()
    except OSError:
        return None


def _is_left_over(path: Path, changed: float) -> bool:
    unfinished = path.suffix == ".tmp" or (path.suffix == ".rows" and not path.with_suffix(".json").exists())
    return unfinished and time.time() - changed > LEFT_OVER_SECONDS


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()

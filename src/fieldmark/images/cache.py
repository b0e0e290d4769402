"""The cache: rows of one shape, found by the content they were made from, in a few large files.

One training writes at most one new shard: `<id>.rows` (the raw rows) and `<id>.json` (which content each row
belongs to, written last, so that a shard without it never existed). A row is keyed by the SHA-256 of the image
file's bytes, so renaming, moving or adding images decodes nothing twice. Content that gave no row (a broken
image) is remembered with its problem.

Every row, and the manifest, has a checksum (CRC-32: 10-30 GB/s, and no single bit flips unseen). A row is checked when
it is first looked up in a store; one that is not what was written is not known, so that its content is made again.

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
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt
import platformdirs

from fieldmark import reading, storage
from fieldmark.errors import OutputError

Row = npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]

# New rows after which the disk is given work: waiting for all of it at the end took a tenth of the time of reading.
WRITTEN_OUT_BYTES = 8 * 2**20
# A manifest has some 200 bytes a row: a larger file is none, and would only fill the memory.
MANIFEST_BYTES_AT_MOST = 2**30
# How a manifest begins, up to the checksum of its content; another format begins otherwise and is not read.
SEAL = b'{"crc32": "%08x", "shard": '

UNCHECKED, SOUND, DAMAGED = range(3)  # what a store knows of the bytes of a row


def cache_folder() -> Path:
    """The user's cache folder: FIELDMARK_CACHE_DIR, or the system's place for caches."""
    chosen = os.environ.get("FIELDMARK_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fieldmark", appauthor=False))


def checksum(content: bytes | memoryview, before: int = 0) -> int:
    """The CRC-32 of some bytes, `before` that of the bytes before them: as zlib's, several times as fast.

    >>> checksum(b"123456789") == checksum(b"6789", checksum(b"12345")) == 0xCBF43926
    True
    """
    return int(imagecodecs.deflate_crc32(content, before))  # type: ignore[arg-type]  # any buffer will do


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the cache knows of one content: its row (None where it gave none), and a note."""

    shard: str
    row: int | None
    crc32: int | None
    note: dict[str, Any]


class RowStore:
    """Rows of one dtype (often a structured one) below one folder; owns the files it has opened.

    Any number of threads may read and look up at once. No row comes out unchecked: its first look-up in a store reads
    it whole and compares its checksum, later ones trust that. 1,027 rows of 300 px take .04 s, so 50,000 (13.5 GB)
    2 s, or as long as the disk takes where they are not in memory. Rows that this store wrote are trusted.

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
        # Usually one entry a content; two processes may both have made it, and what was damaged was made again.
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._states: dict[str, bytearray] = {}  # of each row of a shard
        self._files: dict[str, _RowFile] = {}
        for manifest in sorted(folder.glob("*.json")):
            self._read_manifest(manifest)

    def find(self, key: str) -> Entry | None:
        """What is known of this content, or None, also where its row is damaged (checked at the first look-up)."""
        return next((entry for entry in self._entries.get(key, ()) if self._is_sound(entry)), None)

    def take(
        self, keys: Sequence[str], field: str | None = None, *, out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """The rows of these contents, (len(keys), *shape), read from the files; `field` reads one column alone.

        `out` is a contiguous array of that shape to read into: new memory for each batch costs as much as reading it.
        Raises KeyError for a content that `find` does not know, OutputError where a file of the cache cannot be read.
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
            entry = self.find(key)
            if entry is None or entry.row is None:
                raise KeyError(f"{key}: this content {'gave no row' if entry else 'is not known'}")
            target = raw[number * dtype.itemsize : (number + 1) * dtype.itemsize]
            self._file(entry.shard).read_into(target, entry.row * self.dtype.itemsize + start)
        return rows

    def touch(self, keys: Sequence[str]) -> None:
        """Mark the shards of these contents as used now, so that they are the last to be removed."""
        for shard in {entry.shard for key in keys if (entry := self.find(key))}:
            with contextlib.suppress(OSError):
                os.utime(self.folder / f"{shard}.json")

    def hold(self, keys: Sequence[str]) -> frozenset[str]:
        """Open the shards of these contents, so that they can be read also after they were removed; their ids."""
        shards = frozenset(entry.shard for key in keys if (entry := self.find(key)) and entry.row is not None)
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
        storage.write_bytes(self.folder / f"{shard}.json", _sealed(json.dumps(manifest).encode()))
        self._remember(_entries(shard, manifest), shard, writer.rows, SOUND)

    def _read_manifest(self, path: Path) -> None:
        try:
            manifest = json.loads(_unsealed(path))
            expected = manifest["rows"] * self.dtype.itemsize
            if manifest["itemsize"] != self.dtype.itemsize or _regular_size(path.with_suffix(".rows")) != expected:
                return  # damaged or half removed: its content is made again
            entries = _entries(path.stem, manifest)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self._remember(entries, path.stem, manifest["rows"], UNCHECKED)

    def _remember(self, entries: dict[str, Entry], shard: str, rows: int, state: int) -> None:
        self._states[shard] = bytearray([state]) * rows
        for key, entry in entries.items():
            self._entries[key] = (*self._entries.get(key, ()), entry)

    def _is_sound(self, entry: Entry) -> bool:
        """Whether the row holds what was written, which two threads may both find out."""
        if entry.row is None:
            return True
        states = self._states[entry.shard]
        if states[entry.row] == UNCHECKED:
            states[entry.row] = SOUND if self._read_crc32(entry.shard, entry.row) == entry.crc32 else DAMAGED
        return states[entry.row] == SOUND

    def _read_crc32(self, shard: str, row: int) -> int | None:
        content = np.empty(self.dtype.itemsize, np.uint8).data
        try:
            self._file(shard).read_into(content, row * self.dtype.itemsize)
        except OutputError:  # removed by another process, or the disk cannot read it
            return None
        return checksum(content)

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


def _sealed(manifest: bytes) -> bytes:
    return SEAL % checksum(manifest) + manifest + b"}"


def _unsealed(path: Path) -> bytes:
    """The manifest in a file; raises OSError where it cannot be read, ValueError where it is not as it was written."""
    content = reading.read_bytes(path, most=MANIFEST_BYTES_AT_MOST)
    manifest = content[len(SEAL % 0) : -1]
    if _sealed(manifest) != content:
        raise ValueError(f"{path}: not as it was written")
    return manifest


def _regular_size(path: Path) -> int | None:
    # To open a pipe would wait for a writer, to read a device might never end.
    status = path.stat()
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _entries(shard: str, manifest: dict[str, Any]) -> dict[str, Entry]:
    found = {key: Entry(shard, *entry) for key, entry in manifest["entries"].items()}
    for entry in found.values():
        if entry.row is not None and not 0 <= entry.row < manifest["rows"]:
            raise ValueError(f"shard {shard}: row {entry.row} of {manifest['rows']}")
    return found


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
        self.entries: dict[str, tuple[int | None, int | None, dict[str, Any]]] = {}  # row, its CRC-32, note

    def add(self, key: str, row: Row | None, note: dict[str, Any] | None = None) -> None:
        """Add the row of a content, or only a note where it gave none; a content known here is not written twice.

        The fields of a row may come one by one, in their order, which saves putting them together.
        """
        if key in self.entries:
            return
        if self._file is None:
            self._file = self._open_file()
        if row is None:
            self.entries[key] = (None, None, note or {})
            return
        fields = row if isinstance(row, tuple) else (row,)
        found = sum(field.nbytes for field in fields)
        if found != self._dtype.itemsize:
            raise ValueError(f"a row of {found} bytes; expected {self._dtype.itemsize}")
        crc32 = 0
        for field in fields:
            content = np.ascontiguousarray(field).reshape(-1).view(np.uint8).data  # not copied
            crc32 = checksum(content, crc32)
            self._file.write(content)
        self.entries[key] = (self.rows, crc32, note or {})
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

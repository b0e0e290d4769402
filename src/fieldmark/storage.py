"""Every durable write: a temporary file in the same folder, fsync, rename, fsync of the folder.

A reader therefore sees the old content or the new, never half of either, also after a power cut.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from fieldmark.errors import OutputError

LOCK_SECONDS = 5.0  # that a writer waits for another one; a write takes milliseconds
_IN_THIS_PROCESS = threading.Lock()
_READING_UMASK = threading.Lock()

# What a spreadsheet would run as a formula, also in its full-width form; apostrophes before it count as guards.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that appears at `path` whole when the block ends, or not at all.

    Raises OutputError, with the path and the system's reason, if it cannot be written. What else the block raises
    passes through, also an OSError: it is not of this file.

    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_file(target) as file:
    ...     _ = file.write(b"whole")
    >>> target.read_bytes()
    b'whole'
    """
    with _told_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with io.BufferedRandom(_ToldOf(descriptor, path)) as file:
            yield file
            file.flush()
            with _told_of(path):
                os.fsync(file.fileno())
        with _told_of(path):
            # mkstemp makes private files; what we leave behind has the permissions of any other file
            temporary.chmod(0o666 & ~umask())
            temporary.replace(path)
            _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class _ToldOf(io.FileIO):
    """An open file whose errors say which one it is, wherever among other work they are raised."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w+")
        self._path = path

    def write(self, content: Any) -> int:
        with _told_of(self._path):
            return super().write(content)

    def close(self) -> None:
        with _told_of(self._path):
            super().close()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill that appears at `path` whole when the block ends, or not at all.

    Raises OutputError if it cannot be made, or if `path` holds something by then.

    >>> target = Path(tempfile.mkdtemp()) / "notes"
    >>> with atomic_folder(target) as folder:
    ...     write_text(folder / "note.txt", "whole")
    >>> [entry.name for entry in target.iterdir()]
    ['note.txt']
    """
    make_folder(path.parent)
    with _told_of(path):
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", dir=path.parent))
    try:
        yield unfinished
        with _told_of(path):
            # mkdtemp makes private folders; what we leave behind has the permissions of any other one
            unfinished.chmod(0o777 & ~umask())
            unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises OutputError."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all. Raises OutputError."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; numbers that JSON does not know (NaN) are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture whole; the suffix says the format. Raises OutputError, also for a suffix of no picture."""
    format_ = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(path.suffix.lower())
    if format_ is None:
        raise OutputError(f"{path}: the suffix says no format for a picture", hint="end the name in .png or .jpg")
    # Pillow writes to the file's descriptor itself, so that what it raises is of this file.
    with atomic_file(path) as file, _told_of(path):
        picture.save(file, format=format_)


@contextlib.contextmanager
def locked(folder: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Keep out others who change a file of `folder` under this lock: threads, and other processes.

    The folder itself is locked, so nothing is left behind. Where a system has no such lock (Windows, some network
    drives), it holds for the threads of this process only. Raises OutputError if the folder is not there, or another
    process holds it for longer than `seconds`.
    """
    until = time.monotonic() + seconds
    if not _IN_THIS_PROCESS.acquire(timeout=seconds):
        raise _held(folder, seconds)
    descriptor = -1
    try:
        if os.name != "nt":
            descriptor = _open_folder(folder)
            _lock(descriptor, folder, until, seconds)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)  # which also takes the lock off
        _IN_THIS_PROCESS.release()


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _lock(descriptor: int, folder: Path, until: float, seconds: float) -> None:
    import fcntl  # which Windows lacks

    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise _held(folder, seconds) from None
            time.sleep(0.01)
        except OSError:
            return  # a drive without locks
        else:
            return


def _held(folder: Path, seconds: float) -> OutputError:
    return OutputError(
        f"cannot write into {folder}: another process has kept it locked for {seconds:g} s", hint="try again"
    )


def make_folder(path: Path) -> Path:
    """Create `path` with its parents and return it. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Raise what the system refuses inside of the block as OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the one error for a place that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(
        f"cannot write {path}: {reason}",
        hint="check permissions and free space, or choose another place (--out, or FIELDMARK_CACHE_DIR for the cache)",
    )


def umask() -> int:
    """The permissions that this process takes away from every file it makes, such as 0o022.

    The only portable way to read them is to set them. One thread at a time, or the second would read, and put back
    for good, what the first has set meanwhile; and what that is takes away the most, since another thread may make a
    file just then.
    """
    with _READING_UMASK:
        current = os.umask(0o077)
        os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder; its rename is durable enough for us.
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def guard(cell: str) -> str:
    """Return the cell as no spreadsheet runs it; `unguard` gives back the cell.

    >>> guard("=HYPERLINK(0)"), guard("'tis.jpg"), unguard(guard("'-1"))
    ("'=HYPERLINK(0)", "'tis.jpg", "'-1")
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """Take off what `guard` put in front."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell

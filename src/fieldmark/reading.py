"""Reading: what others may have written is opened here, as a plain file of a bounded size, or not at all.

A name may lead to a pipe, which a reader waits on for ever, or to a device, which never ends. A run folder or a
classifier may come from a stranger, and a file may change while it is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

MODEL_BYTES = 2**31  # an ONNX file, which is one message of protobuf, cannot be larger
RUN_BYTES = 2**32  # any other file of a run folder: the answers for 87,000 images of 1,000 classes are 1 GB


class NotRegularError(OSError):
    """Something else than a file stands there."""


class TooLargeError(OSError):
    """The file has more bytes than are read."""


def read_bytes(path: Path, *, most: int) -> bytes:
    """Read one whole file of at most `most` bytes, without ever waiting on a pipe or touching a device.

    Raises OSError, whose kind says whether there is no file (NotRegularError), one too large (TooLargeError), or none
    that can be read; ValueError for a name that no file can have.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> path.write_text("whole")
    5
    >>> read_bytes(path, most=5)
    b'whole'
    >>> read_bytes(path, most=4)
    Traceback (most recent call last):
    fieldmark.reading.TooLargeError: 5 bytes; at most 4 are read
    """
    with _opened(path, most) as (descriptor, expected):
        content = _whole(descriptor, expected, most)
    if len(content) > most:  # it has grown since
        raise _too_large(len(content), most)
    return content


@contextlib.contextmanager
def open_text(path: Path, *, most: int) -> Iterator[TextIO]:
    """Open a file of UTF-8 as `read_bytes` does, to be read piece by piece; ends of lines are left as they are.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "table.csv"
    >>> path.write_bytes(b"a,b\\r\\n1,2\\r\\n")
    10
    >>> with open_text(path, most=100) as lines:
    ...     list(lines)
    ['a,b\\r\\n', '1,2\\r\\n']
    """
    with (
        _opened(path, most) as (descriptor, _),
        open(descriptor, encoding="utf-8", newline="", closefd=False) as file,
    ):
        yield file


def read_object(path: Path, *, most: int = RUN_BYTES) -> dict[str, Any]:
    """Read a file that holds one JSON object. Raises OSError as `read_bytes` does, and ValueError as `parse_object`."""
    return parse_object(read_bytes(path, most=most).decode("utf-8"))


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text. Raises ValueError, which says what it is instead.

    >>> parse_object('{"seed": 0}')
    {'seed': 0}
    >>> parse_object("[1, 2]")
    Traceback (most recent call last):
    ValueError: expected an object, found an array
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, found {kind_of(content)}")
    return content


def kind_of(value: Any) -> str:
    """What a value read from JSON is, as JSON calls it.

    >>> [kind_of(value) for value in (None, True, 1.5, "a", [], {})]
    ['null', 'a truth value', 'a number', 'a string', 'an array', 'an object']
    """
    kinds = {type(None): "null", bool: "a truth value", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number")


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be read, in the system's words and without its name, which the caller says.

    >>> reason(FileNotFoundError(2, "No such file or directory", "run.json"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def _opened(path: Path, most: int) -> Iterator[tuple[int, int]]:
    """Yield the descriptor of a regular file, and how many bytes it has."""
    _require_regular(path.stat(), most)
    # A pipe may have taken the file's place since: do not wait for its writer, and look again
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        _require_regular(status, most)
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _require_regular(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
        raise NotRegularError(f"a {kind} stands where a file belongs")
    if status.st_size > most:
        raise _too_large(status.st_size, most)


def _too_large(size: int, most: int) -> TooLargeError:
    return TooLargeError(f"{size:,} bytes; at most {most:,} are read")


def _whole(descriptor: int, expected: int, most: int) -> bytes:
    # Memory for as many bytes as are asked for is taken at once: for the most of every file, a quarter of the time
    parts, size, asked = [], 0, expected + 1
    while size <= most and (part := os.read(descriptor, asked)):
        parts.append(part)
        size, asked = size + len(part), 2**16
    return b"".join(parts)

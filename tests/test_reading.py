"""Reading: a regular file of a bounded size, or an error that says what stands there; never a wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fieldmark import reading
from fieldmark.reading import NotRegularError, TooLargeError, open_text, read_bytes, read_object
from tests.waiting import within_seconds


def read_all(path: Path, most: int) -> bytes:
    with open_text(path, most=most) as file:
        return file.read().encode()


@pytest.mark.parametrize("read", [lambda path, most: read_bytes(path, most=most), read_all])
def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path, read) -> None:
    path = tmp_path / "file"
    path.write_bytes("ä,b\r\n1,2\n".encode())
    assert read(path, 10) == path.read_bytes()
    with pytest.raises(TooLargeError, match="10 bytes; at most 9 are read"):
        read(path, 9)
    with pytest.raises(NotRegularError, match="a folder stands where a file belongs"):
        read(tmp_path, 10)
    with pytest.raises(NotRegularError, match="a device stands"):
        read(Path(os.devnull), 10)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing", 10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(NotRegularError, match="a pipe stands"):
            within_seconds(lambda name=name: read_bytes(tmp_path / name, most=10))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without end")
def test_a_device_without_end_takes_no_memory() -> None:
    with pytest.raises(NotRegularError, match="a device stands"):
        within_seconds(lambda: read_bytes(Path("/dev/zero"), most=2**20))


def test_objects(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"seed": 0}')
    assert read_object(path) == {"seed": 0}
    for text in ("[]", "null", "3", '"x"', "", "{", "[" * 100_000, '{"a":' * 100_000, "\0"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"expected|Expecting|nested|value"):
            read_object(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_object(path)


def test_the_limits_hold_every_file_that_is_written() -> None:
    assert reading.MODEL_BYTES == 2**31
    assert reading.RUN_BYTES > reading.MODEL_BYTES

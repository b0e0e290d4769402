"""Worker: a process that turns the bytes of uploads into pixels, under limits, and has nothing else to do.

    python -P -m fieldmark.serving.worker MEMORY_BYTES MAX_PIXELS [DESCRIPTOR]     # its standard input is a socket

Frames on the socket: one byte that says what comes, four bytes of length (big-endian), the content. Nothing is
unpickled on either side.

    server → worker   p preprocessing as JSON, then c the content of a file
    worker → server   r (ready, once) with a list of LIMITS that do not hold, then for each file its pixels as P, or
                      S, empty, once they are in the memory of the file descriptor DESCRIPTOR, if there is one and
                      they find room there, or {"code", "detail"} as E; lists and objects are JSON

Only what decoding needs is imported here: a worker that was lost is replaced in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import struct
import sys

from fieldmark.errors import ImageError
from fieldmark.images import formats
from fieldmark.preprocessing import Pixels, Preprocessing

HEADER = struct.Struct(">cI")
LIMITS = {"memory": "RLIMIT_AS", "files written": "RLIMIT_FSIZE", "core dumps": "RLIMIT_CORE"}
READY, PREPROCESSING, CONTENT, PIXELS, SHARED, PROBLEM = b"r", b"p", b"c", b"P", b"S", b"E"


def main() -> None:
    """Answer until the server closes the socket."""
    memory_bytes, max_pixels, *descriptor = (int(argument) for argument in sys.argv[1:])
    keep_only(descriptor)
    shared = mmap.mmap(descriptor[0], 0) if descriptor else None
    # A service manager signals every process of the service; the server decides when its workers end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    without = limit_process(memory_bytes)
    with socket.socket(fileno=0) as connection:
        connection.sendall(frame(READY, json.dumps(without).encode()))
        while answer(connection, max_pixels, shared):
            pass


def keep_only(descriptors: list[int]) -> None:
    """Close all files but the three standard ones and these: uvloop hands down some of the server's (0.23)."""
    with contextlib.suppress(OSError):  # where a system does not tell which are open, they stay so
        for name in [entry.name for entry in os.scandir("/dev/fd")]:
            if int(name) > 2 and int(name) not in descriptors:
                with contextlib.suppress(OSError):  # that of the listing itself
                    os.close(int(name))


def limit_process(memory_bytes: int) -> list[str]:
    """From here on: no more address space than this, no file written, no core dump, no word on the terminal.

    Returns the keys of LIMITS that this system cannot set: Windows has none of them, macOS refuses that of memory.
    """
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # C libraries quote the file there
    os.close(silence)
    try:
        import resource
    except ImportError:
        return list(LIMITS)
    without = []
    for name, limit in LIMITS.items():
        most = memory_bytes if name == "memory" else 0
        try:
            number = getattr(resource, limit)
            hard = resource.getrlimit(number)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # it cannot be raised again
            resource.setrlimit(number, (most, most))
        except (AttributeError, OSError, ValueError):
            without.append(name)
    return without


def answer(connection: socket.socket, max_pixels: int, shared: mmap.mmap | None = None) -> bool:
    """Decode one file; False when the server has closed the socket."""
    wanted = receive(connection)
    content = receive(connection)
    if wanted is None or content is None:
        return False
    try:
        preprocessing = Preprocessing.from_json(json.loads(wanted))
        pixels = formats.decode(content, preprocessing, max_pixels=max_pixels).pixels
    except ImageError as error:
        connection.sendall(frame(PROBLEM, json.dumps({"code": error.code, "detail": error.detail}).encode()))
    else:
        connection.sendall(_handed_over(pixels, shared))
    return True


def _handed_over(pixels: Pixels, shared: mmap.mmap | None) -> bytes:
    """Put the pixels where the server finds them; the message that says so."""
    if shared is None or pixels.nbytes > len(shared):
        return frame(PIXELS, pixels.tobytes())
    shared[: pixels.nbytes] = pixels.reshape(-1).data
    return frame(SHARED, b"")


def frame(kind: bytes, content: bytes) -> bytes:
    """One message."""
    return header(kind, len(content)) + content


def header(kind: bytes, length: int) -> bytes:
    """What comes before the content of a message."""
    return HEADER.pack(kind, length)


def receive(connection: socket.socket) -> bytes | None:
    """The content of the next message; None at the end."""
    header = _exactly(connection, HEADER.size)
    return None if header is None else _exactly(connection, HEADER.unpack(header)[1])


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        received = connection.recv_into(view)
        if not received:
            return None
        view = view[received:]
    return bytes(content)


if __name__ == "__main__":
    main()

"""Limits: everything that a client may use up, in one value. Counted on what arrives, never on what is announced."""

from __future__ import annotations

import dataclasses

from fieldmark.images.formats import MAX_PIXELS


@dataclasses.dataclass(frozen=True)
class Limits:
    """Every limit of the service. What is over one is refused with a status of `fieldmark.serving.refusals`.

    A limit names the largest value that is still accepted.

    >>> Limits(files=3).files, Limits().file_bytes
    (3, 50000000)
    """

    # the request line and the headers; the header limits hold for each part of a form as well
    url_bytes: int = 4_096  # bytes of path and query as sent: 414
    header_lines: int = 100  # lines: 431
    header_bytes: int = 16_384  # bytes of the request line and all header lines: 431
    # the body
    request_bytes: int = 100_000_000  # bytes of one body: 413
    chunks: int = 10_000  # of one body, where they have fewer than `chunk_bytes` on average: 413
    chunk_bytes: int = 64
    file_bytes: int = 50_000_000  # bytes of one upload: 413
    files: int = 100  # uploads in one request: 413
    fields: int = 100  # parts of a form that are no file: 413
    name_bytes: int = 1_024  # bytes of an upload's name: 413
    pixels: int = MAX_PIXELS  # width × height of one image: the problem too_many_pixels of that image
    # all requests together
    connections: int = 1_000  # open at once: 503
    budget_bytes: int = 128_000_000  # bytes of uploads in memory at once: 429
    queue: int = 256  # images that wait for their answer: 429
    # one image in its decoding process
    decode_seconds: float = 10.0  # then its process is killed: the problem too_slow of that image
    decode_memory_bytes: int = 2**31  # bytes of address space of the process
    # time
    header_seconds: float = 10.0  # seconds for the request line and the headers: 408
    body_seconds: float = 60.0  # seconds for the body: 408
    request_seconds: float = 30.0  # seconds from the body's end until the answer begins: 504
    write_seconds: float = 30.0  # seconds in which a client takes what waits for it (64 KB); then it is cut off
    keep_alive_seconds: float = 5.0  # seconds that an idle connection is kept

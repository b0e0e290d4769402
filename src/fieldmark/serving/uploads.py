"""Uploads: from the body of a request to the bytes of its images. Counted while they arrive; never on disk.

    uploads = await read_uploads(request, limits, budget)     # [Upload("cat.jpg", b"..."), ...]

The guard has counted the body as a whole; here its parts are. The name that a client chose is text to show, cleaned
for that, and never opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from fieldmark.images.names import printable
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal

FIELD = "files"  # of a form; as many as there are files
RAW_NAME = "image"  # of an upload that is the body itself
AT_END = "fieldmark.at_end"  # in the ASGI scope: the guard's ExitStack, closed when the request is answered
# It warns of each byte out of place: what a client gets wrong is no news, and could fill the log
logging.getLogger("python_multipart").setLevel(logging.ERROR)
# The parser does not know this way of naming a file (RFC 7578, 4.2, forbids it in forms)
_STARRED_NAME = re.compile(rb";\s*filename\*", re.IGNORECASE)
_RAW_TYPES = ("image/", "application/octet-stream")


@dataclasses.dataclass(frozen=True)
class Upload:
    """One image as it was sent."""

    name: str  # the client's own, for display; may be any text
    content: bytearray  # empty once the request is answered: see Reservation


class Budget:
    """The bytes of uploads in memory, of all requests together. Not for threads: the event loop's own.

    >>> budget = Budget(10)
    >>> with Reservation(budget) as reservation:
    ...     reservation.add(reservation.buffer(), b"0123456789")
    >>> budget.taken
    0
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0


class Reservation:
    """What one request holds of a budget; all of it comes back at the end of the `with` block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0
        self._buffers: list[bytearray] = []

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *error: object) -> None:
        self._budget.taken -= self._taken
        for buffer in self._buffers:
            # Emptied, not just let go: frames and tracebacks refer to each other, and until the garbage collector
            # came by they held several times the budget. Where a worker is still being sent one, it goes after that.
            with contextlib.suppress(BufferError):
                buffer.clear()

    def buffer(self) -> bytearray:
        """An empty buffer, which lasts as long as the reservation."""
        self._buffers.append(bytearray())
        return self._buffers[-1]

    def add(self, buffer: bytearray, data: bytes) -> None:
        """Append to one of the buffers. Raises Refusal (429, over_capacity) where the budget has no more."""
        budget = self._budget
        if budget.taken + len(data) > budget.total:
            raise Refusal(
                429,
                "over_capacity",
                f"uploads of {budget.taken:,} bytes are being answered; at most {budget.total:,} at once",
                hint="send it again in a moment",
                headers={"Retry-After": "1"},
            )
        budget.taken += len(data)
        self._taken += len(data)
        buffer += data


async def read_uploads(request: Request, limits: Limits, budget: Budget) -> list[Upload]:
    """Read the images of a request: a multipart form with files in the field `files`, or one image as the body.

    Their bytes count against `budget` until the request is answered. Raises Refusal, and starlette's ClientDisconnect
    where the client left.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    with contextlib.ExitStack() as reading:
        reservation = reading.enter_context(Reservation(budget))
        if kind == b"multipart/form-data":
            uploads = await _read_form(request, options.get(b"boundary", b""), limits, reservation)
        elif not kind or kind.decode("latin-1").startswith(_RAW_TYPES):
            uploads = await _read_raw(request, limits, reservation)
        else:
            raise Refusal(
                415,
                "unsupported_media_type",
                f"Content-Type {kind[:80].decode('latin-1')!a} is neither multipart/form-data nor an image",
                hint="curl -F files=@cat.jpg, or --data-binary @cat.jpg -H 'Content-Type: image/jpeg'",
            )
        if AT_END in request.scope:
            request.scope[AT_END].push(reading.pop_all())
    return uploads


async def _read_raw(request: Request, limits: Limits, reservation: Reservation) -> list[Upload]:
    content = reservation.buffer()
    async for chunk in request.stream():
        _check_file(RAW_NAME, len(content) + len(chunk), limits)
        reservation.add(content, chunk)
    if not content:
        raise _no_file()
    return [Upload(RAW_NAME, content)]


async def _read_form(request: Request, boundary: bytes, limits: Limits, reservation: Reservation) -> list[Upload]:
    if not boundary:
        raise Refusal(400, "bad_form", "the Content-Type header names no boundary")
    form = _Form(limits, reservation)
    try:
        parser = MultipartParser(
            boundary, form.callbacks(), max_header_count=2**31, max_header_size=2**31
        )  # counted by _Form
        async for chunk in request.stream():
            parser.write(chunk)
    except FormParserError as error:
        raise Refusal(400, "bad_form", "the body is not a multipart form of that boundary") from error
    if not form.ended:
        raise Refusal(400, "bad_form", "the body ends before its form does")
    if not form.uploads:
        raise _no_file()
    return form.uploads


class _Form:
    """What the parser finds, part after part, and the counts that end it early."""

    def __init__(self, limits: Limits, reservation: Reservation) -> None:
        self._limits = limits
        self._reservation = reservation
        self.uploads: list[Upload] = []
        self.ended = False
        self._files = self._fields = 0
        self._begin_part()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin_part,
            "on_header_begin": self._begin_header,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": self._content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._name: str | None = None  # of the file; None for a part that is none
        self._bytes = self._reservation.buffer()
        self._disposition = b""
        self._header = [b"", b""]
        self._header_lines = self._header_bytes = 0

    def _begin_header(self) -> None:
        self._header = [b"", b""]
        self._header_lines += 1
        if self._header_lines > self._limits.header_lines:
            raise _too_much("part_headers_too_large", "header lines in one part of the form", self._limits.header_lines)

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._add_header(0, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._add_header(1, data[start:end])

    def _add_header(self, part: int, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > self._limits.header_bytes:
            raise _too_much(
                "part_headers_too_large", "bytes of headers in one part of the form", self._limits.header_bytes
            )
        self._header[part] += data

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            if self._disposition:  # whichever were believed, a part meant as an image may go without an answer
                raise Refusal(400, "bad_form", "a part of the form has two Content-Disposition headers")
            self._disposition = self._header[1]

    def _begin_content(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Refusal(400, "bad_form", "a part of the form has no name")
        if b"filename" in options:
            self._begin_file(options[b"name"], options[b"filename"])
        else:
            self._begin_field(options[b"name"])

    def _begin_field(self, name: bytes) -> None:
        # Left out like other fields, it would be an image without an answer
        if name == FIELD.encode() or _STARRED_NAME.search(self._disposition):
            raise Refusal(
                400,
                "bad_form",
                f"a part in the field {name[:80].decode('latin-1')!a} has no filename, so it is no file",
                hint='curl -F files=@cat.jpg, with @ and not <; filename="cat.jpg" is read, filename* is not',
            )
        self._fields += 1
        if self._fields > self._limits.fields:
            raise _too_much("too_many_fields", "fields", self._limits.fields)

    def _begin_file(self, field: bytes, name: bytes) -> None:
        self._files += 1
        if self._files > self._limits.files:
            raise _too_much("too_many_files", "files in one request", self._limits.files)
        if len(name) > self._limits.name_bytes:
            raise _too_much("name_too_long", "bytes in the name of a file", self._limits.name_bytes)
        if field != FIELD.encode():
            raise Refusal(400, "bad_form", f"a file in the field {field[:80].decode('latin-1')!a}; expected {FIELD!r}")
        self._name = printable(os.fsdecode(name))

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            return  # a field's value is not asked for
        _check_file(self._name, len(self._bytes) + end - start, self._limits)
        self._reservation.add(self._bytes, data[start:end])

    def _end_part(self) -> None:
        # A browser sends an empty file without a name where none was chosen
        if self._name is not None and (self._name or self._bytes):
            self.uploads.append(Upload(self._name, self._bytes))

    def _end(self) -> None:
        self.ended = True


def _check_file(name: str, count: int, limits: Limits) -> None:
    if count > limits.file_bytes:
        raise Refusal(
            413, "file_too_large", f"{name}: more than {limits.file_bytes:,} bytes", hint="send a smaller image"
        )


def _too_much(code: str, what: str, limit: int) -> Refusal:
    return Refusal(413, code, f"more than {limit:,} {what}")


def _no_file() -> Refusal:
    return Refusal(400, "no_file", "the request holds no image", hint=f"send at least one file in the field {FIELD!r}")

"""Connections: uvicorn's protocol with limits on what ASGI cannot see: how many clients, how slow, and what is no HTTP.

    uvicorn.Config(app, http=protocol(limits))

A client has its seconds for the headers, for the body and for taking what waits for it. A refused one is answered,
and what it still sends is read for a moment and thrown away: a connection that is closed on unread bytes takes its
answer with it (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import socket
from collections.abc import Callable
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from fieldmark.serving.guard import SECURITY_HEADERS
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal

LINGER_SECONDS = 1.0  # for a refused client to read its answer
LINGER_BYTES = 2**18  # that it may still send meanwhile
CHUNK_LINES_BYTES = 16  # around a chunk without extensions: its length in hexadecimal and two ends of lines
LEAST_TAKEN = 2**16  # bytes that a client takes in `write_seconds`, or all that waits for it
REFUSED_AT_ONCE = 100  # clients too many that are told so; others are cut off without a word
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


def protocol(limits: Limits) -> type[Connection]:
    """The protocol class of one server."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "open": set()})


def allow_open_files(limits: Limits) -> None:
    """Let this process hold a socket for each connection, where the system allows it: its usual limit is 1,024."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    wanted = limits.connections + REFUSED_AT_ONCE + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


class Connection(H11Protocol):
    """One client."""

    limits: ClassVar[Limits]
    open: ClassVar[set[Connection]]  # of this server; refused ones are not among them

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.timeout_keep_alive = self.limits.keep_alive_seconds  # type: ignore[assignment]  # any number of seconds
        # The head has been measured before; what stands between chunks has the same limit
        self.conn: _Parser = _Parser(self.limits)
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._thrown_away: int | None = None  # bytes read since the answer was complete; None before

    # What asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Give the client its time for a first request, or refuse one client too many."""
        self._socket = transport
        _choose_socket_options(transport.get_extra_info("socket"))
        self._transport = _Transport(transport, self._close)
        super().connection_made(self._transport)
        if len(self.open) < self.limits.connections:
            self.open.add(self)
            self._allow("header", self.limits.header_seconds, self._too_slow)
        elif len(self.connections) <= self.limits.connections + REFUSED_AT_ONCE:
            self._refuse(_too_many(self.limits.connections))
        else:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client."""
        self.open.discard(self)
        super().connection_lost(error)
        self._end_all_deadlines()

    def data_received(self, data: bytes) -> None:
        """Hand on what the client sends, or throw it away once it has its answer."""
        if self._thrown_away is None:
            super().data_received(data)
            return
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self._socket.abort()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is made."""
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        """The client has taken what waited."""
        super().resume_writing()
        self._end_deadline("write")

    def stop(self) -> None:
        """End, since the server does: a request that has no answer yet is refused, a half-taken answer is cut off."""
        if self.cycle is not None and self.cycle.response_started:
            self._socket.abort()
        else:
            self._refuse(Refusal(503, "stopping", "the server is shutting down", headers={"Retry-After": "1"}))

    # What uvicorn calls

    def handle_events(self) -> None:
        """Measure the head of a request before it is parsed; then see what the client owes."""
        refusal = self._measure_head() if self.conn.their_state is h11.IDLE else None
        if refusal is not None:
            self._refuse(refusal)
            return
        super().handle_events()
        if self.transport.is_closing():
            return
        self._set_deadlines()

    def on_response_complete(self) -> None:
        """The answer is made; the client may not have taken it yet."""
        super().on_response_complete()
        self._watch_taking()

    def send_400_response(self, msg: str) -> None:
        """What h11 cannot read, or must not."""
        self._refuse(self.conn.refusal or Refusal(400, "bad_request", "this is no valid HTTP request"))

    def _should_upgrade(self) -> bool:
        return False  # nor warn: a client could fill the log with it

    # What is ours

    def _measure_head(self) -> Refusal | None:
        waiting = self.conn.trailing_data[0]
        end = _END_OF_HEAD.search(waiting)
        head = waiting[: end.start()] if end else waiting.rstrip(b"\r\n")  # of its end, a part may be here
        target = head.partition(b"\n")[0].partition(b" ")[2].partition(b" ")[0]
        limits = self.limits
        if len(target) > limits.url_bytes:
            return Refusal(414, "url_too_long", f"an address of more than {limits.url_bytes:,} bytes")
        if len(head) > limits.header_bytes:
            return Refusal(431, "headers_too_large", f"headers of more than {limits.header_bytes:,} bytes")
        if head.count(b"\n") > limits.header_lines:
            return Refusal(431, "headers_too_large", f"more than {limits.header_lines:,} header lines")
        return None

    def _set_deadlines(self) -> None:
        state = self.conn.their_state
        if state is h11.IDLE and self.conn.trailing_data[0]:
            self._allow("header", self.limits.header_seconds, self._too_slow)
        if state is not h11.IDLE:
            self._end_deadline("header")
        if state is h11.SEND_BODY:
            self._allow("body", self.limits.body_seconds, self._too_slow)
        else:
            self._end_deadline("body")
        if not self._socket.get_write_buffer_size():
            self._end_deadline("write")

    def _too_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # a browser connects ahead of time; there is nothing to answer
        else:
            self._refuse(Refusal(408, "too_slow", "the request did not arrive in time"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without the application, if it has not begun to, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._write(refusal)
        self.transport.close()

    def _write(self, refusal: Refusal) -> None:
        body = json.dumps(refusal.to_json()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        start = h11.Response(
            status_code=refusal.status,
            headers=list((headers | SECURITY_HEADERS | refusal.headers).items()),
            reason=STATUS_PHRASES[refusal.status],
        )
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")

    def _close(self) -> None:
        """Close behind the answer, which the client must be able to read: see the module."""
        self._end_all_deadlines()
        if self.conn.their_state in (h11.DONE, h11.CLOSED, h11.MUST_CLOSE):
            self._socket.close()
            self._watch_taking()
            return
        self._thrown_away = 0
        try:
            self._socket.write_eof()
            self._socket.resume_reading()
        except OSError:  # the client has cut the connection; asyncio has not seen it yet
            self._socket.abort()
        else:
            self._allow("linger", LINGER_SECONDS, self._socket.abort)

    def _watch_taking(self) -> None:
        if self._socket.get_write_buffer_size():
            self._allow("write", self.limits.write_seconds, functools.partial(self._check_taking, self._taken()))

    def _check_taking(self, before: int) -> None:
        self._end_deadline("write")
        if self._socket.get_write_buffer_size() and self._taken() - before < LEAST_TAKEN:
            self._socket.abort()
        else:
            self._watch_taking()

    def _taken(self) -> int:
        """Bytes that the client, or the system on its behalf, has taken so far."""
        return self._transport.written - self._socket.get_write_buffer_size()

    def _allow(self, what: str, seconds: float, otherwise: Callable[[], None]) -> None:
        if what not in self._deadlines:
            self._deadlines[what] = self.loop.call_later(seconds, otherwise)

    def _end_deadline(self, what: str) -> None:
        if what in self._deadlines:
            self._deadlines.pop(what).cancel()

    def _end_all_deadlines(self) -> None:
        for what in list(self._deadlines):
            self._end_deadline(what)


class _Parser(h11.Connection):
    """Counts the chunks of a body, and all around them: what has arrived is read at once, and meanwhile nobody else is
    answered.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.header_bytes + 16)
        self._limits = limits
        self._chunks = self._bytes = 0
        self._received = 0  # bytes since the head of the request, read or not
        self.refusal: Refusal | None = None  # why no more is read

    def receive_data(self, data: bytes) -> None:
        """Keep data until they are asked for."""
        self._received += len(data)
        super().receive_data(data)

    def next_event(self) -> Any:
        """The next event; raises RemoteProtocolError, as for what is no HTTP, where the chunks are too many."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            self._received = len(self.trailing_data[0])
        elif isinstance(event, h11.Data):
            if event.chunk_start:
                self._check_chunks()
                self._chunks += 1
            self._bytes += len(event.data)
            self._check_around_chunks()
        elif isinstance(event, h11.EndOfMessage):
            self._check_around_chunks()
        return event

    def _check_chunks(self) -> None:
        """Judges the chunks that are complete."""
        most, least = self._limits.chunks, self._limits.chunk_bytes
        if self._chunks >= most and self._bytes < least * self._chunks:
            self.refusal = Refusal(
                413,
                "too_many_chunks",
                f"more than {most:,} chunks of {self._bytes / self._chunks:.1f} bytes on average",
                hint=f"send chunks of at least {least} bytes, or the body at once with its Content-Length",
            )
            raise h11.RemoteProtocolError("too many chunks")

    def _check_around_chunks(self) -> None:
        """Extensions of chunks, and the lines after the last, are read and thrown away: all of them count."""
        around = self._received - self._bytes
        allowed = self._limits.header_bytes + CHUNK_LINES_BYTES * self._chunks
        # What has not been read yet is a copy to ask for, so only if it matters
        if around > allowed and around - len(self.trailing_data[0]) > allowed:
            self.refusal = Refusal(
                431,
                "headers_too_large",
                f"extensions of chunks and trailers of more than {self._limits.header_bytes:,} bytes",
                hint="send none: they are not read",
            )
            raise h11.RemoteProtocolError("too much around the chunks")


class _Transport(asyncio.Transport):
    """The transport as uvicorn sees it; only closing is ours."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close
        self._closed = False
        self.written = 0  # bytes

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._close()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closed:
            self.written += len(data)
            self._transport.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


def _choose_socket_options(connection: socket.socket) -> None:
    # asyncio does this by itself, but not for sockets of a listener that was made elsewhere: headers and body of an
    # answer are two writes, and the second would wait 40 ms for the client's acknowledgement of the first.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # 64 KB that the client has not taken may wait in the system, not megabytes: else slow clients cannot be told.
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, LEAST_TAKEN)


def _too_many(limit: int) -> Refusal:
    return Refusal(
        503, "too_many_connections", f"{limit:,} clients are connected already", headers={"Retry-After": "1"}
    )

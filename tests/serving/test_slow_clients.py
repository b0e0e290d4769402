"""500 clients that send or read a byte now and then are closed in time, and nobody else waits for them (A5.5)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
import uvicorn

from fieldmark.serving.connections import protocol
from fieldmark.serving.limits import Limits
from tests.serving.clients import FORM, Server, ask, form, part, request, serving

# A tenth of what a server has by default
SHORT = Limits(header_seconds=1, body_seconds=2, write_seconds=1, connections=700)
LONGEST = 2  # seconds
BETWEEN = 0.3  # seconds between two bytes of one client


def slow_headers(port: int) -> tuple[bytes, bytes]:
    return b"", request(port)


def slow_body(port: int) -> tuple[bytes, bytes]:
    whole = request(port, body=form(part(b"x" * 1_000)), Content_Type=FORM)
    return whole[:-900], whole[-900:]


def slow_reader(port: int) -> tuple[bytes, bytes]:
    return request(port, "/long", method="GET"), b""


KINDS: tuple[tuple[int, Callable[[int], tuple[bytes, bytes]]], ...] = (
    (200, slow_headers),
    (200, slow_body),
    (100, slow_reader),
)


class Slow:
    """One client: what it sends at once, then byte after byte; reads a byte now and then."""

    def __init__(self, port: int, at_once: bytes, slowly: bytes) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(at_once)
        self.socket.setblocking(False)
        self.slowly = slowly
        self.sent = 0

    def step(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError, BrokenPipeError):
            self.socket.send(self.slowly[self.sent : self.sent + 1])
            self.sent += 1
        if not self.slowly:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self.socket.recv(1)


@pytest.mark.slow
def test_five_hundred_slow_clients_are_closed_in_time_and_hold_up_nobody() -> None:
    with serving(SHORT) as server:
        waits: list[float] = []
        ended = threading.Event()
        normal = threading.Thread(target=ask_until, args=(server, ended, waits))
        clients = [Slow(server.port, *kind(server.port)) for count, kind in KINDS for _ in range(count)]
        begun = time.monotonic()
        normal.start()
        most = 0
        while time.monotonic() - begun < LONGEST + 2:
            for client in clients:
                client.step()
            most = max(most, len(server.alive))
            time.sleep(BETWEEN)
        left = len(server.alive)
        ended.set()
        normal.join()
        for client in clients:
            client.socket.close()
        assert most >= 500
        assert left <= 1  # the normal client's own
        assert server.budget.taken == 0
    waits.sort()
    assert len(waits) >= 50
    assert waits[int(len(waits) * 0.99)] <= 1


def ask_until(server: Server, ended: threading.Event, waits: list[float]) -> None:
    """A normal client, which asks again every 20 ms."""
    while not ended.is_set():
        begun = time.monotonic()
        assert ask(server.port, request(server.port, "/", method="GET", Connection="close")).status == 200
        waits.append(time.monotonic() - begun)
        time.sleep(0.02)


def test_a_short_answer_that_nobody_reads_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into the buffers never stops the application from writing; its time is counted all the same."""
    with serving(Limits(write_seconds=0.3, keep_alive_seconds=0.2)) as server:
        client = Slow(server.port, request(server.port, "/long", method="GET") * 3, b"")
        begun = time.monotonic()
        while not server.alive or time.monotonic() - begun < 0.1:
            time.sleep(0.01)
        while server.alive:
            assert time.monotonic() - begun < 5
            time.sleep(0.01)
        client.socket.close()


def test_a_client_that_reads_at_leisure_gets_the_whole_answer() -> None:
    """It may take longer than its seconds for the whole, as long as it takes something meanwhile."""
    with serving(Limits(write_seconds=0.1)) as server:
        client = Slow(server.port, request(server.port, "/long", method="GET", Connection="close"), b"")
        client.socket.settimeout(5)
        received, begun = 0, time.monotonic()
        while chunk := client.socket.recv(2**18):
            received += len(chunk)
            time.sleep(0.001)
        client.socket.close()
        assert received > 1_000_000
        assert time.monotonic() - begun > 0.2


def test_an_idle_connection_is_closed() -> None:
    with (
        serving(Limits(keep_alive_seconds=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection,
    ):
        connection.sendall(request(server.port, "/", method="GET"))
        received = b""
        while chunk := connection.recv(1000):
            received += chunk
        assert received.endswith(b"hello")


def test_a_second_request_has_its_header_seconds_too() -> None:
    with (
        serving(Limits(header_seconds=0.3, keep_alive_seconds=5)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection,
    ):
        connection.sendall(request(server.port, "/", method="GET") + b"GET")
        received = b""
        while chunk := connection.recv(1000):
            received += chunk
        assert b"hello" in received
        assert b"too_slow" in received


def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_headers() -> None:
    # A listener made by hand has protocol 0, for which asyncio leaves Nagle's algorithm on: each answer 40 ms later.
    limits = Limits()
    options: list[int] = []

    async def serve_one() -> None:
        class Spied(protocol(limits)):  # type: ignore[misc]
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                connection = transport.get_extra_info("socket")
                options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        config = uvicorn.Config(lambda: None, http=Spied, lifespan="off", log_config=None)
        config.load()
        state = uvicorn.server.ServerState()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            loop = asyncio.get_running_loop()
            running = await loop.create_server(lambda: Spied(config, state, {}), sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            while not options:
                await asyncio.sleep(0.01)
            writer.close()
            running.close()

    asyncio.run(serve_one())
    assert options[0] != 0

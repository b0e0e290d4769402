"""Fixtures of the service: in this process (`client`), and as a user starts it (`server`)."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fieldmark.serving.access import Access
from fieldmark.serving.app import build_app
from fieldmark.serving.guard import Guard
from fieldmark.serving.limits import Limits
from fieldmark.serving.metrics import Measured
from fieldmark.serving.service import Service, build_service

TOKEN = "a-token-for-tests"
START_SECONDS = 60
CONNECT = socket.socket.connect


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere, but this machine may be asked."""

    def loopback_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError("tests have no network")
        CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture
def service(trained: Path) -> Service:
    """The service of the small run; not started. `Limits()` unless a test builds its own."""
    return build_service(trained, Limits())


@contextlib.contextmanager
def client_of(service: Service) -> Iterator[TestClient]:
    """A client of the whole application in this process, guard included; it has the token."""
    access = Access(TOKEN, ("127.0.0.1:8000",))
    app = Measured(Guard(build_app(service), access, service.limits), service.metrics)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    """A client of `service`."""
    with client_of(service) as client:
        yield client


class Server:
    """A `fieldmark serve` process."""

    def __init__(self, run: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "fieldmark", "serve", str(run), "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FIELDMARK_TOKEN": TOKEN},
        )
        self.token = TOKEN
        self.lines: list[str] = []
        self.errors: list[str] = []
        first: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines, first.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors, lambda line: None)),
        ]
        for reader in self._readers:
            reader.start()
        try:
            line = first.get(timeout=START_SECONDS)
        except queue.Empty:
            self.end(signal.SIGKILL)
            raise AssertionError(f"the server did not start: {self.errors}") from None
        found = re.fullmatch(r"https?://(.+?)(?::(\d+))?/\?token=(.+)\n", line)
        assert found is not None, line
        self.host, self.port = found[1], int(found[2] or 0)  # 0: behind a proxy
        self.url = f"http://{self.host}:{self.port}"

    @staticmethod
    def _read(stream: Any, lines: list[str], on_line: Callable[[str], object]) -> None:
        for line in stream:
            lines.append(line)
            on_line(line)
        on_line("")

    def end(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@contextlib.contextmanager
def serving(run: Path, *arguments: str) -> Iterator[Server]:
    """A server of one's own, for tests that end it or give it other options."""
    server = Server(run, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def server(trained: Path) -> Iterator[Server]:
    """The small run, served as a user serves it, for all tests; never to be ended by one of them."""
    with serving(trained) as server:
        yield server
        assert server.end() == 0
        assert server.errors == []

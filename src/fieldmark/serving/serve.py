"""Serve: the `fieldmark serve` command: a socket, the service, the address line, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from fieldmark.errors import FieldmarkError, OutputError
from fieldmark.serving.access import Access, loopback_hosts, new_token
from fieldmark.serving.app import build_app
from fieldmark.serving.connections import Connection, allow_open_files, protocol
from fieldmark.serving.guard import Guard
from fieldmark.serving.limits import Limits
from fieldmark.serving.memory import give_large_blocks_back
from fieldmark.serving.metrics import Measured
from fieldmark.serving.opening import Opening
from fieldmark.serving.service import build_service

BACKLOG = 2048  # connections that the system holds before the server takes them
DRAIN_SECONDS = 7  # for requests under way when the server is told to end
REFUSE_SECONDS = 1.5  # for those that are not done by then, to be told so
ACCEPT_SECONDS = 0.05  # for connections that the system has taken for us
GRACE_SECONDS = 0.5  # for requests that were sent before their clients could know of the end
LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_TOKEN = 16  # characters
NO_BROWSER = "warning: no browser could be opened; open the address by hand"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # and where this machine reaches it


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed_hosts: Sequence[str] = (),
    https: bool = False,
    token: str | None = None,
    limits: Limits | None = None,
    open_browser: bool = False,
    on_ready: Callable[[str], None],
    on_warning: Callable[[str], object] = lambda line: None,
) -> None:
    """Answer until SIGTERM or Ctrl-C; requests under way then are answered first.

    `path` is a run folder or its model.onnx, `port` 0 any free one, `allowed_hosts` the names (`name` or `name:port`)
    under which others may reach the server, `https` whether a proxy has them come by HTTPS, to the first of these
    names, `token` a secret of your own. `on_ready` is given the address with its token once the server answers;
    `open_browser` then opens it. `on_warning` is given what whoever starts the server should know, a line each.
    Raises ModelFileError for a classifier that cannot be loaded, OutputError for an address that cannot be had,
    FieldmarkError for a token that no address or header can hold, and on Windows.
    """
    check_system(sys.platform)
    limits = limits or Limits()
    allow_open_files(limits)
    give_large_blocks_back()
    token = check_token(token) if token else new_token()
    with listening(host, port) as listener, Opening(lambda: on_warning(NO_BROWSER)) as opening:
        port = listener.getsockname()[1]
        address = f"{origin(host, port, allowed_hosts, https=https)}/?token={token}"
        access = Access(token, hosts(host, port, allowed_hosts), https=https)
        service = build_service(path, limits, on_unlimited=lambda names: on_warning(unlimited_warning(names)))
        app = Measured(Guard(build_app(service), access, limits, on_entry=opening.done), service.metrics)
        for line in warnings(host, allowed_hosts):
            on_warning(line)

        def ready() -> None:
            on_ready(address)
            if open_browser:
                opening.open(address)

        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(Server(_config(app, limits), ready).serve(sockets=[listener]))


def _config(app: Measured, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(limits),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",  # what a client gets wrong is no news; it could fill the log with it
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS + REFUSE_SECONDS,  # type: ignore[arg-type]  # any number
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop's, which answers about 8 % more images a second; there is none for Windows."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


class Server(uvicorn.Server):
    """uvicorn's server; says when it is ready, and ends by our signals with exit code 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, answer what was sent on the open ones, and close them."""
        await asyncio.sleep(ACCEPT_SECONDS)
        for listener in self.servers:
            listener.close()
        # uvicorn closes idle connections at once, and with them a request that has just been sent there
        self.server_state.default_headers.append((b"connection", b"close"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                while self.server_state.connections:
                    await asyncio.sleep(0.01)
        # uvicorn would cancel them, log each with its traceback, and answer with a 500 of its own
        refusing = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._refuse_the_rest)
        await super().shutdown(sockets)
        refusing.cancel()
        if self.force_exit:  # uvicorn leaves everything as it is
            self._refuse_the_rest()
            await asyncio.sleep(ACCEPT_SECONDS)
            await self.lifespan.shutdown()

    def _refuse_the_rest(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain at the first signal; a second Ctrl-C ends at once. uvicorn would raise the signal again at the end."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises OutputError where the address is empty, taken, foreign or forbidden."""
    if not host.strip():  # the system would take it for every network card
        raise OutputError(
            "--host is empty", hint="127.0.0.1 is this machine alone, 0.0.0.0 every network card; the former is usual"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise _cannot_listen(host, port, error) from error
    with listener:
        yield listener


def _cannot_listen(host: str, port: int, error: Exception) -> OutputError:
    number = getattr(error, "errno", None) or 0
    hints = {
        errno.EADDRINUSE: "another program listens there; give --port another number, or 0 for any free one",
        errno.EACCES: "ports below 1024 are the administrator's; give --port 8000",
        errno.EADDRNOTAVAIL: "no network card of this machine has that address; 127.0.0.1 is this machine alone",
    }
    hint = hints.get(number, "give --host an address of this machine, such as 127.0.0.1")
    # The numbers of a name that nobody knows are below 0, and not the system's; Python adds where it was used
    reason = os.strerror(number) if number > 0 else str(getattr(error, "strerror", error)).partition(" (while")[0]
    return OutputError(f"cannot listen on {host}:{port}: {reason}", hint=hint)


def hosts(host: str, port: int, allowed: Sequence[str]) -> tuple[str, ...]:
    """The values of Host that are answered: this machine's names, the address, and what was allowed."""
    own = () if host in (*LOOPBACK, *EVERYWHERE) else (f"{_in_url(host)}:{port}",)
    return (*loopback_hosts(port), *own, *allowed)


def reached_at(host: str) -> str:
    """The address to open on this machine.

    >>> reached_at("0.0.0.0"), reached_at("10.0.0.5")
    ('127.0.0.1', '10.0.0.5')
    """
    return EVERYWHERE.get(host, host)


def origin(host: str, port: int, allowed: Sequence[str], *, https: bool) -> str:
    """The address of the page: on this machine, or by `https` at the first allowed name. Raises FieldmarkError.

    >>> origin("::", 8000, (), https=False), origin("127.0.0.1", 8000, ["cats.example"], https=True)
    ('http://[::1]:8000', 'https://cats.example')
    """
    if not https:
        return f"http://{_in_url(reached_at(host))}:{port}"
    if not allowed:
        raise FieldmarkError(
            "--https needs the name under which the proxy is reached", hint="add it, such as --allow-host cats.example"
        )
    return f"https://{allowed[0]}"


def check_system(platform: str) -> None:
    """Raise FieldmarkError on Windows, where a process cannot be given a socket as its standard input."""
    if platform == "win32":
        raise FieldmarkError(
            "fieldmark serve does not run on Windows: the processes that decode images need sockets and limits of Unix",
            hint="run it in WSL or in a container; `fieldmark predict` and `fieldmark explain` run on Windows",
        )


def unlimited_warning(names: Sequence[str]) -> str:
    """What whoever starts a server should know where its workers lack limits.

    >>> unlimited_warning(["memory"])[:62]
    'warning: this system sets no limit on memory for the processes'
    """
    return (
        f"warning: this system sets no limit on {', '.join(names)} for the processes that decode images: "
        "a hostile file may use up more of the machine than it should"
    )


def check_token(token: str) -> str:
    """A token of one's own, if it can stand in an address, a header and a cookie. Raises FieldmarkError."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        reason = "holds characters that an address cannot hold"
    elif len(token) < LEAST_TOKEN:
        reason = f"has {len(token)} characters: it could be guessed; expected at least {LEAST_TOKEN}"
    else:
        return token
    raise FieldmarkError(
        f"FIELDMARK_TOKEN {reason}", hint="use letters, digits and ._~- only, chosen by chance, better 32 of them"
    )


def warnings(host: str, allowed: Sequence[str]) -> list[str]:
    """What whoever starts a server for others should know."""
    if host in LOOPBACK:
        return []
    lines = [f"warning: {host} is not this machine alone: whoever reaches it and knows the token can use the service"]
    if host in EVERYWHERE and not allowed:
        lines.append("warning: only requests to localhost are answered; name others with --allow-host NAME")
    return lines


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host

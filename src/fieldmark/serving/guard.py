"""Guard: the outermost ASGI application. Judges each request before any route or parser sees it, and sends the headers
that keep a browser from doing more than the page needs.

What ASGI cannot see (slow clients, too many of them, what is no HTTP) is in `fieldmark.serving.connections`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from importlib import resources
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldmark.serving import access as checks
from fieldmark.serving import refusals
from fieldmark.serving.access import Access
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.uploads import AT_END

WITHOUT_TOKEN = ("/healthz", "/readyz")  # what a process manager asks; they tell nothing
REPORT = "/report/"

# Everything of the page comes from this server, in files: no inline script or style, no frame around it, no form.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The report is one file with its style and script inside, as it lies on a disk. The script must be the one of this
# version: a run folder may come from a stranger.
REPORT_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_MOVING_ON = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="0; url=/"><title>Fieldmark</title><p><a href="/">Open the page</a></p></html>
"""


class Guard:
    """Wraps an application; see the module. `on_entry` is called when somebody has brought the token."""

    def __init__(
        self, app: ASGIApp, access: Access, limits: Limits, *, on_entry: Callable[[], None] = lambda: None
    ) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._on_entry = on_entry
        self._report_policy = REPORT_POLICY.format(script=_hash_of_report_script())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, hand it to the application, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # no route speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(scope, receive, self._limits.request_bytes)
        answer = _Answer(send, body, self._policy(scope["path"]))
        refusal = judge(scope, self._access, self._limits) or body.announced_too_large()
        if refusal is not None:
            await answer.refuse(scope, refusal)
        elif _brought_tokens(scope):
            await _entry(scope, self._access)(scope, body.receive, answer.send)
            self._on_entry()
        else:
            await self._pass_on(scope, body, answer)

    async def _pass_on(self, scope: Scope, body: _Body, answer: _Answer) -> None:
        with contextlib.ExitStack() as at_end, contextlib.suppress(ClientDisconnect):
            scope[AT_END] = at_end
            try:
                await self._app(scope, body.receive, answer.send)
            except Refusal as refusal:
                # Its traceback would hold what was read of the body until the garbage collector comes by
                body.refusal = body.refusal or refusal.with_traceback(None)
            if body.refusal is not None and not answer.started:
                await answer.refuse(scope, body.refusal)

    def _policy(self, path: str) -> str:
        return self._report_policy if path.startswith(REPORT) else CONTENT_POLICY


def judge(scope: Scope, access: Access, limits: Limits) -> Refusal | None:
    """Everything that can be said by the request line and the headers."""
    headers = scope["headers"]
    return (
        _check_target(scope, limits)
        or _check_framing(headers)
        or checks.check_host(access, headers)
        or checks.check_site(scope["method"], headers, https=access.https)
        or _check_token(scope, access)
    )


def _check_target(scope: Scope, limits: Limits) -> Refusal | None:
    """A path of this server: not the address of another, nothing that a file system could read as a way up."""
    raw = scope.get("raw_path") or scope["path"].encode()
    length = len(raw + b"?" + scope["query_string"]) if scope["query_string"] else len(raw)
    if length > limits.url_bytes:
        return Refusal(414, "url_too_long", f"an address of {length:,} bytes; at most {limits.url_bytes:,} are read")
    if not raw.startswith(b"/") or raw.startswith(b"//"):
        return Refusal(400, "bad_request", "the request names no path of this server; expected GET /path")
    path = scope["path"]
    if "\\" in path or any(part in (".", "..") for part in path.split("/")) or not path.isprintable():
        return Refusal(404, "not_found", "no such page, image or file")
    return None


def _check_framing(headers: list[tuple[bytes, bytes]]) -> Refusal | None:
    """A body with two lengths could end elsewhere for the proxy in front than here (RFC 9112, 6.1)."""
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
        return Refusal(400, "bad_request", "Content-Length and Transfer-Encoding exclude each other")
    return None


def _check_token(scope: Scope, access: Access) -> Refusal | None:
    if scope["path"] in WITHOUT_TOKEN:
        return None
    given = _brought_tokens(scope)
    if given:
        if len(given) == 1 and checks.is_token(access, given[0]):
            return None
        return checks.wrong_token()
    return checks.check_token(access, scope["headers"])


def _brought_tokens(scope: Scope) -> list[bytes]:
    """Of GET /?token=..., the address that the server printed when it started; empty for every other request."""
    if scope["method"] != "GET" or scope["path"] != "/":
        return []
    # Latin-1 has a character for each byte; parse_qs of bytes fails on whatever is no ASCII
    query = scope["query_string"].decode("latin-1")
    given = parse_qs(query, keep_blank_values=True, encoding="latin-1").get("token", [])
    return [value.encode("latin-1") for value in given]


def _entry(scope: Scope, access: Access) -> Response:
    """Give the token as a cookie, and lead on to the address without it."""
    cookie = {"Set-Cookie": checks.set_cookie(access, scope["headers"])}
    if refusals.wants_page(scope) and not checks.is_direct(scope["headers"]):
        # Behind a link of another site, or of a file, no redirect has the cookie sent; a page of our own has
        return HTMLResponse(_MOVING_ON, headers=cookie)
    return RedirectResponse("/", 303, cookie)


class _Body:
    """The body of a request, counted as it arrives."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._count = 0
        headers = dict(scope["headers"])
        self._announced = int(headers.get(b"content-length", b"0"))  # the server has seen that it is a number
        self.complete = not self._announced and b"transfer-encoding" not in headers
        self.refusal: Refusal | None = None
        self.left = False  # whether the client has gone

    def announced_too_large(self) -> Refusal | None:
        """Refuse before the first byte where the client says itself that it sends too many."""
        return self._too_large() if self._announced > self._limit else None

    async def receive(self) -> Message:
        """The next event; raises Refusal where the body has become too large, however often it is asked."""
        if self.refusal is not None:
            raise self.refusal
        message = await self._receive()
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self._count > self._limit:
                self.refusal = self._too_large()
                raise self.refusal
        else:
            self.left = True
        return message

    def _too_large(self) -> Refusal:
        return Refusal(
            413,
            "request_too_large",
            f"the request has more than {self._limit:,} bytes",
            hint="send the images in several requests",
        )


class _Answer:
    """What goes back, with the security headers. Nothing of the application's once the body was refused or cut off."""

    def __init__(self, send: Send, body: _Body, policy: str) -> None:
        self._send = send
        self._body = body
        self._policy = policy
        self.started = False

    async def send(self, message: Message) -> None:
        if not self.started and (self._body.refusal is not None or self._body.left):
            return  # the application's words about it: the guard's own follow, or nobody reads them
        await self._send_with_headers(message)

    async def refuse(self, scope: Scope, refusal: Refusal) -> None:
        await refusals.response(refusal, scope)(scope, self._body.receive, self._send_with_headers)

    async def _send_with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers["Content-Security-Policy"] = self._policy
            if not self._body.complete:
                headers["Connection"] = "close"  # nobody will read the rest
        await self._send(message)


def _hash_of_report_script() -> str:
    """As `fieldmark.report.render` writes it into a report's own policy."""
    script = (resources.files("fieldmark") / "report" / "static" / "report.js").read_bytes()
    return base64.b64encode(hashlib.sha256(script).digest()).decode()

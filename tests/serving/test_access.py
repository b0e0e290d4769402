"""Who may ask: Host and DNS rebinding (A5.7), other sites' pages (A5.8), the token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from fieldmark.errors import FieldmarkError
from fieldmark.serving import access
from fieldmark.serving.access import Access, loopback_hosts
from fieldmark.serving.guard import Guard
from fieldmark.serving.limits import Limits
from tests.serving.clients import TOKEN, Server, ask, request, serving

PORT = 8000
OTHER_HOSTS = [
    "evil.com",
    "evil.com:8000",
    "localhost.evil.com:8000",
    "127.0.0.1.evil.com:8000",
    "127.0.0.1.nip.io:8000",
    "localhost.:8000",
    "127.0.0.1.:8000",
    "evil-localhost:8000",
    "xlocalhost:8000",
    "localhostx:8000",
    "localhost",
    "localhost:",
    "localhost:80",
    "localhost:8001",
    "localhost:08000",
    "localhost:8000:8000",
    "localhost:80000",
    "localhost:-8000",
    "localhost:8000a",
    "localhost: 8000",
    "localhost :8000",
    "local host:8000",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1:8001",
    "127.0.0.2:8000",
    "127.1:8000",
    "127.0.1:8000",
    "127.000.000.001:8000",
    "0127.0.0.1:8000",
    "0x7f.0.0.1:8000",
    "0x7f000001:8000",
    "2130706433:8000",
    "017700000001:8000",
    "0.0.0.0:8000",
    "0:8000",
    "[::]:8000",
    "[::1]",
    "[::1]:8001",
    "::1:8000",
    "[::1:8000",
    "::1]:8000",
    "[0:0:0:0:0:0:0:1]:8000",
    "[::ffff:127.0.0.1]:8000",
    "[::ffff:7f00:1]:8000",
    "[::1%25lo]:8000",
    "[::1%lo]:8000",
    "[fe80::1]:8000",
    "user@localhost:8000",
    "user:password@127.0.0.1:8000",
    "localhost:8000@evil.com",
    "localhost:8000/",
    "localhost:8000/@evil.com",
    "localhost:8000?x=",
    "localhost:8000#x",
    "a/?x=localhost:8000",
    "localhost:8000,evil.com",
    "evil.com,localhost:8000",
    "localhost:8000 evil.com",
    "http://localhost:8000",
    "//localhost:8000",
    "localhost%00:8000",
    "localhost%2ecom:8000",
    "ⓛocalhost:8000",
    "１２７.0.0.1:8000",
    "lοcalhost:8000",
    "*",
    "*:8000",
    ".",
    "",
    "8000",
    ":8000",
    "null",
    "internal.cats.example.evil.com",
    "cats.example.",
    "cats.example:8000",
    "xcats.example",
]
OWN_HOSTS = [
    "localhost:8000",
    "LocalHost:8000",
    "127.0.0.1:8000",
    "[::1]:8000",
    "cats.example",
    "CATS.example:443",
    "cats.example:80",
]
TARGETS = [
    "/",
    f"/?token={TOKEN}",
    "/static/page.js",
    "/api/predict",
    "/api/explain",
    "/api/model",
    "/api/review",
    "/api/review/1",
    "/api/review/1/image",
    "/report/",
    "/report/report_files/1.jpg",
    "/openapi.json",
    "/docs",
    "/healthz",
    "/readyz",
    "/metrics",
    "/nothing",
]


class Reached(list[str]):
    """An application that says yes to everything, and notes that it was asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def judged(
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    kind: str = "http",
    token: str = TOKEN,
    https: bool = False,
) -> tuple[int, dict[str, str], bool]:
    """Status, headers and whether the application was reached, for one request through the guard."""
    reached = Reached()
    guard = Guard(reached, Access(TOKEN, (*loopback_hosts(PORT), "cats.example"), https=https), Limits())
    path, _, query = target.partition("?")
    encoded = [(name.encode("utf-8"), value.encode("utf-8")) for name, value in headers]
    if token:
        encoded.append((b"authorization", f"Bearer {token}".encode()))
    scope: dict[str, Any] = {"type": kind, "method": method, "path": path, "raw_path": path.encode()}
    scope |= {"query_string": query.encode(), "headers": encoded, "http_version": "1.1"}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    answering = guard(scope, receive, send)
    with pytest.raises(StopIteration):  # nothing waits for anything, so no event loop is needed
        answering.send(None)
    if kind == "websocket":
        return (0 if sent == [{"type": "websocket.close", "code": 1008}] else 101), {}, bool(reached)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, bool(reached)


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_reaches_nothing(host: str) -> None:
    for target in TARGETS:
        for method in ("GET", "HEAD", "POST", "PUT"):
            status, answered, reached = judged(method, target, [("host", host)])
            assert (status, reached, "set-cookie" in answered) == (421, False, False)
        assert judged("GET", target, [("host", host)], kind="websocket") == (0, {}, False)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_our_own_hosts_reach_everything_but_websockets(host: str) -> None:
    for target in TARGETS:
        status, _, reached = judged("GET", target, [("host", host)])
        assert (status, reached) == ((303, False) if "token" in target else (200, True))
        assert judged("GET", target, [("host", host)], kind="websocket") == (0, {}, False)


@pytest.mark.parametrize("hosts", [[], ["localhost:8000", "localhost:8000"], ["localhost:8000", "evil.com"]])
def test_a_host_that_is_missing_or_doubled_is_no_request(hosts: list[str]) -> None:
    for method in ("GET", "POST"):
        assert judged(method, "/", [("host", host) for host in hosts])[::2] == (400, False)


def test_a_forwarded_host_is_not_believed() -> None:
    for name in ("x-forwarded-host", "forwarded", "x-host", "x-original-url", "x-rewrite-url"):
        assert judged("GET", "/", [("host", "evil.com"), (name, "localhost:8000")])[0] == 421


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(Limits()) as running:
        yield running


@pytest.mark.parametrize("host", [host for host in OTHER_HOSTS if host.isascii() and host.strip()])
def test_another_host_is_refused_on_the_wire(server: Server, host: str) -> None:
    for sent in (host, host.replace("8000", str(server.port))):
        answer = ask(server.port, request(server.port, "/change", method="PUT", Host=sent))
        if sent in (f"localhost:{server.port}", f"127.0.0.1:{server.port}"):
            continue
        assert answer.status in (400, 421), sent
    assert server.changes == []


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.com/change",
        "http://127.0.0.1/change",
        "https://localhost:8000/change",
        "//evil.com/change",
        "//change",
        "@evil.com/change",
        ":80/change",
        "*",
        "evil.com:80",
        "change",
        "?/change",
        "\\change",
    ],
)
def test_a_target_that_is_no_path_is_refused_on_the_wire(server: Server, target: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS", "CONNECT"):
        assert ask(server.port, request(server.port, target, method=method)).status == 400
    assert server.changes == []


def test_an_upgrade_stays_plain_http(server: Server) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert ask(server.port, request(server.port, "/", method="GET", **upgrade)).status == 200
    assert ask(server.port, request(server.port, "/", method="GET", **upgrade, Authorization="")).status == 401


# Sec-Fetch-Site x Origin x method, each with the cookie or token: 5 * 8 * 2 = 80
SITES = [None, "none", "same-origin", "same-site", "cross-site"]
ORIGINS = [
    None,
    "http://127.0.0.1:8000",
    "https://127.0.0.1:8000",
    "http://127.0.0.1:8001",
    "http://localhost:8000",
    "http://evil.com",
    "http://127.0.0.1:8000.evil.com",
    "null",
]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("site", SITES)
def test_only_our_own_pages_change_anything(site: str | None, origin: str | None, method: str) -> None:
    headers = [("host", "127.0.0.1:8000"), ("cookie", f"fieldmark-8000={TOKEN}")]
    headers += [("sec-fetch-site", site)] if site else []
    headers += [("origin", origin)] if origin else []
    own_origin = origin in (None, "http://127.0.0.1:8000", "https://127.0.0.1:8000")
    allowed = site in ("none", "same-origin") or (site is None and own_origin)
    status, _, reached = judged(method, "/api/review/1", headers, token="")
    assert (status, reached) == ((200, True) if allowed else (403, False))
    assert judged("GET", "/api/review", headers, token="")[0] == 200  # reading changes nothing


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "Same-Origin")],
        [("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.com")],
        [("origin", "")],
        [("origin", "127.0.0.1:8000")],
        [("origin", "file://127.0.0.1:8000")],
        [("origin", "http://user@127.0.0.1:8000")],
        [("origin", "http://127.0.0.1:8000/path")],
        [("origin", "http://evil.com#127.0.0.1:8000")],
        [("origin", "http://evil.com\\127.0.0.1:8000")],
    ],
)
def test_odd_headers_of_another_page_are_refused(headers: list[tuple[str, str]]) -> None:
    assert judged("POST", "/api/predict", [("host", "127.0.0.1:8000"), *headers])[::2] == (403, False)


HOST = ("host", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([("authorization", f"Bearer {TOKEN}")], True),
        ([("authorization", f"bearer {TOKEN}")], True),
        ([("authorization", f"Basic {TOKEN}")], False),
        ([("authorization", f"Bearer {TOKEN}x")], False),
        ([("authorization", f"Bearer {TOKEN[:-1]}")], False),
        ([("authorization", "Bearer ")], False),
        ([("authorization", "Bearer \xff")], False),
        ([("authorization", TOKEN)], False),
        ([("cookie", f"fieldmark-8000={TOKEN}")], True),
        ([("cookie", f"a=b; fieldmark-8000={TOKEN}; c=d")], True),
        ([("cookie", f"fieldmark-8000=old; fieldmark-8000={TOKEN}")], True),
        ([("cookie", f"fieldmark-8001={TOKEN}")], False),
        ([("cookie", f"fieldmark={TOKEN}")], False),
        ([("cookie", "fieldmark-8000=")], False),
        ([], False),
    ],
)
def test_the_token_is_asked_of_every_route_but_health(headers: list[tuple[str, str]], known: bool) -> None:
    for target in TARGETS:
        if "?" in target:
            continue
        status, answered, reached = judged("GET", target, [HOST, *headers], token="")
        assert reached == (known or target in ("/healthz", "/readyz"))
        assert status == (200 if reached else 401)
        assert ("www-authenticate" in answered) == (status == 401)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", f"/?token={TOKEN}", 303),
        ("GET", f"/?token={TOKEN}&x=1", 303),
        ("GET", "/?token=", 401),
        ("GET", "/?token=wrong", 401),
        ("GET", f"/?token={TOKEN}&token=wrong", 401),
        ("GET", f"/?Token={TOKEN}", 401),
        ("GET", "/?token=%ff", 401),
        ("GET", "/?token=%C3%A9", 401),
        ("GET", f"/?token={TOKEN}&token=%ff", 401),
        ("GET", f"/?token={TOKEN}%ff", 401),
        ("GET", f"/?token={TOKEN}&x=%ff", 303),
        ("GET", "/?x=%ff", 401),
        ("GET", "/?a=%ed%a0%80", 401),
        ("GET", "/?t\xf6ken=\xe9", 401),
        ("HEAD", f"/?token={TOKEN}", 401),
        ("POST", f"/?token={TOKEN}", 401),
        ("GET", f"/api/model?token={TOKEN}", 401),
        ("GET", f"/metrics?token={TOKEN}", 401),
    ],
)
def test_the_token_in_an_address_works_for_the_first_page_alone(method: str, target: str, status: int) -> None:
    found, answered, reached = judged(method, target, [HOST], token="")
    assert (found, reached) == (status, False)
    if status == 303:
        assert answered["location"] == "/"
        assert answered["set-cookie"] == f"fieldmark-8000={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    else:
        assert "set-cookie" not in answered


@pytest.mark.parametrize("query", ["token=%ff", "token=%C3%A9", "x=%ff", "a=%ed%a0%80", "%ff"])
def test_an_address_with_any_bytes_is_no_mistake_of_ours(
    server: Server, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    for target in (f"/?{query}", f"/api/model?{query}"):
        answer = ask(server.port, request(server.port, target, method="GET", Authorization=""))
        assert (answer.status, answer.code) == (401, "no_token")
    known = ask(server.port, request(server.port, f"/?{query}", method="GET"))
    assert known.status == (401 if query.startswith("token") else 200)
    assert caplog.records == []  # nobody without the token fills the log


FORWARDED = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-ssl", "on"),
    ("forwarded", "proto=https"),
    ("x-scheme", "https"),
]


@pytest.mark.parametrize("headers", [[], *([each] for each in FORWARDED)])
def test_the_cookie_is_for_https_alone_where_the_server_was_told_so_and_nowhere_else(
    headers: list[tuple[str, str]],
) -> None:
    told = [
        judged("GET", f"/?token={TOKEN}", [("host", "cats.example"), *headers], token="", https=https)[1]["set-cookie"]
        for https in (False, True)
    ]
    assert told == [f"fieldmark={TOKEN}; HttpOnly; SameSite=Strict; Path=/{end}" for end in ("", "; Secure")]


@pytest.mark.parametrize(
    ("origin", "https", "allowed"),
    [
        ("https://cats.example", True, True),
        ("http://cats.example", True, False),  # whoever is on the line may have written that page
        ("HTTP://cats.example", True, False),
        ("https://cats.example.evil.com", True, False),
        ("https://cats.example", False, True),  # behind a proxy that nobody told the server of
        ("http://cats.example", False, True),
    ],
)
def test_where_browsers_come_by_https_a_page_without_it_changes_nothing(
    origin: str, https: bool, allowed: bool
) -> None:
    headers = [("host", "cats.example"), ("origin", origin), ("cookie", f"fieldmark={TOKEN}"), *FORWARDED]
    assert judged("POST", "/api/predict", headers, token="", https=https)[0] == (200 if allowed else 403)


@pytest.mark.parametrize("target", ["/", "/api/model", "/nothing", "/report/", "/static/page.js"])
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_every_answer_tells_the_browser_to_be_careful(target: str, token: str) -> None:
    _, answered, _ = judged("GET", target, [HOST, ("accept", "text/html")], token=token)
    policy = answered["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert "unsafe" not in policy or target == "/report/"
    assert answered["x-content-type-options"] == "nosniff"
    assert answered["referrer-policy"] == "no-referrer"
    assert answered["cross-origin-opener-policy"] == answered["cross-origin-resource-policy"] == "same-origin"
    assert answered["cache-control"] == "no-store"
    assert not any(name.startswith("access-control-") for name in answered)


@pytest.mark.parametrize("host", ["", "a b", "http://a", "a/b", "a:0", "a:99999", "[::1", "[x]:80", "a@b", "-a", "ä"])
def test_a_host_that_cannot_be_allowed_is_named(host: str) -> None:
    with pytest.raises(FieldmarkError, match="is no host name"):
        Access(TOKEN, (host,))


def test_tokens_are_long_and_new() -> None:
    tokens = {access.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 for token in tokens)

"""Access: who may ask. Pure functions over the headers of a request; each says None, or why not.

A server on 127.0.0.1 is reachable by every page that its user opens: a page may post to it (cross-site request
forgery), and a name server may turn the page's own name into 127.0.0.1 (DNS rebinding). So three things are asked of
each request: that it names this server (Host), that no other site's page sent it (Sec-Fetch-Site, Origin), and the
token that was printed when the server started.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import secrets
from collections.abc import Iterable

from fieldmark.errors import FieldmarkError
from fieldmark.serving.refusals import Refusal

Headers = Iterable[tuple[bytes, bytes]]  # as ASGI has them: names in lower case

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = ("80", "443")  # a browser leaves these out
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9_.-]*[a-z0-9])?)(:(?P<port>[1-9][0-9]{0,4}))?")


@dataclasses.dataclass(frozen=True)
class Access:
    """The token, and the names under which the server is asked.

    `hosts` are names or addresses as a browser writes them, IPv6 in brackets, each with its port; without a port it is
    meant as behind a proxy, on the port that HTTP or HTTPS has by default. `https` says that browsers come by HTTPS
    alone, through a proxy; no header is believed about that. Raises FieldmarkError for any other form of a host.

    >>> access = Access(token="secret", hosts=("127.0.0.1:8000", "[::1]:8000", "cats.example"))
    >>> sorted(name.decode() for name in access.host_headers)
    ['127.0.0.1:8000', '[::1]:8000', 'cats.example', 'cats.example:443', 'cats.example:80']
    """

    token: str
    hosts: tuple[str, ...]
    https: bool = False
    host_headers: frozenset[bytes] = dataclasses.field(init=False)  # every Host header that is accepted

    def __post_init__(self) -> None:
        accepted = frozenset(header.encode("ascii") for host in self.hosts for header in _host_headers(host))
        object.__setattr__(self, "host_headers", accepted)


def new_token() -> str:
    """A random token of 256 bits, of characters that need no quoting in an address."""
    return secrets.token_urlsafe(32)


def loopback_hosts(port: int) -> tuple[str, ...]:
    """The names of this machine for itself.

    >>> loopback_hosts(8000)
    ('127.0.0.1:8000', 'localhost:8000', '[::1]:8000')
    """
    return tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))


def check_host(access: Access, headers: Headers) -> Refusal | None:
    """Exactly one Host header, equal to one of the accepted ones: no pattern, so nothing can be smuggled past it."""
    found = [value for name, value in headers if name == b"host"]
    if len(found) != 1:
        return Refusal(400, "bad_request", f"expected one Host header, found {len(found)}")
    if found[0].lower() in access.host_headers:
        return None
    return Refusal(
        421,
        "wrong_host",
        f"the Host header {_shown(found[0])} is not this server's",
        hint="open the address that `fieldmark serve` printed, or start it with --allow-host NAME",
    )


def check_site(method: str, headers: Headers, *, https: bool = False) -> Refusal | None:
    """Refuse what another site's page sends, unless it only reads; the algorithm of Go 1.25's CrossOriginProtection.

    Every current browser sends Sec-Fetch-Site to an address it trusts, such as 127.0.0.1, and Origin to any other. A
    request with neither comes from a program, which knows the token or does not. Where browsers come by `https`, a
    page of the same name without it is another site's: whoever is on the line may have written it. See
    https://words.filippo.io/csrf/ and https://pkg.go.dev/net/http#CrossOriginProtection.

    >>> check_site("POST", [(b"sec-fetch-site", b"cross-site")]).code
    'cross_site'
    >>> check_site("POST", [(b"sec-fetch-site", b"same-origin")])
    """
    if method in SAFE_METHODS:
        return None
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if sites:
        same = sites[0] if len(sites) == 1 else b""
        return None if same in (b"same-origin", b"none") else _cross_site("Sec-Fetch-Site", sites[0])
    origins = [value for name, value in headers if name == b"origin"]
    hosts = [value.lower() for name, value in headers if name == b"host"]
    if not origins or (len(origins) == 1 and _authority(origins[0], https=https) in hosts):
        return None
    return _cross_site("Origin", origins[0])


def is_direct(headers: Headers) -> bool:
    """Whether a browser says that its user, or our own page, asked for this: such a request has the cookie sent."""
    sites = {value for name, value in headers if name == b"sec-fetch-site"}
    return bool(sites) and sites <= {b"same-origin", b"none"}


def check_token(access: Access, headers: Headers) -> Refusal | None:
    """The token as `Authorization: Bearer TOKEN` or in the cookie that `/?token=TOKEN` set."""
    headers = list(headers)
    given = [value[7:] for name, value in headers if name == b"authorization" and value[:7].lower() == b"bearer "]
    given += _cookies(headers, cookie_name(headers))
    if any(is_token(access, value) for value in given):
        return None
    return wrong_token("the token is wrong" if given else "the token is missing")


def wrong_token(detail: str = "the token is wrong") -> Refusal:
    """The refusal of whoever does not know the token."""
    return Refusal(
        401,
        "no_token",
        detail,
        hint="open the address with its token that `fieldmark serve` printed, or send `Authorization: Bearer TOKEN`",
        headers={"WWW-Authenticate": 'Bearer realm="fieldmark"'},
    )


def is_token(access: Access, given: bytes) -> bool:
    """Compare in a time that tells nothing about how much of it is right."""
    return secrets.compare_digest(given, access.token.encode("ascii"))


def cookie_name(headers: Headers) -> str:
    """The cookie's name, by the port of the Host header: cookies of one host are shared by the servers on all ports.

    >>> cookie_name([(b"host", b"127.0.0.1:8000")]), cookie_name([(b"host", b"cats.example")])
    ('fieldmark-8000', 'fieldmark')
    """
    host = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
    matched = _HOST.fullmatch(host.lower())
    return f"fieldmark-{matched['port']}" if matched and matched["port"] else "fieldmark"


def set_cookie(access: Access, headers: Headers) -> str:
    """The Set-Cookie header that keeps the token out of scripts and out of what other sites' pages send."""
    secure = "; Secure" if access.https else ""
    return f"{cookie_name(headers)}={access.token}; HttpOnly; SameSite=Strict; Path=/{secure}"


def _host_headers(host: str) -> list[str]:
    matched = _HOST.fullmatch(host.lower())
    if not matched or int(matched["port"] or 0) > 65_535:
        raise _bad_host(host)
    name, port = matched["name"], matched["port"]
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError as error:
            raise _bad_host(host) from error
    if port is None:
        return [name, *(f"{name}:{default}" for default in _DEFAULT_PORTS)]
    return [f"{name}:{port}"] + ([name] if port in _DEFAULT_PORTS else [])


def _bad_host(host: str) -> FieldmarkError:
    return FieldmarkError(f"{host!r} is no host name", hint="write NAME, NAME:PORT, 10.0.0.5:8000 or [::1]:8000")


def _authority(origin: bytes, *, https: bool) -> bytes | None:
    """Host and port of an Origin header: a scheme and nothing behind the port. None for "null" and all else."""
    scheme = rb"https" if https else rb"https?"  # without `https`, a proxy may have it all the same
    matched = re.fullmatch(scheme + rb"://([^/?#@\\\s]+)", origin.lower())
    return matched[1] if matched else None


def _cookies(headers: Headers, wanted: str) -> list[bytes]:
    pairs = [pair.strip().partition(b"=") for name, value in headers if name == b"cookie" for pair in value.split(b";")]
    return [value for name, _, value in pairs if name == wanted.encode()]


def _cross_site(header: str, value: bytes) -> Refusal:
    return Refusal(403, "cross_site", f"sent by another site's page ({header}: {_shown(value)})")


def _shown(value: bytes) -> str:
    return ascii(value[:80].decode("latin-1"))

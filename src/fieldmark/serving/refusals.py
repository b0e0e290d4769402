"""Refusals: why a request gets no answer. One literal table of codes; each answer is {"error": {...}} with a status.

The codes are part of the interface, as the table of `fieldmark.images.problems` is: add, never rename. A problem of
one image is no refusal: it stands in the answer beside that image.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

# A link, since a browser that came from another site's page sends the cookie only with the next click.
_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Fieldmark</title>
<h1>Fieldmark</h1><p>{detail}</p><p>{hint}</p><p><a href="/">Open the page</a></p></html>
"""


class RefusalKind(NamedTuple):
    """The status of a code, and what it means."""

    status: int
    meaning: str


REFUSALS: dict[str, RefusalKind] = {
    # what was sent is not HTTP, or not meant for this server
    "bad_request": RefusalKind(400, "the request is not valid HTTP, or lacks what every request has"),
    "bad_form": RefusalKind(400, "the body is not the multipart form that its header announces"),
    "no_file": RefusalKind(400, "the request holds no image"),
    "bad_value": RefusalKind(400, "a parameter or a field has a value that it cannot have"),
    "no_token": RefusalKind(401, "the token is missing or wrong"),
    "cross_site": RefusalKind(403, "another site's page sent the request"),
    "not_found": RefusalKind(404, "no such page, image or file"),
    "method_not_allowed": RefusalKind(405, "the address does not know this method"),
    "wrong_host": RefusalKind(421, "the Host header names another server"),
    # too slow, too much
    "too_slow": RefusalKind(408, "the request did not arrive within its time"),
    "changed_meanwhile": RefusalKind(409, "somebody else changed the same value meanwhile"),
    "request_too_large": RefusalKind(413, "the body has more bytes than allowed"),
    "too_many_chunks": RefusalKind(413, "the body comes in more and smaller chunks than allowed"),
    "file_too_large": RefusalKind(413, "an upload has more bytes than allowed"),
    "too_many_files": RefusalKind(413, "the form holds more files than allowed"),
    "too_many_fields": RefusalKind(413, "the form holds more fields than allowed"),
    "part_headers_too_large": RefusalKind(413, "a part of the form has more or longer headers than allowed"),
    "name_too_long": RefusalKind(413, "the name of an upload is longer than allowed"),
    "url_too_long": RefusalKind(414, "the address is longer than allowed"),
    "unsupported_media_type": RefusalKind(415, "the body is neither a form of files nor an image"),
    "headers_too_large": RefusalKind(
        431, "the headers, or extensions and trailers of chunks, have more lines or bytes than allowed"
    ),
    # the server cannot, at the moment
    "over_capacity": RefusalKind(429, "as much work waits as is allowed; ask again after Retry-After"),
    "internal_error": RefusalKind(500, "a mistake of ours; the server's log has its details"),
    "too_many_connections": RefusalKind(503, "as many clients are connected as is allowed; ask again later"),
    "worker_lost": RefusalKind(503, "the process that decoded the image died of it, or was ended by the system"),
    "starting": RefusalKind(503, "the server has just started, and cannot answer yet"),
    "stopping": RefusalKind(503, "the server is shutting down"),
    "deadline": RefusalKind(504, "the answer was not ready within its time"),
    "not_writable": RefusalKind(507, "the corrections of the dataset cannot be written, or its folder is gone"),
}


class Refusal(Exception):
    """A request that gets an error instead of an answer; `code` is a key of REFUSALS.

    >>> refusal = Refusal(413, "too_many_files", "101 files; at most 100 are taken", hint="send them in parts")
    >>> refusal.status, refusal.to_json()["error"]["code"]
    (413, 'too_many_files')
    """

    def __init__(
        self, status: int, code: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if REFUSALS[code].status != status:
            raise ValueError(f"{code} has the status {REFUSALS[code].status}, not {status}")
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "detail": self.detail, "hint": self.hint}}


def response(refusal: Refusal, scope: Scope | None = None) -> Response:
    """The answer that carries a refusal: JSON, or a page for a browser that asks for one."""
    if scope is not None and wants_page(scope):
        page = _PAGE.format(detail=_sentence(refusal.detail), hint=_sentence(refusal.hint))
        return HTMLResponse(page, status_code=refusal.status, headers=refusal.headers)
    return JSONResponse(refusal.to_json(), status_code=refusal.status, headers=refusal.headers)


def _sentence(text: str) -> str:
    return html.escape(f"{text[:1].upper()}{text[1:]}{'.' if text else ''}")


def wants_page(scope: Scope) -> bool:
    """Whether a person opened the address in a browser."""
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    return scope["method"] == "GET" and any(value.startswith(b"text/html") for value in accepted)

"""Each limit at the limit, one above, in chunks without a length, and with a length that lies (A5.1)."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fieldmark.serving.limits import Limits
from fieldmark.serving.service import build_service
from tests.serving.clients import (
    FORM,
    Server,
    ask,
    chunked,
    field,
    form,
    part,
    read_answer,
    request,
    serving,
)
from tests.serving.conftest import client_of

SMALL = Limits(
    url_bytes=200,
    header_lines=20,
    header_bytes=2_000,
    request_bytes=100_000,
    file_bytes=50_000,
    files=3,
    fields=4,
    name_bytes=40,
    chunks=200,
    budget_bytes=90_000,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(SMALL) as running:
        yield running


@pytest.fixture(autouse=True)
def empty_temp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files of this process; nothing is ever left in it, nor was there."""
    folder = tmp_path_factory.mktemp("temp")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = folder.stat().st_mtime_ns
    yield folder
    assert folder.stat().st_mtime_ns == before


def padded(port: int, kind: str, total: int) -> bytes:
    """A request whose address, header bytes or header lines are exactly `total`."""
    plain = request(port, method="GET", target="/", Connection="close")
    if kind == "url":
        return plain.replace(b"GET / ", b"GET /?" + b"u" * (total - 2) + b" ")
    if kind == "lines":
        more = total - (plain.count(b"\r\n") - 2)
        return plain[:-2] + b"X: y\r\n" * more + b"\r\n"
    return plain[:-2] + b"X: " + b"y" * (total - len(plain) + 4 - 5) + b"\r\n\r\n"


BODIES: dict[str, tuple[int, str, Callable[[int], bytes]]] = {
    "file": (SMALL.file_bytes, "file_too_large", lambda count: form(part(b"x" * count))),
    "request": (
        SMALL.request_bytes,
        "request_too_large",
        lambda count: form(part(b"x"), field("f", b"y" * (count - len(form(part(b"x"), field("f")))))),
    ),
    "files": (SMALL.files, "too_many_files", lambda count: form(*[part(b"x")] * count)),
    "fields": (SMALL.fields, "too_many_fields", lambda count: form(part(b"x"), *[field("f")] * count)),
    "name": (SMALL.name_bytes, "name_too_long", lambda count: form(part(b"x", name="n" * count))),
    "part header lines": (
        SMALL.header_lines,
        "part_headers_too_large",
        lambda count: form(part(b"x", headers=("A: b",) * (count - 1))),
    ),
    "part header bytes": (
        SMALL.header_bytes,
        "part_headers_too_large",
        lambda count: form(part(b"x", headers=("A: " + "b" * (count - len(DISPOSITION) - 1),))),
    ),
    "budget": (
        SMALL.budget_bytes,
        "over_capacity",
        lambda count: form(part(b"x" * 40_000), part(b"x" * 40_000), part(b"x" * (count - 80_000))),
    ),
}
DISPOSITION = 'Content-Dispositionform-data; name="files"; filename="a.png"'
STATUS = {"over_capacity": 429}


@pytest.mark.parametrize("limit", BODIES)
def test_a_body_at_its_limit_is_answered(server: Server, limit: str) -> None:
    count, _, body = BODIES[limit]
    assert ask(server.port, request(server.port, body=body(count), Content_Type=FORM)).status == 200
    in_chunks = request(server.port, Content_Type=FORM, Transfer_Encoding="chunked", Content_Length="")
    assert ask(server.port, in_chunks + chunked(body(count))).status == 200


@pytest.mark.parametrize("how", ["with its length", "in chunks"])
@pytest.mark.parametrize("limit", BODIES)
def test_a_body_one_above_its_limit_is_refused(server: Server, limit: str, how: str) -> None:
    count, code, body = BODIES[limit]
    sent = request(server.port, body=body(count + 1), Content_Type=FORM)
    if how == "in chunks":
        head = request(server.port, Content_Type=FORM, Transfer_Encoding="chunked", Content_Length="")
        sent = head + chunked(body(count + 1))
    answer = ask(server.port, sent)
    assert (answer.status, answer.code) == (STATUS.get(code, 413), code)
    assert answer.headers.get("retry-after") == ("1" if code == "over_capacity" else None)
    assert_soon(lambda: server.budget.taken == 0)


@pytest.mark.parametrize("limit", BODIES)
def test_a_length_that_lies_buys_nothing(server: Server, limit: str) -> None:
    count, _, body = BODIES[limit]
    too_much = body(count + 1)
    short = request(server.port, body=too_much, Content_Type=FORM, Content_Length="60")
    assert ask(server.port, short).code == "bad_form"  # what follows is no request, and no upload
    long = request(server.port, body=b"", Content_Type=FORM, Content_Length=str(10**12))
    assert ask(server.port, long).code == "request_too_large"  # before a byte of it
    for doubtful in ("-1", "60, 61", "0x10", "1" * 30, "6 0"):
        assert ask(server.port, request(server.port, Content_Type=FORM, Content_Length=doubtful)).status == 400
    both = request(server.port, Content_Type=FORM, Content_Length="60", Transfer_Encoding="chunked")
    assert ask(server.port, both + chunked(too_much)).status in (400, STATUS.get(BODIES[limit][1], 413))
    assert_soon(lambda: server.budget.taken == 0)


@pytest.mark.parametrize(
    ("kind", "limit", "refused"),
    [("url", SMALL.url_bytes, 414), ("lines", SMALL.header_lines, 431), ("bytes", SMALL.header_bytes, 431)],
)
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_the_head_of_a_request(server: Server, kind: str, limit: int, refused: int, step: int) -> None:
    allowed = padded(server.port, kind, limit)
    above = padded(server.port, kind, limit + 1)
    assert len(allowed) + (6 if kind == "lines" else 1) == len(above)
    for sent, status in ((allowed, 200), (above, refused)):
        pieces = [sent[start : start + step] for start in range(0, len(sent), step)]
        assert ask(server.port, *pieces).status == status
    for end in (1, 2, 3):  # its last bytes come alone
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(allowed[:-end])
            time.sleep(0.05)
            connection.sendall(allowed[-end:])
            assert read_answer(connection).status == 200


def test_an_address_that_fills_all_headers_is_told_so(server: Server) -> None:
    assert ask(server.port, padded(server.port, "url", 10 * SMALL.header_bytes)).code == "url_too_long"


def in_chunks(port: int, count: int, size: int, **headers: str) -> bytes:
    head = request(port, Content_Type="image/png", Transfer_Encoding="chunked", Content_Length="", **headers)
    return head + chunked(b"x" * (count * size), size)


def test_more_and_smaller_chunks_than_allowed_are_refused(server: Server) -> None:
    most, least = SMALL.chunks, SMALL.chunk_bytes
    for count, size in ((most, 1), (most, least - 1), (2 * most, least)):
        # A request behind it is counted anew
        sent = in_chunks(server.port, count, size) + in_chunks(server.port, most, 1, Connection="close")
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(sent)
            assert read_answer(connection).body == f'{{"uploads":[["image",{count * size}]]}}'.encode()
    for count, size in ((most + 1, 1), (most + 1, least - 1), (15 * most, 1)):
        answer = ask(server.port, in_chunks(server.port, count, size))
        assert (answer.status, answer.code) == (413, "too_many_chunks")
        assert b"or the body at once with its Content-Length" in answer.body
    assert_soon(lambda: server.budget.taken == 0)


def test_a_body_in_tiny_chunks_is_read_no_further() -> None:
    """200,000 of them took the server 1.5 seconds, in which nobody else was answered."""
    with serving(Limits()) as server:
        sent = in_chunks(server.port, 200_000, 1)
        assert ask(server.port, sent).code == "too_many_chunks"
        assert server.received < 2**20 < len(sent)


def with_extensions(port: int, count: int, extension: int, trailers: int = 0) -> bytes:
    head = request(port, Content_Type="image/png", Transfer_Encoding="chunked", Content_Length="")
    chunk = b"64;" + b"e" * (extension - 1) + b"\r\n" + b"x" * 100 + b"\r\n"
    return head + chunk * count + b"0\r\n" + b"A: b\r\n" * trailers + b"\r\n"


# 1,800 to 1,900 bytes of 2,000 beyond what every chunk may have
@pytest.mark.parametrize(("count", "extension", "trailers"), [(1, 1_900, 0), (10, 190, 0), (100, 29, 0), (1, 1, 300)])
def test_what_stands_around_chunks_counts(server: Server, count: int, extension: int, trailers: int) -> None:
    assert ask(server.port, with_extensions(server.port, count, extension, trailers)).status == 200
    for sent in (
        with_extensions(server.port, count, extension + 300 // count, trailers),
        with_extensions(server.port, count, extension, trailers + 60),
    ):
        answer = ask(server.port, sent)
        assert (answer.status, answer.code) == (431, "headers_too_large")
    assert_soon(lambda: server.budget.taken == 0)


def test_extensions_of_chunks_are_read_no_further() -> None:
    """146 MB of them had been read for an image of some KB."""
    with serving(Limits()) as server:
        sent = with_extensions(server.port, 1_000, 16_000)
        assert ask(server.port, sent).code == "headers_too_large"
        assert server.received < 2**20 < len(sent)


@pytest.mark.parametrize("kind", ["multipart", "raw"])
@pytest.mark.parametrize("how", ["announced", "in chunks"])
def test_a_stream_of_two_gigabytes_is_not_read(server: Server, kind: str, how: str) -> None:
    """What is read after the limit stays under a megabyte, and the client reads its answer."""
    headers = {"Content_Type": FORM if kind == "multipart" else "image/png"}
    headers |= {"Transfer_Encoding": "chunked", "Content_Length": ""} if how == "in chunks" else {}
    head = request(server.port, **({"Content_Length": str(2 * 10**9)} | headers))
    beginning = part(b"x")[:-3] if kind == "multipart" else b""
    sent, server.received = 0, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        piece = beginning + b"x" * 2**20
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < 2 * 10**9:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if how == "in chunks" else piece)
                sent += len(piece)
        answer = read_answer(connection)
    assert sent < 2**25
    assert server.received <= SMALL.request_bytes + 2**20
    assert answer.status in (413, 0)  # 0: the system threw the answer away with what was not read
    assert_soon(lambda: server.budget.taken == 0)


def test_a_client_that_still_sends_when_it_is_refused_reads_its_answer(server: Server) -> None:
    """Closing on bytes that were not read would break its writing, and take the answer away."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            head = request(server.port, Content_Type="image/png", Content_Length="90000")
            connection.sendall(head + b"x" * (SMALL.file_bytes + 1))
            for _ in range(3):
                time.sleep(0.02)
                connection.sendall(b"x" * 10_000)
            assert read_answer(connection).code == "file_too_large"


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", FORM, 400, "bad_form"),
        (form(), FORM, 400, "no_file"),
        (form(field("note", b"text")), FORM, 400, "no_file"),
        (form(part(b"", name="")), FORM, 400, "no_file"),
        (form(part(b"x"))[:-4], FORM, 400, "bad_form"),
        (form(part(b"x")), "multipart/form-data", 400, "bad_form"),
        (form(part(b"x")), "multipart/form-data; boundary=other", 400, "bad_form"),
        (form(part(b"x")), "multipart/form-data; boundary=" + "b" * 300, 400, "bad_form"),
        (form(part(b"x", field="photo")), FORM, 400, "bad_form"),
        (b"--B\r\n\r\nno header\r\n--B--\r\n", FORM, 400, "bad_form"),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\n\r\n--B--\r\n", FORM, 400, "bad_form"),
        (b"--B\r\n: \x00\r\n\r\n\r\n--B--\r\n", FORM, 400, "bad_form"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json", 415, "unsupported_media_type"),
        (b"", "image/png", 400, "no_file"),
    ],
)
def test_a_body_without_an_image(
    server: Server, body: bytes, kind: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(server.port, request(server.port, body=body, Content_Type=kind))
    assert (answer.status, answer.code) == (status, code)
    assert caplog.records == []  # a client could fill the log


STARRED = b"--B\r\nContent-Disposition: form-data; name=\"%s\"; filename*=UTF-8''b.png\r\n\r\nx\r\n"


@pytest.mark.parametrize("nameless", [field("files", b"text"), field("files"), STARRED % b"files", STARRED % b"photo"])
def test_an_image_without_a_file_name_is_refused_and_not_left_out(server: Server, nameless: bytes) -> None:
    """As `curl -F 'files=<cat.jpg'` sends it."""
    for body in (form(nameless), form(nameless, part(b"x")), form(part(b"x"), nameless)):
        answer = ask(server.port, request(server.port, body=body, Content_Type=FORM))
        assert (answer.status, answer.code) == (400, "bad_form")
        assert b"has no filename" in answer.body
        assert b"files=@cat.jpg, with @" in answer.body
    assert_soon(lambda: server.budget.taken == 0)
    starred = part(b"x").replace(b'a.png"', b"a.png\"; filename*=UTF-8''b.png")
    both = ask(server.port, request(server.port, body=form(field("note"), starred), Content_Type=FORM))
    assert both.body == b'{"uploads":[["a.png",1]]}'


def test_a_part_with_two_dispositions_is_refused(server: Server) -> None:
    """Whichever were believed, a part that was meant as an image could go without an answer."""
    twice = part(b"x", headers=('Content-Disposition: form-data; name="note"',))
    answer = ask(server.port, request(server.port, body=form(part(b"y"), twice), Content_Type=FORM))
    assert (answer.status, answer.code) == (400, "bad_form")
    assert b"two Content-Disposition" in answer.body


def test_two_lengths_of_one_body_are_refused_and_nothing_behind_it_is_read(server: Server) -> None:
    head = request(server.port, Content_Type="image/png", Transfer_Encoding="chunked", Content_Length="9")
    answer = ask(server.port, head + chunked(b"x") + request(server.port, "/healthz", method="GET"))
    assert (answer.status, answer.code) == (400, "bad_request")
    assert answer.headers["connection"] == "close"


def test_an_empty_file_is_an_upload_of_no_bytes(server: Server) -> None:
    answer = ask(server.port, request(server.port, body=form(part(b"")), Content_Type=FORM))
    assert answer.body == b'{"uploads":[["a.png",0]]}'


def test_ten_thousand_files_are_refused_at_the_first_too_many() -> None:
    body = form(*[part(b"x" * 500)] * 10_000)
    with serving(Limits()) as server:
        head = request(server.port, Content_Type=FORM, Transfer_Encoding="chunked", Content_Length="")
        assert ask(server.port, head + chunked(body)).code == "too_many_files"
        assert server.received < 2**20 < len(body)


def test_a_connection_cut_in_the_middle_leaves_nothing(server: Server) -> None:
    whole = request(server.port, body=form(part(b"x" * 40_000)), Content_Type=FORM)
    for cut in range(1, len(whole), 997):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(whole[:cut])
    assert_soon(lambda: ask(server.port, whole).status == 200)  # 429 while the cut ones are still being accepted
    assert_soon(lambda: (server.budget.taken, len(server.alive)) == (0, 0))


def test_one_connection_too_many_is_told_so() -> None:
    with serving(Limits(connections=5)) as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(5)]
        assert_soon(lambda: len(server.alive) == 5)
        answer = ask(server.port, request(server.port, "/", method="GET"))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "too_many_connections", "1")
        held[0].close()
        assert_soon(lambda: ask(server.port, request(server.port, "/", method="GET")).status == 200)


def test_connections_far_too_many_are_cut_off() -> None:
    with serving(Limits(connections=2)) as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(150)]
        assert read_answer(held[-1]).status == 0
        assert read_answer(held[50]).status == 503


def test_the_header_and_the_body_have_their_seconds() -> None:
    with serving(Limits(header_seconds=0.2, body_seconds=0.3)) as server:
        whole = request(server.port, body=form(part(b"x")), Content_Type=FORM)
        for sent, least in ((whole[:10], 0.2), (whole[:-5], 0.3)):
            start = time.monotonic()
            assert ask(server.port, sent).code == "too_slow"
            assert least <= time.monotonic() - start < least + 2
        assert ask(server.port).status == 0  # who says nothing is told nothing
        assert ask(server.port, whole).status == 200
        assert_soon(lambda: server.budget.taken == 0)


def image(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_the_limits_of_pixels_of_the_queue_and_of_time(trained: Path) -> None:
    def predict(client: TestClient, *images: bytes) -> httpx.Response:
        return client.post("/api/predict", files=[("files", ("a.png", one, "image/png")) for one in images])

    with client_of(build_service(trained, Limits(pixels=100, queue=2))) as client:
        answer = predict(client, image(10, 10), image(10, 11)).json()["predictions"]
        assert [row["problem"] for row in answer] == [None, "too_many_pixels"]
        answer = predict(client, b"a text named .png", b"").json()["predictions"]
        assert [row["problem"] for row in answer] == ["not_an_image", "empty_file"]
        assert predict(client, *[image(9, 9)] * 3).status_code == 429
    with client_of(build_service(trained, Limits(request_seconds=0))) as client:
        assert predict(client, image(9, 9)).status_code == 504


def assert_soon(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

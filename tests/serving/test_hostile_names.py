"""Paths and names that try to lead somewhere or to be something: they open nothing and stay text (A5.9, A5.10)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import fieldmark
from fieldmark.images.names import printable
from fieldmark.serving.app import build_app
from fieldmark.serving.limits import Limits
from fieldmark.serving.service import build_service
from tests.serving.clients import FORM, Server, ask, form, part, request, serving

SECRET = "the-content-of-a-secret-file"
UPS = [
    "..",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..%00",
    "%c0%ae%c0%ae",
    "%e0%80%ae.",
    "．．",
    "..;",
    "....",
    ". .",
]
SLASHES = ["/", "%2f", "%252f", "\\", "%5c", "%255c", "%c0%af", "//", "/./", "%2f/"]
TARGETS = ["etc/passwd", "secret.txt", "model.onnx", "run.json", "SECRET"]
ALONE = [
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "C:%5cWindows%5cwin.ini",
    "C:/Windows/win.ini",
    "%5c%5cserver%5cshare",
    "file:///etc/passwd",
    "file:%2f%2f%2fetc%2fpasswd",
    "http://127.0.0.1/secret",
    "~root/.ssh/id_rsa",
    "$HOME/secret",
    "%00",
    "page.js%00.png",
    "1.jpg%00../../secret.txt",
    ".",
    "..",
    "...",
    "CON",
    "NUL.jpg",
    "1.jpg::$DATA",
    "proc/self/environ",
    "a" * 3_000,
    "%2e%2e/" * 500,
    "linked.jpg",
    "1000.jpg",
    "%ff%fe",
    "%0d%0aSet-Cookie:%20a=b",
    "*",
    "1.jpg/../../run.json",
]
ROUTES = [
    "/static/{}",
    "/report/{}",
    "/report/report_files/{}",
    "/api/review/{}",
    "/api/review/{}/image",
    "/docs/{}",
    "/openapi.json/{}",
    "/{}",
]


def payloads(secret: Path) -> list[str]:
    """Ways up, of one to nine steps, in every spelling, to every target."""
    spelled = [
        (up + slash) * steps + target for up in UPS for slash in SLASHES for steps in (1, 4, 9) for target in TARGETS
    ]
    return [one.replace("SECRET", str(secret)[1:]) for one in [*ALONE, *spelled[::3]]]


class Opened:
    """What this process opens while it is watched; an audit hook cannot be taken off again."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.watched = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.watched and event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename"):
            self.paths.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        self.paths = []
        self.watched = True
        try:
            yield self.paths
        finally:
            self.watched = False


OPENED = Opened()


@pytest.fixture(scope="module")
def house(trained: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A run of one's own, with links in it that lead out, beside a secret; and its server in this process."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "secret.txt").write_text(SECRET)
    run = shutil.copytree(trained, folder / "runs" / "one")
    told = json.loads((run / "run.json").read_text("utf-8"))
    told["root"] = str(shutil.copytree(faces, folder / "faces"))
    (run / "run.json").write_text(json.dumps(told), "utf-8")
    for link in ("linked.jpg", "1000.jpg"):
        (run / "report_files" / link).symlink_to(folder / "secret.txt")
    limits = Limits()
    with serving(limits, build_app(build_service(run, limits))) as server:
        assert ask(server.port, request(server.port, "/api/review", method="GET")).status == 200
        assert ask(server.port, request(server.port, "/report/", method="GET")).status == 200
        yield server, folder


def outside(paths: list[str], folder: Path) -> list[str]:
    """Those that lie neither in the run or its dataset nor in what Python is made of."""
    roots = [
        folder / "runs",
        folder / "faces",
        Path(fieldmark.__file__).parent,
        Path(sys.prefix),
        Path(sys.base_prefix),
    ]
    real = [Path(path).resolve() for path in paths if "\0" not in path]
    inside = [path for path in real if any(path.is_relative_to(root.resolve()) for root in roots)]
    # scikit-learn looks for its libraries in the last of these while the review is prepared
    system = {Path("/dev/null"), Path("/dev/urandom"), Path("/proc/self/maps").resolve()}
    return [str(path) for path in real if path not in inside and path not in system]


def test_no_path_leads_out_of_the_run(house: tuple[Server, Path]) -> None:
    server, folder = house
    tried = 0
    with OPENED.watching() as opened:
        for payload in payloads(folder / "secret.txt"):
            raw = quote(payload, safe=string.punctuation)
            for route in ROUTES:
                method = "PUT" if route == "/api/review/{}" else "GET"
                body = b'{"correction": null, "expected": null}' if method == "PUT" else b""
                target = route.format(raw)
                answer = ask(server.port, request(server.port, target, method=method, body=body))
                assert answer.status in (400, 404, 405, 414), target
                assert SECRET.encode() not in answer.body
                assert "set-cookie" not in answer.headers
                tried += 1
    assert tried >= 5_000
    assert outside(opened, folder) == []


def test_the_watch_sees_what_is_opened(house: tuple[Server, Path]) -> None:
    """So that the test above would see it."""
    server, folder = house
    with OPENED.watching() as opened:
        assert ask(server.port, request(server.port, "/report/", method="GET")).status == 200
        assert any(path.endswith("report.html") for path in opened)
        assert outside(opened, folder) == []
        (folder / "secret.txt").read_text()
        assert outside(opened, folder) == [str((folder / "secret.txt").resolve())]


NAMES = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)//",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "${alert(1)}{{7*7}}{%raw%}<%=7*7%>",
    "`![x](javascript:alert(1))`",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "\u202egnp.exe\u2066\u2069\u200f",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(1+1)",
    "\tTAB",
    "a\rb",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\server\\share\\x.png",
    "CON",
    "nul\0byte.png",
    "\ufeffbom",
    "\u2028\u2029",
    "ﬃ ｆｕｌｌ",
    "👨‍👩‍👧‍👦.png",
    "n" * 1_024,
    "%2e%2e%2f",
    "__proto__",
    "a,b;c|d&e",
    "\udcff\udcfe not UTF-8",
]


@pytest.mark.parametrize("around", ["{}", "cat {}.png", "{0}{0}"])
def test_a_name_stays_text(house: tuple[Server, Path], around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server, folder = house
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "faces"))
    names = [name for name in map(around.format, NAMES) if len(os.fsencode(name)) <= 1_024]
    sent = [part(b"no image", name="NAME").replace(b"NAME", _quoted(name)) for name in names]
    before = sorted(folder.rglob("*"))
    with OPENED.watching() as opened:
        answer = ask(server.port, request(server.port, body=form(*sent), Content_Type=FORM))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert min(answer.body) >= 0x20  # no control character but in JSON's own spelling
    shown = [row["path"] for row in json.loads(answer.body)["predictions"]]
    # Of a path in a name, which old browsers sent, the last part is taken; a text without drive or host stays whole
    assert shown == [printable(_last(name)) for name in names]
    assert outside(opened, folder) == []
    assert sorted(folder.rglob("*")) == before


def _quoted(name: str) -> bytes:
    return os.fsencode(name.replace("\\", "\\\\").replace('"', '\\"')).replace(b"\r", b"%0D")


def _last(name: str) -> str:
    name = name.replace("\r", "%0D")
    return name.split("\\")[-1] if name[1:3] == ":\\" or name[:2] == "\\\\" else name

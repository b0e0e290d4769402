"""`--open`: the browser gets the page, and its command line, which every user of the machine can read, no token."""

from __future__ import annotations

import html
import re
import stat
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from fieldmark.serving.limits import Limits
from fieldmark.serving.opening import Opening
from tests.browser import chromium
from tests.serving import clients
from tests.serving.conftest import TOKEN, serving

ADDRESS = f"http://127.0.0.1:1/?token={TOKEN}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary ones are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


class Shown(list[str]):
    """A browser that notes what it is told to open."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def __call__(self, url: str) -> bool:
        self.append(url)
        self.told.set()
        return True


def path_of(url: str) -> Path:
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))


def test_the_file_is_private_leads_to_the_address_and_goes(temporary: Path) -> None:
    shown = Shown()
    with Opening(pytest.fail, shown) as opening:
        opening.open(ADDRESS)
        assert shown.told.wait(10)
        assert TOKEN not in shown[0]
        file = path_of(shown[0])
        assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
        assert html.unescape(file.read_text()).count(ADDRESS) == 2
        opening.done()
        assert list(temporary.iterdir()) == []
        opening.open(ADDRESS)
    assert list(temporary.iterdir()) == []  # at the end at the latest


def test_no_browser_or_no_place_for_the_file_is_said(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    with Opening(failed.set, lambda url: False) as opening:
        opening.open(ADDRESS)
        assert failed.wait(10)
    failed.clear()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "none"))
    with Opening(failed.set) as opening:
        opening.open(ADDRESS)
        assert failed.is_set()


def test_the_command_shows_no_token_to_other_users(
    trained: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser is a program of ours, which notes its command line; then the test follows the file as it would."""
    program, noted = tmp_path / "browser", tmp_path / "noted"
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(noted)!r}, 'a').write(' '.join(sys.argv) + '\\n')\n")
    program.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    with serving(trained, "--open") as server:
        for _ in range(200):
            if noted.exists() and noted.read_text().endswith("\n"):
                break
            time.sleep(0.05)
        (line,) = noted.read_text().splitlines()
        assert server.token not in line
        file = path_of(line.split()[-1])
        found = re.search(r'url=([^"]+)"', file.read_text())
        assert found is not None
        address = html.unescape(found[1])
        assert address == f"{server.url}/?token={server.token}"
        assert file.exists()
        cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor)
        with cookies.open(address) as answer:
            assert answer.status == 200
        for _ in range(100):
            if not file.parent.exists():
                break
            time.sleep(0.02)
        assert not file.parent.exists()
        assert server.end() == 0
    assert server.errors == []
    assert list(temporary.iterdir()) == []


def test_a_browser_gets_from_the_file_to_the_page() -> None:
    """In Chromium: a redirect behind a file would lose the SameSite=Strict cookie."""
    shown = Shown()
    with clients.serving(Limits()) as server, Opening(pytest.fail, shown) as opening, chromium() as browser:
        opening.open(f"http://127.0.0.1:{server.port}/?token={clients.TOKEN}")
        assert shown.told.wait(10)
        page = browser.new_page()
        page.goto(shown[0])
        page.wait_for_url(f"http://127.0.0.1:{server.port}/")
        assert page.inner_text("body") == "hello"

"""Pages of other sites, in a real browser that knows the token: nothing changes, and nothing is read (A5.8)."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fieldmark.serving.limits import Limits
from tests.browser import chromium
from tests.serving.clients import TOKEN, Server, ask, request, serving

REBOUND = "--host-resolver-rules=MAP rebound.test 127.0.0.1"
# Everything that a page can send somewhere else. `read` collects what came back readable.
ATTACK = """<!DOCTYPE html><title>attack</title><iframe name="sink"></iframe><script>
const target = TARGET, read = [], file = new File(["x"], "a.png", {type: "image/png"});
function form(method, enctype, fill) {
  const form = document.createElement("form");
  Object.assign(form, {action: target + "/change", method, enctype, target: "sink"});
  fill(form); document.body.append(form); form.submit();
}
async function attempt(work) { try { const found = await work(); if (found) read.push(found); } catch (error) {} }
async function ask(path, options) {
  const answer = await fetch(target + path, options);
  return answer.type === "opaque" ? "" : answer.text();
}
function load(tag, path) {
  return new Promise(done => {
    const element = Object.assign(document.createElement(tag), {onload: () => done(tag), onerror: () => done("")});
    element.src = target + path; document.body.append(element);
    setTimeout(() => done(""), 2000);
  });
}
function socket() {
  return new Promise(done => {
    const socket = new WebSocket(target.replace("http", "ws") + "/change");
    socket.onopen = () => done("socket"); socket.onerror = () => done("");
  });
}
async function run() {
  const data = new FormData(); data.append("files", file);
  for (const credentials of ["include", "omit"])
    for (const mode of ["no-cors", "cors"])
      for (const method of ["GET", "POST", "PUT"])
        for (const body of [undefined, data, "text", new Blob(["x"], {type: "image/png"})])
          for (const path of ["/change", "/api/predict"])
            if (!(method === "GET" && body)) await attempt(() => ask(path, {method, mode, credentials, body}));
  await attempt(() => { navigator.sendBeacon(target + "/change", data); });
  for (const [tag, path] of [["img", "/"], ["script", "/healthz"], ["img", "/change"], ["script", "/change"]])
    await attempt(() => load(tag, path));
  await attempt(socket);
  form("POST", "application/x-www-form-urlencoded", () => {});
  form("POST", "text/plain", () => {});
  form("POST", "multipart/form-data", form => {
    const input = Object.assign(document.createElement("input"), {type: "file", name: "files"});
    const transfer = new DataTransfer(); transfer.items.add(file); input.files = transfer.files; form.append(input);
  });
  await new Promise(done => setTimeout(done, 500));
  await attempt(() => frames.sink.document.body.innerText);
  document.title = "done " + JSON.stringify(read.filter(text => text.trim()));
}
addEventListener("load", run);
</script><body></body>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(REBOUND) as running:
        yield running


@contextlib.contextmanager
def attacker(page: str) -> Iterator[int]:
    """A web server of somebody else, on another port; it has one page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def victim(browser: Any, server: Server) -> Iterator[Any]:
    """A page of a browser that has opened the address with its token."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/?token={TOKEN}")
    assert page.url == f"http://127.0.0.1:{server.port}/"
    assert page.inner_text("body") == "hello"
    assert page.evaluate("document.cookie") == ""
    yield page
    context.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Limits()) as running:
        yield running


# "localhost" is another site than 127.0.0.1; another port of 127.0.0.1 is the same site, and gets the cookie sent
@pytest.mark.parametrize("site", ["localhost", "127.0.0.1"])
def test_a_page_of_another_server_changes_and_reads_nothing(browser: Any, server: Server, site: str) -> None:
    with (
        attacker(ATTACK.replace("TARGET", f'"http://127.0.0.1:{server.port}"')) as port,
        victim(browser, server) as page,
    ):
        page.goto(f"http://{site}:{port}/")
        page.wait_for_function("document.title.startsWith('done')")
        assert page.title() == "done []"
        # A GET changes nothing in the service; the cookie of the same site goes with it, that of another does not
        assert set(server.changes) <= ({"GET"} if site == "127.0.0.1" else set())
        assert server.uploaded == 0


def test_our_own_page_does_change_something(browser: Any, server: Server) -> None:
    """So that the tests above would see a change."""
    with victim(browser, server) as page:
        assert page.evaluate("fetch('/change', {method: 'POST'}).then(answer => answer.status)") == 200
        assert page.evaluate("fetch('/change', {method: 'PUT'}).then(answer => answer.status)") == 200
    assert server.changes == ["POST", "PUT"]


def test_a_name_that_was_rebound_to_this_machine_reads_nothing(browser: Any, server: Server) -> None:
    """The attacker's own name, which now leads to 127.0.0.1: the browser sees no other site at all."""
    with victim(browser, server) as page:
        answer = page.goto(f"http://rebound.test:{server.port}/")
        assert answer.status == 421
        for path in ("/", "/healthz", "/change"):
            for method in ("GET", "POST"):
                asked = f"fetch('{path}', {{method: '{method}'}}).then(answer => answer.status)"
                assert page.evaluate(asked) == 421
    assert server.changes == []


def test_our_page_is_shown_in_no_frame(browser: Any, server: Server) -> None:
    frame = f'<!DOCTYPE html><iframe src="http://127.0.0.1:{server.port}/"></iframe>'
    with attacker(frame) as port, victim(browser, server) as page:
        page.goto(f"http://127.0.0.1:{port}/")
        assert "hello" not in page.frames[1].content()


def test_whoever_comes_from_another_site_gets_in(browser: Any, server: Server) -> None:
    """The cookie is sent neither with a link nor with a redirect that follows it, but with what our own page asks."""
    home = f"http://127.0.0.1:{server.port}/"
    links = f'<!DOCTYPE html><a href="{home}?token={TOKEN}">with token</a><a href="{home}">without</a>'
    with attacker(links) as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{port}/")
        page.click("text=with token")
        page.wait_for_url(home)
        assert page.inner_text("body") == "hello"
        page.goto(f"http://localhost:{port}/")
        page.click("text=without")
        page.click("text=Open the page")  # one click away
        page.wait_for_function("document.body.innerText === 'hello'")
        context.close()
    assert ask(server.port, request(server.port, "/", method="GET", Authorization="")).status == 401

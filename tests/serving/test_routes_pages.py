"""The pages without a browser: what is served, as what, and what never is."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fieldmark.images.problems import PROBLEMS
from fieldmark.report.theme import read_theme
from fieldmark.runs import Run
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.routes_pages import PACKAGE, STATIC, heading, read_report
from fieldmark.serving.service import Service
from tests.waiting import within_seconds


def test_the_table_names_every_file_of_the_package() -> None:
    static = Path(str(PACKAGE / "static"))
    assert sorted(STATIC) == sorted(path.name for path in static.iterdir())


def test_the_page_and_all_it_asks_for_is_there(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name, kind in STATIC.items():
        response = client.get(f"/static/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"].split(";")[0] == kind
    assert client.get("/docs").status_code == 200


def test_the_page_has_the_colours_of_the_report(client: TestClient) -> None:
    style = client.get("/static/page.css").text
    assert style.startswith(read_theme())
    own = style.removeprefix(read_theme())
    assert ":root" not in own
    # Every colour and letter that it uses is one of the theme's
    assert set(re.findall(r"var\((--[a-z-]+)\)", own)) <= set(re.findall(r"(--[a-z-]+):", read_theme()))


class Elements(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("name", ["head.html", "page.html", "docs.html"])
def test_no_script_style_or_address_of_another_server_stands_in_a_page(name: str) -> None:
    text = (PACKAGE / "templates" / name).read_text("utf-8")
    elements = Elements()
    elements.feed(text)
    for tag, attributes in elements.found:
        assert tag != "style"
        assert tag != "script" or attributes.get("src", "").startswith("/static/")
        assert not {key for key in attributes if key == "style" or key.startswith("on")}
        assert not [value for value in attributes.values() if value and "//" in value]


@pytest.mark.parametrize("name", sorted(name for name in STATIC if name.endswith(".js")))
def test_no_script_reads_text_as_html_or_code(name: str) -> None:
    text = (PACKAGE / "static" / name).read_text("utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "://"):
        assert word not in text


def test_the_page_knows_every_problem(client: TestClient) -> None:
    elements = Elements()
    elements.feed(client.get("/").text)
    (problems,) = [attributes["data-problems"] for tag, attributes in elements.found if tag == "body"]
    assert json.loads(problems or "") == {code: kind.meaning for code, kind in PROBLEMS.items()}


@pytest.mark.parametrize(
    "path",
    [
        "/static/page.html",
        "/static/%2e%2e%2fapp.py",
        "/static/..%2ftemplates%2fpage.html",
        "/static/",
        "/static/page.js%00",
        "/report/run.json",
        "/report/model.onnx",
        "/report/report_files/..%2f..%2frun.json",
        "/report/report_files/%2e%2e",
        "/report/report_files/run.json",
        "/report/report_files/1.jpg%0a",
        "/report/report_files/%D9%A1.jpg",
        "/report/checkpoints/",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_the_report_and_its_files(client: TestClient, service: Service) -> None:
    assert service.run is not None
    report = client.get("/report/")
    assert report.content == (service.run.folder / "report.html").read_bytes()
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    kinds = {".jpg": "image/jpeg", ".png": "image/png", ".json": "application/json"}
    files = sorted((service.run.folder / "report_files").iterdir())
    assert files
    for path in files:
        response = client.get(f"/report/report_files/{path.name}")
        assert response.content == path.read_bytes()
        assert response.headers["content-type"] == kinds[path.suffix]


def test_a_link_in_a_run_folder_leads_nowhere(trained: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(trained, tmp_path / "run")))
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (run.folder / "report_files" / "secret.json").symlink_to(secret)
    with pytest.raises(Refusal, match="not_found"):
        read_report(run, "report_files/secret.json")
    with pytest.raises(Refusal, match="not_found"):
        read_report(None, "report.html")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_run_folder_holds_nothing_up(trained: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(trained, tmp_path / "run")))
    (run.folder / "report.html").unlink()
    os.mkfifo(run.folder / "report.html")
    with pytest.raises(Refusal, match="not_found"):
        within_seconds(lambda: read_report(run, "report.html"))


def test_the_heading() -> None:
    assert heading(("only",)) == "Knows one class: only"
    assert heading(("a", "b", "c")) == "Tells a, b and c apart"
    assert heading(tuple("abcdef")) == "Tells 6 classes apart, from a to f"
    assert "\u202e" not in heading(("a\u202eb", "c"))

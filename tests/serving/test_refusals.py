"""Every refusal that the source names stands in the table, with its status."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fieldmark
from fieldmark.serving.refusals import REFUSALS, Refusal, response

SERVING = Path(fieldmark.__file__).parent / "serving"


def refusals_in(source: str) -> list[tuple[int, str]]:
    """Status and code of every `Refusal(status, "code", ...)`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        (node.args[0].value, node.args[1].value)
        for node in calls
        if isinstance(node.func, ast.Name)
        and node.func.id == "Refusal"
        and all(isinstance(argument, ast.Constant) for argument in node.args[:2])
    ]


@pytest.mark.parametrize("path", sorted(SERVING.rglob("*.py")), ids=lambda path: path.name)
def test_refusals_of_the_source_stand_in_the_table(path: Path) -> None:
    for status, code in refusals_in(path.read_text("utf-8")):
        assert REFUSALS[code].status == status


def test_refusals_are_found() -> None:
    assert refusals_in('raise Refusal(418, "teapot", "short", hint="stout")') == [(418, "teapot")]
    found = [one for path in SERVING.rglob("*.py") for one in refusals_in(path.read_text("utf-8"))]
    assert len(found) > 20


def test_a_status_that_is_not_the_codes_own_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="has the status 404"):
        Refusal(400, "not_found", "")


def test_a_page_for_people_shows_no_text_as_markup() -> None:
    refusal = Refusal(404, "not_found", "<script>alert(1)</script>", hint="<img src=x onerror=alert(1)>")
    browser = {"type": "http", "method": "GET", "headers": [(b"accept", b"text/html,*/*")]}
    page = response(refusal, browser)
    assert page.media_type == "text/html"
    assert b"<script" not in page.body
    assert b"<img" not in page.body
    assert b"<p>No such page.</p>" in response(Refusal(404, "not_found", "no such page"), browser).body
    assert response(refusal).media_type == response(refusal, browser | {"headers": []}).media_type == "application/json"

"""Review in a real browser, with answers of the server that are played: long names, slow and failing saves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.serving.conftest import Server
from tests.serving.test_page import Served, Visit, drop, picture, respond, visit_with_classes

ANIMALS = [
    *("Egyptian mau", "German short-haired pointer of the north and the south", "tabby", "red fox", "otter", "badger"),
    *("hedgehog", "squirrel", "West Highland white terrier, with or without its collar", "goose", "L" * 200, "robin"),
    "Staffordshire_bullterrier_crossed_with_a_dachshund",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def served(server: Server, faces: Path, trained: Path) -> Served:
    return Served(f"{server.url}/?token={server.token}", server.url, faces, trained)


def doubtful(label: str, suggested: str, number: int) -> dict[str, Any]:
    """An item of the list under review."""
    item = {"probability": 0.5, "reason": "mistake", "split": "validation", "correction": None}
    return item | {"id": str(number), "path": f"{label}/{number}.png", "label": label, "suggested": suggested}


def reviewing(opened: Visit, items: list[dict[str, Any]], classes: list[str]) -> Page:
    """The page at Review of these items; whoever decides must be answered by a route of the test's own."""
    page = opened.page
    page.route(
        "**/api/review",
        lambda route: respond(route, {"items": items, "classes": classes, "command": "train", "table": "table"}),
    )
    page.route("**/api/review/*/image", lambda route: route.fulfill(body=picture(), content_type="image/png"))
    page.click("#tab-review")
    expect(page.locator("#review-where")).to_have_text(f"1 of {len(items)}")
    return page


@pytest.mark.parametrize("width", [320, 1280])
def test_long_names_of_many_classes_stay_on_the_screen(browser: Browser, served: Served, width: int) -> None:
    opened = visit_with_classes(browser, served, ANIMALS, viewport={"width": width, "height": 800})
    drop(opened.page, [("n" * 200 + ".png", picture())])
    expect(opened.page.locator(".card .answer")).to_have_count(1)
    opened.page.get_by_role("button", name="all 13 classes").click()
    items = [doubtful(label, suggested, 0) for label, suggested in ((ANIMALS[10], ANIMALS[1]), (ANIMALS[1], "L" * 200))]
    page = reviewing(opened, items, ANIMALS)
    expect(page.locator("#review-other")).to_be_visible()
    for tab in ("classify", "answers", "review", "review"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
        page.keyboard.press("ArrowRight")  # the second of Review
    assert opened.wrong == []
    opened.context.close()

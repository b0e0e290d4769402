"""Review in a real browser, with answers of the server that are played: long names, slow and failing saves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

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


class Slow:
    """Review of four images whose decisions the test answers when it likes."""

    def __init__(self, opened: Visit) -> None:
        self.held: list[Route] = []
        self.wrong = opened.wrong
        self.items = [doubtful("cat", "dog", number) for number in range(4)]
        opened.page.route("**/api/review/*", lambda route: self.held.append(route))
        self.page = reviewing(opened, self.items, ["cat", "dog", "fox"])

    def answer(self, status: int = 200) -> dict[str, Any]:
        """Answer the decision that is on its way; what was sent, with the image's number."""
        for _ in range(100):
            if self.held:
                break
            self.page.wait_for_timeout(50)
        route = self.held.pop()
        number, sent = int(route.request.url[-1]), route.request.post_data_json
        if status == 200:
            self.items[number]["correction"] = sent["correction"]
            respond(route, {"item": self.items[number]})
        else:
            respond(route, {"error": {"code": "error", "detail": "cannot write", "hint": ""}}, status)
        return {"number": number, **sent}

    def says(self, done: int, message: str, where: int) -> None:
        expect(self.page.locator("#review-done")).to_have_text(re.compile(f"^{done} of 4 decided"))
        expect(self.page.locator("#review-message")).to_have_text(re.compile(f"^{message}$"))
        expect(self.page.locator("#review-where")).to_have_text(f"{where} of 4")


@pytest.fixture
def slow(browser: Browser, served: Served) -> Iterator[Slow]:
    opened = visit_with_classes(browser, served, ["cat", "dog", "fox"])
    yield Slow(opened)
    assert opened.wrong == []
    opened.context.close()


def test_keys_while_a_decision_is_saved_decide_what_is_on_the_screen_in_order(slow: Slow) -> None:
    for key in "kck":
        slow.page.keyboard.press(key)
    slow.says(3, "", where=4)
    expect(slow.page.locator("#review-done")).to_contain_text("3 being saved")
    assert len(slow.held) == 1  # one after another: each rests on the one before
    assert slow.answer() == {"number": 0, "correction": "cat", "expected": None}
    assert slow.answer() == {"number": 1, "correction": "dog", "expected": None}
    slow.page.keyboard.press("u")
    slow.says(2, "", where=3)
    slow.page.keyboard.press("3")
    assert slow.answer() == {"number": 2, "correction": "cat", "expected": None}
    assert slow.answer() == {"number": 2, "correction": None, "expected": "cat"}
    assert slow.answer() == {"number": 2, "correction": "fox", "expected": None}
    expect(slow.page.locator("#review-done")).to_have_text("3 of 4 decided")
    slow.says(3, "", where=4)
    expect(slow.page.locator("#review-undo")).to_be_enabled()


@pytest.mark.parametrize(("status", "why"), [(409, "Another tab or program .*"), (507, "Not saved: cannot write.")])
def test_a_decision_that_is_not_saved_names_its_image(slow: Slow, status: int, why: str) -> None:
    page = slow.page
    page.keyboard.press("k")
    page.keyboard.press("ArrowRight")
    slow.says(1, "", where=3)
    slow.answer(status)
    slow.says(0, f"cat/0.png: {why}", where=3)
    expect(page.locator("#review-undo")).to_be_disabled()
    page.keyboard.press("k")
    slow.answer()
    slow.says(1, f"cat/0.png: {why}", where=4)  # until it has been looked at
    for where in (3, 2, 1):
        page.keyboard.press("ArrowLeft")
        slow.says(1, why if where == 1 else f"cat/0.png: {why}", where)
    page.keyboard.press("r")
    slow.says(2, "", where=2)
    assert slow.answer()["number"] == 0
    slow.says(2, "", where=2)


def test_what_rests_on_a_decision_that_is_not_saved_is_not_saved_either(slow: Slow) -> None:
    page = slow.page
    for key in ("k", "k", "ArrowLeft", "ArrowLeft", "r"):
        page.keyboard.press(key)
    slow.says(2, "", where=2)
    slow.items[0]["correction"] = "fox"  # by another tab
    slow.answer(409)
    assert slow.answer() == {"number": 1, "correction": "cat", "expected": None}
    slow.says(2, "cat/0.png: Another tab .* it is labelled fox now. .*", where=2)
    page.wait_for_timeout(200)
    assert slow.held == []
    page.keyboard.press("u")
    slow.answer()
    slow.says(1, "cat/0.png: Another tab .*", where=2)
    expect(page.locator("#review-undo")).to_be_disabled()


def test_many_decisions_that_are_not_saved_are_counted(slow: Slow) -> None:
    for _ in slow.items:
        slow.page.keyboard.press("k")
    expect(slow.page.locator("#review-summary")).to_contain_text("4 labels kept")
    for _ in slow.items:
        slow.answer(507)
    expect(slow.page.locator("#review-message")).to_contain_text("Not saved either: 1 more image.")
    expect(slow.page.locator("#review-summary")).to_contain_text("4 images skipped")


def test_a_class_s_button_keeps_the_focus_from_image_to_image(slow: Slow) -> None:
    slow.page.locator("#review-classes button").nth(1).focus()
    slow.page.keyboard.press("Enter")
    slow.answer()
    slow.says(1, "", where=2)
    assert slow.page.evaluate("document.activeElement.innerText").endswith("dog")


def test_who_leaves_before_all_is_saved_is_asked(slow: Slow) -> None:
    slow.page.keyboard.press("k")
    slow.page.close(run_before_unload=True)
    for _ in range(50):
        if slow.wrong:
            break
        slow.page.wait_for_timeout(50)
    assert slow.wrong == ["dialog "]  # the browser's own words
    slow.wrong.clear()

"""Where the keyboard's focus is in a real browser when what had it vanishes: not back at the page's beginning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import chromium
from tests.serving.conftest import Server
from tests.serving.test_page import Served, Visit, drop, fake_rows, picture, respond, visit_with_classes

CLASSES = ["cat", "dog"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visited(browser: Browser, server: Server, faces: Path, trained: Path) -> Iterator[Visit]:
    served = Served(f"{server.url}/?token={server.token}", server.url, faces, trained)
    opened = visit_with_classes(browser, served, CLASSES)
    yield opened
    opened.context.close()
    assert opened.wrong == []


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))


def test_it_stays_on_the_button_that_turns_to_the_last_page(visited: Visit) -> None:
    page = visited.page
    drop(page, [(f"{number}.png", b"x") for number in range(50)])
    expect(page.locator("#status-text")).to_have_text("50 images answered")
    page.locator("#cards-pages").get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(10)
    assert focused(page) == "Next"
    page.keyboard.press("Enter")  # there is no further page
    expect(page.locator("#cards-pages .soft")).to_have_text("41–50 of 50")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(40)
    assert focused(page) == "Previous"


def test_it_stays_at_the_card_that_is_tried_again(visited: Visit) -> None:
    page = visited.page
    failing = [True]

    def predict(route: Route) -> None:
        if failing:
            respond(route, {"error": {"code": "part_headers_too_large", "detail": "no", "hint": ""}}, 413)
        else:
            respond(route, {"predictions": fake_rows(route, CLASSES)})

    page.route("**/api/predict", predict)
    drop(page, [("a.png", picture()), ("b.png", picture())])
    expect(page.locator(".card .problem")).to_have_count(2)
    failing.clear()
    second = page.locator(".card").nth(1)
    second.get_by_role("button", name="Try again").focus()
    page.keyboard.press("Enter")
    expect(second.locator(".answer")).to_be_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "b.png"
    page.select_option("#tools-cards select >> nth=1", "problems")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("button", name="Try again").focus()
    page.keyboard.press("Enter")  # and the card is no longer among those with a problem
    expect(page.locator(".card")).to_have_count(0)
    assert focused(page) == "cards"


def test_it_stays_with_a_card_that_moves(visited: Visit) -> None:
    page = visited.page
    drop(page, [("a.png", picture())])
    expect(page.locator(".card .answer")).to_have_count(1)
    error = {"error": {"code": "part_headers_too_large", "detail": "no", "hint": ""}}
    page.route("**/api/predict", lambda route: respond(route, error, 413))
    page.select_option("#tools-cards select >> nth=0", "sure")
    drop(page, [("b.png", picture())])
    page.get_by_role("button", name="Try again").focus()
    page.route(
        "**/api/predict",
        lambda route: respond(route, {"predictions": [fake_rows(route, CLASSES)[0] | {"probability": 0.9}]}),
    )
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_contain_text("b.png")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "b.png"


def test_it_goes_to_the_progress_when_pause_vanishes(visited: Visit) -> None:
    page, held = visited.page, list[Route]()
    page.route("**/api/predict", lambda route: held.append(route))
    drop(page, [("a.png", picture())])
    expect(page.locator("#pause")).to_be_visible()
    page.focus("#pause")
    page.wait_for_timeout(200)
    respond(held[0], {"predictions": fake_rows(held[0], CLASSES)})
    expect(page.locator("#pause")).to_be_hidden()
    assert focused(page) == "status"

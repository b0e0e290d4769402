"""What must be seen of the page in a real browser: under the pointer, and in a system's own few colours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from tests.browser import chromium
from tests.serving.conftest import Server
from tests.serving.test_page import Served, drop, picture, visit_with_classes


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def served(server: Server, faces: Path, trained: Path) -> Served:
    return Served(f"{server.url}/?token={server.token}", server.url, faces, trained)


def highlighted(place: Locator) -> bool:
    """Whether the system's colour of what is chosen is drawn there: all others of these places are black and white."""
    with Image.open(io.BytesIO(place.screenshot())) as drawn:
        pixels = np.asarray(drawn.convert("RGB"), np.int16).reshape(-1, 3)
    return bool(np.mean(np.ptp(pixels, axis=1) > 40) > 0.05)


def test_a_pressed_switch_can_be_read_under_the_pointer(browser: Browser, served: Served) -> None:
    opened = visit_with_classes(browser, served, ["cat", "dog"], reduced_motion="reduce")
    drop(opened.page, [("a.png", picture())])
    switch = opened.page.get_by_role("button", name="Similar")
    switch.click()
    switch.hover()
    text, ground = switch.evaluate("(each) => [getComputedStyle(each).color, getComputedStyle(each).backgroundColor]")
    assert text != ground
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_and_how_sure_is_seen_in_forced_colours(browser: Browser, served: Served, scheme: str) -> None:
    options = {"forced_colors": "active", "color_scheme": scheme, "reduced_motion": "reduce"}
    opened = visit_with_classes(browser, served, ["cat", "dog"], **options)
    page = opened.page
    drop(page, [("a.png", picture())])
    expect(page.locator(".card .answer")).to_have_count(1)
    page.get_by_role("button", name="Similar").click()
    page.click("h1")  # neither pointer nor focus is left on it
    assert highlighted(page.locator("[data-switch=similar]"))
    assert not highlighted(page.locator("[data-switch=layers]"))
    assert highlighted(page.locator("#tab-classify"))
    assert not highlighted(page.locator("#tab-answers"))
    assert highlighted(page.locator(".bars .rail").first)
    page.route("**/api/predict", lambda route: None)  # is never answered
    drop(page, [("b.png", picture())])
    expect(page.locator("#status-text")).to_have_text("1 of 2 images answered")
    assert highlighted(page.locator("#progress"))
    opened.context.close()

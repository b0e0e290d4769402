"""The report in a real browser, opened from the disk: light and dark, wide and narrow, by hand and under attack.

The browser is Debian's `chromium`; where it is absent the tests are skipped, in continuous integration they fail.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from fieldmark.report.render import render_report
from fieldmark.report.wording import visible
from tests.browser import chromium
from tests.report.fabricate import make_run
from tests.report.test_render import HOSTILE

WIDTHS = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
INTERACTIVE_MILLISECONDS = 1000
ATTEMPTS = 10  # a busy machine is not the page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a hundred mistakes, rendered."""
    splits = {"train": 12, "validation": 60}
    folder = make_run(tmp_path_factory.mktemp("page"), wrong=100, splits=splits)
    return render_report(folder).parent


class Visit(NamedTuple):
    """An open report, what it asked for, and what must not happen on it."""

    context: BrowserContext
    page: Page
    requests: list[str]
    wrong: list[str]  # dialogs, errors, violations of the content policy


def visit(browser: Browser, run: Path, *, width: str = "wide", **options: Any) -> Visit:
    context = browser.new_context(viewport=WIDTHS[width], **options)
    page = context.new_page()
    found = Visit(context, page, [], [])
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("requestfailed", lambda request: found.wrong.append(f"failed: {request.url}"))
    page.on("pageerror", lambda error: found.wrong.append(str(error)))
    page.on("dialog", lambda dialog: (found.wrong.append(dialog.message), dialog.dismiss()))
    # A violation of the content policy is an error of the console, too.
    page.on("console", lambda line: found.wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.goto((run / "report.html").as_uri())
    return found


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def load_images(page: Page) -> None:
    """Load and decode every image, those out of sight too; one that is missing is an error."""
    page.evaluate(
        """async () => {
            for (const image of document.images) { image.loading = "eager"; }
            await Promise.all([...document.images].map((image) => image.decode()));
        }"""
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_the_disk_and_fits(browser: Browser, run: Path, scheme: Any, width: str) -> None:
    found = visit(browser, run, width=width, color_scheme=scheme)
    load_images(found.page)
    assert overflow(found.page) <= 0
    assert all(url.startswith(run.as_uri()) for url in found.requests), found.requests
    assert len(found.requests) > 10
    # One line, whose words are not broken; what does not fit is scrolled to.
    assert found.page.locator("nav").bounding_box()["height"] < 60
    picture = Image.open(io.BytesIO(found.page.screenshot())).convert("L")
    levels = np.asarray(picture, dtype=np.float32)
    # The ground is light or dark as asked, and something is written on it in another tone.
    ground = float(np.median(levels))
    assert ground > 200 if scheme == "light" else ground < 70
    assert (np.abs(levels - ground) > 90).mean() > 0.005
    assert found.wrong == []
    found.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_real_run_fits_too_and_is_readable_by_all(browser: Browser, trained: Path, width: str) -> None:
    found = visit(browser, trained, width=width)
    load_images(found.page)
    assert overflow(found.page) <= 0
    serious = [
        (each["id"], [node["html"][:120] for node in each["nodes"][:3]])
        for each in Axe().run(found.page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert found.wrong == []
    found.context.close()


def test_it_answers_within_a_second(browser: Browser, run: Path) -> None:
    loaded, answered = [], []
    for _ in range(ATTEMPTS):
        found = visit(browser, run)
        loaded.append(found.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        answered.append(
            found.page.evaluate(
                """() => {
                    const order = document.querySelectorAll(".tools select")[2];
                    const start = performance.now();
                    order.value = "path";
                    order.dispatchEvent(new Event("input", { bubbles: true }));
                    document.body.getBoundingClientRect();
                    return performance.now() - start;
                }"""
            )
        )
        found.context.close()
        if loaded[-1] + answered[-1] < INTERACTIVE_MILLISECONDS:
            break
    assert min(map(sum, zip(loaded, answered, strict=True))) < INTERACTIVE_MILLISECONDS


def shown(page: Page) -> list[str]:
    return page.locator("#mistakes .card[data-path]:visible").evaluate_all("all => all.map(one => one.dataset.path)")


def test_mistakes_are_sorted_and_filtered(browser: Browser, run: Path) -> None:
    found = visit(browser, run)
    page, count = found.page, found.page.locator("#mistakes .count")
    everything = shown(page)
    assert count.inner_text() == f"{len(everything)} of {len(everything)} shown"
    page.get_by_label("Order").select_option("by path")
    parts = [[path for path in shown(page) if path.startswith(split)] for split in ("train", "validation")]
    assert all(part == sorted(part) for part in parts)
    assert sorted(shown(page)) == sorted(everything)
    page.get_by_label("It is").select_option("cats")
    cats = [path for path in everything if "/cats/" in path]
    assert sorted(shown(page)) == sorted(cats) != sorted(everything)
    page.get_by_label("Path contains").fill("IMAGE-1.png ")
    assert sorted(shown(page)) == sorted(path for path in cats if path.endswith("image-1.png"))
    assert count.inner_text() == f"{len(shown(page))} of {len(everything)} shown"
    page.get_by_label("It is").select_option("any")
    page.get_by_label("Path contains").fill("nowhere")
    assert shown(page) == []
    assert found.wrong == []
    found.context.close()


def tags(page: Page) -> list[str]:
    """All elements but those that a longer name has more of, with the names of their attributes."""
    return page.evaluate(
        """[...document.querySelectorAll("*")].filter(one => one.tagName !== "WBR")
            .map(one => one.tagName + " " + one.getAttributeNames().sort().join(" "))"""
    )


@pytest.mark.parametrize("name", [*HOSTILE, "q\"uo'te`s", "a" * 200])
def test_no_name_becomes_an_element(browser: Browser, tmp_path: Path, name: str) -> None:
    pages = []
    for folder, own in (("plain", "cats"), ("hostile", name)):
        stem = own.replace("/", "∕")[:100]
        made = render_report(make_run(tmp_path / folder, classes=(own, f"{own} 2"), stem=stem)).parent
        found = visit(browser, made, width="narrow")
        assert found.wrong == [], folder
        assert overflow(found.page) <= 0
        pages.append(tags(found.page))
        if own == name:
            assert all(url.startswith(made.as_uri()) for url in found.requests)
            options = found.page.locator(".tools select").first.locator("option").all_text_contents()
            assert visible(name) in options
            assert visible(name)[:12] in found.page.locator("#confusion").text_content()
        found.context.close()
    # What is written from right to left is set apart by elements of ours.
    assert [tag for tag in pages[0] if tag != "BDI "] == [tag for tag in pages[1] if tag != "BDI "]

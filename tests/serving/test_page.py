"""The page in a real browser, against a real server: what a person does, by mouse and keyboard, and what attackers try.

The browser is Debian's `chromium`; where it is absent the tests are skipped, in continuous integration they fail.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from fieldmark.classifier import load
from fieldmark.images.corrections import read_table
from fieldmark.pipeline import train
from fieldmark.report.text import prediction_writer
from fieldmark.report.wording import visible
from tests.browser import chromium
from tests.serving.conftest import serving

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SERIOUS = {"serious", "critical"}
ATTACKS = [
    "<script>alert(1)</script>.png",
    "<img src=x onerror=alert(1)>.png",
    '"><svg onload=alert(1)>.png',
    "{{ 7*7 }}${alert(1)}.png",
    "javascript:alert(1)",
    "photo\u202egpj.exe",
    "\u2066isolate\u2069.png",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07.png",
    "family👨‍👩‍👧‍👦.png",
    "=cmd|' /C calc'!A0.png",
    "@SUM(1+1).png",
    "+1.png",
    "-1.png",
    "\tTAB.png",
    'quote",comma\nline.png',
    "__proto__",
    "constructor",
    "a" * 300 + ".png",
]


class Served(NamedTuple):
    """A running server, its dataset and its run."""

    url: str  # with the token
    origin: str
    root: Path
    run: Path


@pytest.fixture(scope="module")
def served(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`fieldmark serve` of a run with a dataset of its own, since reviewing writes beside the images."""
    folder = tmp_path_factory.mktemp("page")
    root = shutil.copytree(faces, folder / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDMARK_CACHE_DIR", str(folder / "cache"))
        run = train(
            root, out=folder / "faces-1", network="course", image_size=24, channels=(8,), epochs=3, batch_size=16
        )
        with serving(run.folder) as server:
            yield Served(f"{server.url}/?token={server.token}", server.url, root, run.folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


class Visit(NamedTuple):
    """An open page, and everything that must not happen on it."""

    page: Page
    context: BrowserContext
    requests: list[str]
    wrong: list[str]  # dialogs, errors, violations of the content policy


def visit(browser: Browser, served: Served, **options: Any) -> Visit:
    context = browser.new_context(viewport=options.pop("viewport", WIDE), accept_downloads=True, **options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    opened = Visit(page, context, [], [])
    page.on("request", lambda request: opened.requests.append(request.url))
    page.on("dialog", lambda dialog: (opened.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: opened.wrong.append(f"error {error}"))
    page.on(
        "console", lambda message: opened.wrong.append(message.text) if "Content Security" in message.text else None
    )
    page.goto(served.url)
    page.wait_for_selector("body.ready")
    return opened


@pytest.fixture
def visited(browser: Browser, served: Served) -> Iterator[Visit]:
    opened = visit(browser, served)
    yield opened
    opened.context.close()
    assert opened.wrong == []
    assert [url for url in opened.requests if not url.startswith((served.origin + "/", "data:", "blob:"))] == []


def picture(colour: tuple[int, int, int] = (200, 60, 40), format: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(content, format)
    return content.getvalue()


def drop(page: Page, files: list[tuple[str, bytes]]) -> None:
    """Drop files onto the page, as a browser does."""
    page.evaluate(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
            }
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            for (const type of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(type, options));
        }""",
        [[name, base64.b64encode(content).decode()] for name, content in files],
    )


def until(page: Page, expression: str) -> None:
    """Playwright's own wait_for_function evaluates a string in the page, which the content policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def wait_for_table(page: Page, table: Path, corrections: dict[str, str]) -> None:
    """The next image is shown while the decision is still being saved."""
    for _ in range(100):
        if table.exists() and read_table(table) == corrections:
            return
        page.wait_for_timeout(100)
    assert read_table(table) == corrections


def three_images(root: Path) -> list[Path]:
    return sorted((root / "validation").rglob("*.png"))[:3]


def drop_three(visited: Visit, served: Served) -> list[Path]:
    paths = three_images(served.root)
    drop(visited.page, [(path.name, path.read_bytes()) for path in paths])
    expect(visited.page.locator(".card .answer")).to_have_count(3)
    return paths


def downloaded(page: Page, button: str) -> str:
    page.click("#tab-answers")
    with page.expect_download() as event:
        page.click(button)
    return Path(event.value.path()).read_bytes().decode("utf-8")


def test_three_dropped_images_get_the_answers_of_http_and_python(visited: Visit, served: Served) -> None:
    paths = drop_three(visited, served)
    ours = load(served.run).predict(paths)
    for card, path, prediction in zip(visited.page.locator(".card").all(), paths, ours, strict=True):
        response = visited.context.request.post(
            f"{served.origin}/api/predict",
            multipart={"files": {"name": path.name, "mimeType": "image/png", "buffer": path.read_bytes()}},
        )
        (by_http,) = response.json()["predictions"]
        assert by_http == prediction.to_json() | {"path": path.name}
        assert card.locator(".answer .name").inner_text() == prediction.label
        shown = {
            bar.get_attribute("data-class"): float(bar.get_attribute("data-share") or "nan")
            for bar in card.locator(".bars li").all()
        }
        assert shown == prediction.probabilities
        assert card.locator(".flag").count() == prediction.unfamiliar


def test_a_card_shows_what_was_looked_at_each_layer_and_the_most_similar(visited: Visit, served: Served) -> None:
    drop_three(visited, served)
    card = visited.page.locator(".card").first
    looked = card.get_by_role("button", name="Looked at")
    looked.click()
    expect(card.locator(".overlay")).to_be_visible()
    until(visited.page, "document.querySelector('.overlay').naturalWidth > 100")
    expect(card.locator(".panel-looked .sentence")).to_contain_text("%")
    assert looked.get_attribute("aria-pressed") == "true"
    adding = card.locator(".overlay").get_attribute("src")
    card.get_by_label("What covering changes").check()
    expect(card.locator(".panel-looked .sentence")).to_contain_text("covering")
    expect(card.locator(".overlay")).to_have_count(1)
    assert card.locator(".overlay").get_attribute("src") != adding
    looked.click()
    expect(card.locator(".overlay")).to_have_count(0)
    card.get_by_role("button", name="Layers").click()
    expect(card.locator("output")).to_contain_text("Layer 1 of")
    card.get_by_role("button", name="Next layer").click()
    expect(card.locator("output")).to_contain_text("Layer 2 of")
    card.get_by_role("button", name="Similar").click()
    # A network without a feature vector has none; then the page says so.
    expect(card.locator(".panel-similar .note")).not_to_have_class("note working")
    assert len(card.locator(".panel-similar .note").inner_text()) > 20


def test_where_nothing_adds_up_covering_is_shown(visited: Visit, served: Served) -> None:
    def without(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "activation": None, "problem": "no activation map"})

    visited.page.route("**/api/explain?parts=activation", without)
    drop_three(visited, served)
    card = visited.page.locator(".card").first
    card.get_by_role("button", name="Looked at").click()
    expect(card.locator(".overlay")).to_be_visible()
    expect(card.get_by_label("What covering changes")).to_be_checked()


def test_the_table_is_downloaded_as_predict_writes_it(visited: Visit, served: Served) -> None:
    paths = drop_three(visited, served)
    drop(visited.page, [("=cmd.png", b"no image"), ("late,\n.png", b"")])
    expect(visited.page.locator(".card .problem")).to_have_count(2)
    ours = [
        prediction.to_json() | {"path": path.name}
        for prediction, path in zip(load(served.run).predict(paths), paths, strict=True)
    ]
    nothing = {"label": None, "probability": None, "probabilities": {}, "unfamiliar": False, "familiarity": None}
    expected = [
        *ours,
        nothing | {"path": "=cmd.png", "problem": "not_an_image"},
        nothing | {"path": "late,\n.png", "problem": "empty_file"},
    ]
    by_json = json.loads(downloaded(visited.page, "#download-json"))["predictions"]
    assert by_json == expected
    write = prediction_writer(load(served.run).classes, "csv")
    text = "".join(write(row, "") for row in expected)
    assert parsed(downloaded(visited.page, "#download-csv")) == parsed(text)
    rows = visited.page.locator("#answers-body tr")
    expect(rows).to_have_count(5)
    visited.page.get_by_role("button", name="Probability").click()
    shares = [
        float(text.rstrip("\u00a0%")) for text in rows.locator("td:nth-child(3)").all_inner_texts() if "%" in text
    ]
    assert shares == sorted(shares)


def parsed(text: str) -> list[list[Any]]:
    """Rows of a table; numbers as numbers, since 1e-7 and 1e-07 are the same."""

    def value(cell: str) -> Any:
        try:
            return float(cell)
        except ValueError:
            return cell

    return [[value(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]


def test_every_image_of_the_decoder_s_tests_has_the_same_bits_on_the_page(visited: Visit, served: Served) -> None:
    paths = sorted((Path(__file__).parents[1] / "images" / "files").iterdir())
    visited.page.set_input_files("#choose-files", paths)
    expect(visited.page.locator("#count-answers")).to_have_text(str(len(paths)), timeout=60_000)
    by_page = json.loads(downloaded(visited.page, "#download-json"))["predictions"]
    by_python = [
        prediction.to_json() | {"path": path.name}
        for path, prediction in zip(paths, load(served.run).predict(paths), strict=True)
    ]
    assert by_page == by_python


def test_sorting_and_filtering(visited: Visit, served: Served) -> None:
    drop_three(visited, served)
    drop(visited.page, [("broken.png", picture()[:50])])
    expect(visited.page.locator(".card .problem")).to_have_count(1)
    visited.page.select_option("#tools-cards select >> nth=0", "unsure")
    visited.page.wait_for_timeout(200)
    shares = [float(bar.get_attribute("data-share") or "nan") for bar in visited.page.locator(".bars .first").all()]
    assert shares == sorted(shares)
    assert visited.page.locator(".card").last.locator(".problem").count() == 1
    visited.page.select_option("#tools-cards select >> nth=1", "problems")
    expect(visited.page.locator(".card")).to_have_count(1)
    expect(visited.page.locator("#tools-cards .count")).to_have_text("1 of 4 shown")


def test_review_by_keyboard_is_saved_at_once(visited: Visit, served: Served) -> None:
    page, table = visited.page, served.root / "corrections.csv"
    table.unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in served.root.rglob("*.png")}
    page.click("#tab-review")
    items = settled_items(visited, served)
    assert len(items) >= 2
    page.reload()
    page.wait_for_selector("body.ready")
    expect(page.locator("#review-where")).to_have_text(f"1 of {len(items)}")
    first, second = items[:2]
    expect(page.locator("#review-path")).to_have_text(first["path"])
    until(page, "document.getElementById('review-image').naturalWidth > 0")
    page.keyboard.press("c")
    expect(page.locator("#review-where")).to_have_text(f"2 of {len(items)}")
    (other,) = {"happy", "sad"} - {first["label"]}
    wait_for_table(page, table, {first["path"]: other})
    page.keyboard.press("r")
    expect(page.locator("#review-done")).to_have_text(f"2 of {len(items)} decided")
    wait_for_table(page, table, {first["path"]: other, second["path"]: "remove"})
    page.keyboard.press("u")
    expect(page.locator("#review-where")).to_have_text(f"2 of {len(items)}")
    expect(page.locator("#review-decision")).to_have_text("Not decided yet")
    wait_for_table(page, table, {first["path"]: other})
    page.keyboard.press("k")
    expect(page.locator("#review-done")).to_have_text(f"2 of {len(items)} decided")
    for _ in items:
        page.keyboard.press("ArrowRight")
    expect(page.locator("#review-command")).to_contain_text("fieldmark train")
    expect(page.locator("#review-summary")).to_contain_text("1 label changed")
    assert {path: path.read_bytes() for path in served.root.rglob("*.png")} == before


def settled_items(visited: Visit, served: Served) -> list[dict[str, Any]]:
    """The list once the search for suspected labels has ended."""
    for _ in range(40):
        answer = visited.context.request.get(f"{served.origin}/api/review").json()
        if not answer.get("pending"):
            return list(answer["items"])
        visited.page.wait_for_timeout(500)
    raise AssertionError("the search does not end")


def test_a_label_that_another_tab_changed_is_not_overwritten(visited: Visit, served: Served) -> None:
    page, table = visited.page, served.root / "corrections.csv"
    table.unlink(missing_ok=True)
    settled_items(visited, served)
    page.click("#tab-review")
    expect(page.locator("#review-where")).to_contain_text("1 of")
    path = page.locator("#review-path").inner_text()
    table.write_text(f"path,label\n{path},remove\n")
    page.keyboard.press("c")
    expect(page.locator("#review-message")).to_contain_text(f"{path}: Another tab")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#review-message")).to_contain_text("Another tab")
    expect(page.locator("#review-decision")).to_have_text("Left out of training")
    wait_for_table(page, table, {path: "remove"})
    page.keyboard.press("k")  # now that it has been seen
    expect(page.locator("#review-where")).to_contain_text("2 of")
    wait_for_table(page, table, {path: path.split("/")[-2]})
    table.unlink()


def test_everything_by_keyboard_alone(visited: Visit, served: Served) -> None:
    page = visited.page
    drop_three(visited, served)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.switch || ''"))
        if seen[-1] == "looked":
            break
    assert {"tab-classify", "button-files", "button-folder", "clear"} <= set(seen)
    page.keyboard.press("Space")
    expect(page.locator(".overlay")).to_have_count(1)
    page.focus("#tab-classify")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-answers")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#panel-report")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "tab-report"


@pytest.mark.parametrize("where", ["file", "class"])
def test_names_are_only_ever_text(browser: Browser, served: Served, where: str) -> None:
    names = ATTACKS if where == "class" else ["a", "b"]
    opened = visit_with_classes(browser, served, names)
    page = opened.page
    elements = "document.querySelectorAll('script, svg, img, iframe, a, style, object').length"
    files = [(name, picture()) for name in (ATTACKS if where == "file" else ["x.png"])]
    before = page.evaluate(elements)
    drop(page, files)
    expect(page.locator(".card .answer")).to_have_count(len(files))
    if where == "class":
        page.get_by_role("button", name="all 18 classes").click()
    page.click("#tab-answers")
    expect(page.locator("#answers-body tr")).to_have_count(len(files))
    assert page.evaluate(elements) == before
    text = page.locator("#answers-body").inner_text() + page.locator("#cards").text_content()
    assert not set(re.findall(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text))
    rows = list(csv.reader(io.StringIO(downloaded(page, "#download-csv"), newline="")))
    assert len(rows) == len(files) + 1
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert opened.wrong == []
    opened.context.close()


def test_names_under_review_are_only_ever_text(browser: Browser, served: Served) -> None:
    opened = visit_with_classes(browser, served, ATTACKS)
    page = opened.page
    item = {"suggested": "b", "probability": 0.5, "reason": "mistake", "split": "train", "correction": None}
    items = [item | {"id": str(number), "path": name, "label": name} for number, name in enumerate(ATTACKS)]
    answer = {"items": items, "classes": ATTACKS, "command": "<b>train</b>", "table": "<b>table</b>"}

    def reviewed(route: Route) -> None:
        if route.request.method == "PUT":
            number = int(route.request.url.split("/")[-1])
            respond(route, {"item": items[number] | {"correction": route.request.post_data_json["correction"]}})
        elif "image" in route.request.url:
            route.fulfill(body=picture(), content_type="image/png")
        else:
            respond(route, answer)

    page.route("**/api/review**", reviewed)
    page.click("#tab-review")
    expect(page.locator("#review-where")).to_have_text(f"1 of {len(items)}")
    before = page.evaluate("document.querySelectorAll('script, svg, b, a, style, object').length")
    for number in range(len(items)):
        page.keyboard.press("k" if number % 2 else "1")
        expect(page.locator("#review-done")).to_have_text(f"{number + 1} of {len(items)} decided")
    page.keyboard.press("u")
    expect(page.locator("#review-one")).to_be_visible()
    page.keyboard.press("r")
    expect(page.locator("#review-end")).to_be_visible()
    assert page.locator("#review-command").inner_text() == "<b>train</b>"
    assert page.evaluate("document.querySelectorAll('script, svg, b, a, style, object').length") == before
    assert opened.wrong == []
    opened.context.close()


@pytest.mark.parametrize("more", [[], ["dog"], [f"class {number}" for number in range(12)]], ids=["2", "3", "14"])
def test_a_class_that_is_called_remove_is_not_offered(browser: Browser, served: Served, more: list[str]) -> None:
    classes = ["cat", "remove", *more]
    opened = visit_with_classes(browser, served, classes)
    page, written = opened.page, list[str]()
    item = {"probability": 0.5, "reason": "mistake", "split": "train", "correction": None}
    items = [
        item | {"id": "0", "path": "a.png", "label": "cat", "suggested": "remove"},
        item | {"id": "1", "path": "b.png", "label": "remove", "suggested": "cat"},
    ]

    def reviewed(route: Route) -> None:
        if route.request.method == "PUT":
            written.append(route.request.post_data_json["correction"])
            respond(route, {"item": items[int(route.request.url[-1])] | {"correction": written[-1]}})
        elif "image" in route.request.url:
            route.fulfill(body=picture(), content_type="image/png")
        else:
            respond(route, {"items": items, "classes": classes, "command": "", "table": ""})

    page.route("**/api/review**", reviewed)
    page.click("#tab-review")
    expect(page.locator("#review-word")).to_contain_text("A class is called “remove”")
    for keep, keys in ((True, "cr"), (False, "kr")):
        expect(page.locator("#review-keep")).to_be_visible(visible=keep)
        expect(page.locator("#review-change")).to_be_visible(visible=not keep)
        offered = page.locator(".decide button:visible, #review-other option").all_inner_texts()
        assert not [text for text in offered if "remove" in text.lower()]
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("c")
    expect(page.locator("#review-end")).to_be_visible()
    assert written == ["cat"]
    assert opened.wrong == []
    opened.context.close()


def test_classes_that_are_called_like_members_of_an_object_have_no_share_where_there_is_none(
    browser: Browser, served: Served
) -> None:
    names = ["constructor", "__proto__", "toString", "hasOwnProperty"]
    opened = visit_with_classes(browser, served, names)
    page = opened.page
    drop(page, [("a.png", picture())])
    expect(page.locator(".card .answer")).to_have_count(1)
    nothing = {"label": None, "probability": None, "probabilities": {}, "unfamiliar": False, "familiarity": None}
    page.route("**/api/predict", lambda route: respond(route, {"predictions": [nothing | {"problem": "not_an_image"}]}))
    drop(page, [("text.png", b"x")])
    expect(page.locator(".card .problem")).to_have_count(1)
    error = {"error": {"code": "file_too_large", "detail": "too large", "hint": ""}}
    page.route("**/api/predict", lambda route: respond(route, error, 413))
    drop(page, [("refused.png", b"x")])
    expect(page.locator(".card .problem")).to_have_count(2)
    rows = list(csv.reader(io.StringIO(downloaded(page, "#download-csv"), newline="")))
    assert [row[3:7] for row in rows[1:]] == [["0.25"] * 4, [""] * 4, [""] * 4]
    assert opened.wrong == []
    opened.context.close()


def test_the_sentence_leaves_the_class_s_name_as_it_is(browser: Browser, served: Served) -> None:
    opened = visit_with_classes(browser, served, ["constructor", "élan"])
    answer = {"label": "constructor", "activation": "data:,", "sentence": "constructor (43.7 %): no part speaks for it"}
    opened.page.route("**/api/explain*", lambda route: respond(route, answer))
    drop(opened.page, [("a.png", picture())])
    opened.page.get_by_role("button", name="Looked at").click()
    expect(opened.page.locator(".sentence")).to_have_text("constructor (43.7 %): no part speaks for it.")
    opened.context.close()


def test_the_link_to_the_interface_keeps_the_answers(visited: Visit, served: Served) -> None:
    drop_three(visited, served)
    with visited.context.expect_page() as opened:
        visited.page.get_by_role("link", name="the same by HTTP").click()
    expect(opened.value.locator(".operation").first).to_be_visible()
    expect(visited.page.locator(".card .answer")).to_have_count(3)


def visit_with_classes(browser: Browser, served: Served, classes: list[str], **options: Any) -> Visit:
    """The page with a server that answers with these classes."""
    opened = visit(browser, served, **options)
    opened.page.route(
        "**/api/model", lambda route: respond(route, {"classes": classes, "limits": {}, "formats": [], "review": True})
    )
    opened.page.route("**/api/predict", lambda route: respond(route, {"predictions": fake_rows(route, classes)}))
    opened.page.reload()
    opened.page.wait_for_selector("body.ready")
    return opened


def respond(route: Route, body: dict[str, Any], status: int = 200, **headers: str) -> None:
    route.fulfill(status=status, json=body, headers=headers)


def fake_rows(route: Route, classes: list[str]) -> list[dict[str, Any]]:
    number = (route.request.post_data_buffer or b"").count(b'name="files"')
    shares = {name: 1 / len(classes) for name in classes}
    row = {
        "label": classes[0],
        "probability": 1 / len(classes),
        "probabilities": shares,
        "unfamiliar": True,
        "problem": None,
        "familiarity": 0.0,
    }
    return [row] * number


def test_the_words_of_the_page_are_those_of_the_report(visited: Visit) -> None:
    shown = visited.page.evaluate(
        "async (names) => { const t = await import('/static/text.js'); return names.map(t.visible); }", ATTACKS
    )
    assert shown == [visible(name) for name in ATTACKS]


def test_a_busy_server_is_asked_again(visited: Visit) -> None:
    tries = []

    def busy(route: Route) -> None:
        tries.append(1)
        if len(tries) <= 2:
            respond(
                route, {"error": {"code": "over_capacity", "detail": "busy", "hint": ""}}, 429, **{"Retry-After": "0"}
            )
        else:
            route.continue_()

    visited.page.route("**/api/predict", busy)
    drop(visited.page, [("a.png", picture())])
    expect(visited.page.locator(".card .answer")).to_have_count(1)
    assert len(tries) == 3


def test_one_refused_file_does_not_fail_its_neighbours(visited: Visit) -> None:
    def refuse(route: Route) -> None:
        if b"BAD" in (route.request.post_data_buffer or b""):
            respond(route, {"error": {"code": "part_headers_too_large", "detail": "not this one", "hint": ""}}, 413)
        else:
            route.continue_()

    visited.page.route("**/api/predict", refuse)
    drop(visited.page, [("a.png", picture()), ("b.png", b"BAD"), ("c.png", picture())])
    expect(visited.page.locator(".card .answer")).to_have_count(2)
    expect(visited.page.locator(".card .problem")).to_have_text("Not this one.")


def test_a_server_that_is_gone_is_waited_for(visited: Visit) -> None:
    page = visited.page
    page.route("**/*", lambda route: route.abort())
    drop(page, [("a.png", picture())])
    expect(page.locator("#connection")).to_contain_text("does not answer")
    page.unroute("**/*")
    expect(page.locator(".card .answer")).to_have_count(1)
    expect(page.locator("#connection")).to_be_hidden()


def test_a_token_that_is_no_longer_valid_is_said_so(visited: Visit) -> None:
    visited.context.clear_cookies()
    drop(visited.page, [("a.png", picture())])
    expect(visited.page.locator("#connection")).to_contain_text("new token")


def test_all_that_failed_is_tried_again_at_once(visited: Visit, served: Served) -> None:
    page = visited.page
    again = page.get_by_role("button", name="Try all 3 again")
    drop(page, [("before.png", picture())])
    expect(page.locator(".card .answer")).to_have_count(1)
    visited.context.clear_cookies()
    drop(page, [(name, picture()) for name in ("a.png", "b.png", "c.png")])
    expect(page.locator(".card .problem")).to_have_count(3)
    expect(page.locator("#connection")).to_contain_text("try again here")
    visited.context.new_page().goto(served.url)  # which gives this browser the token again
    before = len(visited.requests)
    again.click()
    expect(page.locator(".card .answer")).to_have_count(4)
    assert [url for url in visited.requests[before:] if "predict" in url] == [f"{served.origin}/api/predict"]
    expect(again).to_be_hidden()
    expect(page.locator("#connection")).to_be_hidden()
    rows = json.loads(downloaded(page, "#download-json"))["predictions"]
    assert [row["path"] for row in rows] == ["before.png", "a.png", "b.png", "c.png"]


def test_a_file_over_the_limit_is_not_sent(visited: Visit) -> None:
    visited.page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(50_000_001)], "large.png"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }"""
    )
    expect(visited.page.locator(".card .problem")).to_contain_text("Larger than the 50 MB")
    assert not [url for url in visited.requests if "predict" in url]


def test_thousands_of_files_keep_the_document_small(browser: Browser, served: Served) -> None:
    opened = visit_with_classes(browser, served, [f"class {number:03}" for number in range(200)])
    page = opened.page
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            for (let number = 0; number < 600; number += 1) transfer.items.add(new File(["x"], `${number}.png`));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }"""
    )
    expect(page.locator("#status-text")).to_have_text("600 images answered", timeout=40_000)
    assert page.locator(".card").count() == 40
    assert page.locator("body *").count() < 4000
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".card").first).to_contain_text("40.png")
    page.click("#tab-answers")
    assert page.locator("#answers-body tr").count() == 100
    opened.context.close()


def test_a_pasted_picture_gets_a_name(visited: Visit) -> None:
    visited.page.evaluate(
        """(content) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "image.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        base64.b64encode(picture()).decode(),
    )
    expect(visited.page.locator(".card .path")).to_have_text("pasted-1.png")


def test_a_chosen_folder_keeps_its_paths_and_leaves_out_what_is_hidden(visited: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("one.png", "below/two.png", ".hidden.png", "below/Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())
    visited.page.set_input_files("#choose-folder", folder)
    expect(visited.page.locator(".card .answer")).to_have_count(2)
    paths = sorted(visited.page.locator(".card .path").all_inner_texts())
    assert paths == ["photos/below/two.png", "photos/one.png"]
    expect(visited.page.locator("#intake")).to_have_text("2 hidden files left out.")


def drop_paths(page: Page, paths: list[Path]) -> None:
    """Drop files and folders of the disk, as the browser takes them from the file manager."""
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def test_a_dropped_folder_is_walked_through(visited: Visit, tmp_path: Path) -> None:
    folder, alone = tmp_path / "photos", tmp_path / "alone.png"
    names = [f"many/{number:03}.png" for number in range(130)]  # a reader gives a hundred at a time
    for name in ("one.png", "below/deep/two.png", ".hidden.png", ".git/three.png", "below/Thumbs.db", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())
    (folder / "empty").mkdir()
    alone.write_bytes(picture())
    drop_paths(visited.page, [folder, alone])
    expect(visited.page.locator("#count-answers")).to_have_text("133", timeout=60_000)
    expect(visited.page.locator("#intake")).to_have_text("3 hidden files left out.")
    rows = json.loads(downloaded(visited.page, "#download-json"))["predictions"]
    expected = {"photos/one.png", "photos/below/deep/two.png", "alone.png", *(f"photos/{name}" for name in names)}
    assert {row["path"] for row in rows} == expected
    assert {row["problem"] for row in rows} == {None}


# Entries as the browser hands them over. Root may read everything on a disk, so a refusal of the system is played.
ENTRIES = """(content) => {
    const refuse = (fail) => fail(new DOMException("", "NotReadableError"));
    const released = new Promise((resolve) => (window.release = resolve));
    const image = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const entry = (fullPath, below) => ({ name: fullPath.split("/").at(-1), fullPath, isDirectory: Boolean(below) });
    const file = (path) => ({
        ...entry(path),
        file: (found, fail) => (path.includes("locked") ? refuse(fail) : found(new File([image], "image.png"))),
    });
    const folder = (path, ...below) => ({
        ...entry(path, below),
        createReader: () => ({
            readEntries: async (found, fail) => {
                await released;
                if (path.includes("locked")) refuse(fail);
                else found(below.splice(0));
            },
        }),
    });
    const photos = folder("/photos", file("/photos/a.png"), folder("/photos/locked", file("/photos/locked/b.png")),
        file("/photos/locked.png"), folder("/photos/z", file("/photos/z/c.png")));
    DataTransferItem.prototype.webkitGetAsEntry = () => photos;
}"""


def test_what_cannot_be_read_in_a_dropped_folder_is_told_and_the_rest_is_answered(visited: Visit) -> None:
    page = visited.page
    page.evaluate(ENTRIES, base64.b64encode(picture()).decode())
    drop(page, [("photos", b"")])
    expect(page.locator("#intake")).to_be_visible()
    expect(page.locator("#intake")).to_have_text("Reading the folder …")  # at once, however long it takes
    expect(page.locator("#live")).to_contain_text("Reading the folder")
    page.evaluate("window.release()")
    expect(page.locator(".card .answer")).to_have_count(2)
    expect(page.locator("#intake")).to_have_text("2 files or folders cannot be read.")
    problems = sorted(page.locator(".card .problem").all_inner_texts())
    assert [text.split(":")[0] for text in problems] == [
        "The browser cannot read this file",
        "The browser cannot read this folder",
    ]
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    rows = json.loads(downloaded(page, "#download-json"))["predictions"]
    assert {row["path"]: row["problem"] for row in rows} == {
        "photos/a.png": None,
        "photos/locked": "unreadable_file",
        "photos/locked.png": "unreadable_file",
        "photos/z/c.png": None,
    }


def test_where_no_image_is_found_that_is_said(visited: Visit, tmp_path: Path) -> None:
    page, empty, hidden = visited.page, tmp_path / "empty", tmp_path / ".hidden.png"
    empty.mkdir()
    hidden.write_bytes(picture())
    for come, words in (
        (lambda: drop_paths(page, [empty]), "No image in what was dropped"),
        (
            lambda: page.set_input_files("#choose-files", hidden),
            "No image in what was chosen; 1 hidden file left out",
        ),
    ):
        page.click("#tab-answers")
        come()
        expect(page.locator("#intake")).to_be_visible()
        expect(page.locator("#intake")).to_have_text(f"{words}.")
        expect(page.locator("#live")).to_contain_text(words.replace(";", ","))
    drop(page, [("a.png", picture())])
    expect(page.locator(".card .answer")).to_have_count(1)
    expect(page.locator("#intake")).to_be_hidden()


def test_dropped_files_of_the_disk_are_answered(visited: Visit, served: Served) -> None:
    paths = three_images(served.root)
    drop_paths(visited.page, paths)
    expect(visited.page.locator(".card .answer")).to_have_count(3)
    assert visited.page.locator(".card .path").all_inner_texts() == [path.name for path in paths]


def test_a_photo_of_a_phone_s_camera_is_answered_and_the_next_one_too(browser: Browser, served: Served) -> None:
    """The system's camera hands over one file; Chromium's own chooser stands for it here."""
    opened = visit(browser, served, viewport=NARROW, has_touch=True, is_mobile=True)
    page = opened.page
    camera = page.locator("#choose-camera")
    assert camera.get_attribute("capture") == "environment"  # the camera at the back
    assert camera.get_attribute("accept") == "image/*"
    for number in (1, 2):  # a phone may give every photo the same name
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Take a photo").tap()
        assert not chooser.value.is_multiple()
        photo = {"name": "image.jpg", "mimeType": "image/jpeg", "buffer": picture(format="JPEG")}
        chooser.value.set_files(photo)
        expect(page.locator(".card .answer")).to_have_count(number)
    assert opened.wrong == []
    opened.context.close()


LISTENERS = """
    window.listening = 0;
    for (const [name, by] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const real = AbortSignal.prototype[name];
        AbortSignal.prototype[name] = function (...all) { window.listening += by; return real.apply(this, all); };
    }
"""


def test_a_request_that_has_ended_leaves_nothing_behind(visited: Visit) -> None:
    page = visited.page
    page.add_init_script(LISTENERS)
    page.reload()
    page.wait_for_selector("body.ready")
    drop(page, [(f"{number}.png", picture()) for number in range(40)])
    expect(page.locator("#count-answers")).to_have_text("40")
    assert len([url for url in visited.requests if url.endswith("/api/predict")]) >= 5
    until(page, "window.listening === 0")


def test_what_is_cleared_on_its_way_is_not_sent_on(visited: Visit) -> None:
    held: list[Route] = []
    visited.page.route("**/api/predict", lambda route: held.append(route))
    drop(visited.page, [("a.png", picture())])
    until(visited.page, "document.querySelectorAll('.card').length === 1")
    with visited.page.expect_event("requestfailed"):
        visited.page.click("#clear")
    expect(visited.page.locator(".card")).to_have_count(0)


def test_what_the_browser_cannot_show_is_answered_all_the_same(visited: Visit) -> None:
    drop(visited.page, [("scan.tif", picture(format="TIFF"))])
    expect(visited.page.locator(".card .answer")).to_have_count(1)
    expect(visited.page.locator(".card .gone")).to_contain_text("shows no picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_serious_for_people_with_disabilities(browser: Browser, served: Served, scheme: Any, size: Any) -> None:
    opened = visit(browser, served, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page, found = opened.page, []

    def check(state: str) -> None:
        result = Axe().run(page)
        found.extend(
            f"{state}: {each['id']} {each['nodes'][0]['html']}"
            for each in result.response["violations"]
            if each["impact"] in SERIOUS
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is wider than the screen"

    check("empty")
    drop_three(opened, served)
    drop(page, [("broken.png", b"no image")])
    # The progress above the cards goes away with the last answer, and what moves under the pointer is not clicked.
    expect(page.locator(".card .problem")).to_be_visible()
    card = page.locator(".card").first
    for name in ("Looked at", "Layers", "Similar"):
        card.get_by_role("button", name=name).click()
    expect(card.locator(".overlay")).to_be_visible()
    expect(card.locator("output")).to_contain_text("Layer 1")
    check("cards")
    for name in ("answers", "review", "report"):
        page.click(f"#tab-{name}")
        page.wait_for_timeout(300)
        check(name)
    page.goto(f"{served.origin}/docs")
    page.wait_for_timeout(300)
    check("docs")
    assert found == []
    assert opened.wrong == []
    opened.context.close()

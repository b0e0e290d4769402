"""Takes the pictures of docs/guides/serve.md in Debian's Chromium, from the demo dataset.

python docs/screenshots.py                # draws, trains and serves the demo in a temporary folder
python docs/screenshots.py --run RUN IMAGE...   # looks at another run; pictures go to --out
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "guides" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
TOKEN = "for-the-pictures"
MOST_BYTES = 150_000  # of one picture


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("images", type=Path, nargs="*")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        run, images = (given.run, given.images) if given.run else demo(Path(folder))
        url = stack.enter_context(serving(run))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        classify(browser, url, images, given.out / "serve-classify.webp")
        answers(browser, url, images, given.out / "serve-answers.webp")
        review(browser, url, given.out / "serve-review.webp", WIDE, "light")
        review(browser, url, given.out / "serve-phone.webp", NARROW, "dark")
        browser.close()


def demo(folder: Path) -> tuple[Path, list[Path]]:
    """The run of `fieldmark demo`, and some images of its validation split."""
    subprocess.run([sys.executable, "-m", "fieldmark", "demo", "--out", str(folder / "demo")], check=True)
    run = next((folder / "demo" / "runs").iterdir())
    found = sorted((folder / "demo" / "faces" / "validation").rglob("*.png"))
    return run, [*found[:4], *found[-4:]]


@contextlib.contextmanager
def serving(run: Path) -> Iterator[str]:
    """The address of a running server."""
    command = [sys.executable, "-m", "fieldmark", "serve", str(run), "--port", "0"]
    environment = {**os.environ, "FIELDMARK_TOKEN": TOKEN}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        if process.stdout is None:
            raise RuntimeError("no output of the server")
        yield process.stdout.readline().strip()
        process.terminate()


def opened(browser: Browser, url: str, size: Any, scheme: Any) -> Page:
    """The page in a window of this size."""
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=size is NARROW)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(url)
    page.wait_for_selector("body.ready")
    return page


def classify(browser: Browser, url: str, images: list[Path], out: Path) -> None:
    """Cards, two of them with what was looked at."""
    page = opened(browser, url, WIDE, "light")
    page.set_input_files("#choose-files", images)
    page.wait_for_selector(f".card:nth-child({len(images)}) .answer")
    for number in (1, 2):
        page.click(f".card:nth-child({number}) [data-switch=looked]")
        page.wait_for_selector(f".card:nth-child({number}) .overlay")
    page.evaluate("scrollTo(0, 250)")
    page.wait_for_timeout(1000)
    save(page, out)


def answers(browser: Browser, url: str, images: list[Path], out: Path) -> None:
    """The table, in the dark."""
    page = opened(browser, url, WIDE, "dark")
    page.set_input_files("#choose-files", images)
    page.wait_for_selector(f".card:nth-child({len(images)}) .answer")
    page.click("#tab-answers")
    page.wait_for_timeout(300)
    save(page, out)


def review(browser: Browser, url: str, out: Path, size: Any, scheme: Any) -> None:
    """The first doubtful image; nothing is decided."""
    page = opened(browser, url, size, scheme)
    page.click("#tab-review")
    page.wait_for_selector("#review-one")
    page.wait_for_selector("#review-pending", state="hidden")
    page.wait_for_timeout(1000)
    save(page, out)


def save(page: Page, path: Path) -> None:
    """What the window shows, as WebP of at most MOST_BYTES."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (90, 80, 60):
        picture.save(path, quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            break
    page.context.close()


if __name__ == "__main__":
    main()

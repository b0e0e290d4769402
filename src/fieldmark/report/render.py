"""Render: a run folder becomes `report.html` and `report_files/`; the page uses no network.

Every text of the user (names of files, folders and classes) is escaped by Jinja, which is never switched off;
the page's content policy allows its own style sheet, its own script, which sorts and filters, and its images, and
nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from fieldmark import storage
from fieldmark.evaluation.metrics import percent
from fieldmark.images.names import duration
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.overlays import Overlays
from fieldmark.report.panels import PANELS
from fieldmark.report.theme import read_theme
from fieldmark.report.thumbnails import Thumbnails
from fieldmark.report.wording import prose, sentence, shorten, visible

FILES = "report_files"


def render_report(folder: Path, run: dict[str, Any] | None = None) -> Path:
    """Write `report.html` and `report_files/` from the other files of a run folder; return the page's path.

    `run` is what run.json will hold, where it is not written yet. Images are looked up below the dataset's root; one
    that is gone leaves a placeholder. Raises ModelFileError for what is no run folder or is damaged, OutputError where
    nothing can be written.
    """
    contents = read_contents(folder)
    if run is not None:
        contents = dataclasses.replace(contents, run=run)
    files = storage.make_folder(folder / FILES)
    thumbnails = Thumbnails(contents.root, files, contents.sizes)
    overlays = Overlays(contents.root, folder, files)
    context = Context(contents, thumbnails, overlays, overlays.layers)
    data = {name: panel.resolve(context) for name, panel in PANELS.items()}
    for name, value in data.items():
        storage.write_json(files / f"{name}.json", value)
    html = (
        _environment()
        .get_template("report.html")
        .render(panels=PANELS, data=data, files=FILES, fieldmark=contents.run.get("fieldmark"), **_own_texts())
    )
    # Last, so that a page that is there finds all its files.
    storage.write_text(folder / "report.html", html)
    _remove_others(files, thumbnails.names | overlays.names | {f"{name}.json" for name in PANELS})
    return folder / "report.html"


def _finalize(value: Any) -> Any:
    # Jinja passes every printed value through here, before it is escaped.
    return visible(value) if type(value) is str else value


def _quoted(text: str) -> Markup:
    """A sentence whose “names” are set apart: the letters of one must not turn the words and numbers around it."""
    return Markup(re.sub("“(.*?)”", r"“<bdi>\1</bdi>”", str(escape(visible(text)))))


def _percent(share: float | None) -> str:
    return "–" if share is None else percent(share).replace(" ", "\N{NO-BREAK SPACE}")


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


# Strong right-to-left letters (Hebrew, Arabic, Syriac, Thaana, N'Ko, Adlam, ...) and what joins those of one name.
_LEFTWARD = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_LEFTWARD_NAME = re.compile(f"[{_LEFTWARD}](?:[ '_-]*[{_LEFTWARD}])*")


def _apart(text: str) -> Markup:
    """The text with what is written from right to left set apart, so that it does not turn the numbers beside it."""
    return Markup(_LEFTWARD_NAME.sub(lambda found: f"<bdi>{found[0]}</bdi>", str(escape(visible(text)))))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fieldmark", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "prose": prose,
        "sentence": sentence,
        "quoted": _quoted,
        "apart": _apart,
        "percent": _percent,
        "number": _number,
        "duration": duration,
        "name": shorten,
    }
    return environment


def _own_texts() -> dict[str, Any]:
    """Our own style sheet and script, the texts that are not escaped, and their hashes, by which the policy knows them.

    An inline script with its hash is the one that runs from a file on a disk: a page's own folder is no origin there.
    """
    texts: dict[str, Any] = {}
    static = resources.files("fieldmark") / "report" / "static"
    style = read_theme() + (static / "report.css").read_text(encoding="utf-8")
    for name, text in (("style", style), ("script", (static / "report.js").read_text(encoding="utf-8"))):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        texts |= {name: Markup(text), f"{name}_sha256": digest}
    return texts


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an earlier report left, by the names that reports use; anything else is not ours."""
    for path in folder.iterdir():
        if path.name not in names and re.fullmatch(r"(look-)?\d+\.jpg|layer-\d+\.png", path.name):
            # The new page is there and asks for none of them: what cannot be removed does no harm.
            with contextlib.suppress(OSError):
                path.unlink()

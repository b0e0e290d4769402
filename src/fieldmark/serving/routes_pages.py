"""The pages: the page itself with its script and style, the run's report, and the document of the HTTP interface.

Nothing of a request's path is ever opened: the package's files are read at the start, by a literal table, and those of
a report have names of a fixed form.
"""

from __future__ import annotations

import asyncio
import json
import re
from importlib import resources
from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import fieldmark
from fieldmark.images.problems import PROBLEMS
from fieldmark.reading import RUN_BYTES, read_bytes
from fieldmark.report.theme import read_theme
from fieldmark.report.wording import shorten, visible
from fieldmark.runs import Run
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import Service

PACKAGE = resources.files("fieldmark") / "serving"
SCRIPT, HTML = "text/javascript", "text/html"
STATIC = {
    "api.js": SCRIPT,
    "card.js": SCRIPT,
    "cards.js": SCRIPT,
    "connection.js": SCRIPT,
    "docs.js": SCRIPT,
    "dom.js": SCRIPT,
    "download.js": SCRIPT,
    "files.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "inside.js": SCRIPT,
    "outcome.js": SCRIPT,
    "page.css": "text/css",
    "page.js": SCRIPT,
    "pager.js": SCRIPT,
    "review.js": SCRIPT,
    "store.js": SCRIPT,
    "table.js": SCRIPT,
    "tabs.js": SCRIPT,
    "text.js": SCRIPT,
    "thumbnails.js": SCRIPT,
    "tools.js": SCRIPT,
    "upload.js": SCRIPT,
}

# What `fieldmark.report.render` writes beside the report, and nothing else of the run folder.
REPORT_FILE = re.compile(r"(?:(?:look-)?\d{1,9}\.jpg|layer-\d{1,9}\.png|[a-z_]{1,40}\.json)", re.ASCII)
REPORT_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".json": "application/json"}
CLASSES_NAMED = 5  # in the heading


def routes(service: Service) -> list[Route]:
    """The routes of the pages."""
    static = {name: (PACKAGE / "static" / name).read_bytes() for name in STATIC}
    static["page.css"] = read_theme().encode() + static["page.css"]
    page = render_page(service)
    docs = _template("docs.html").render(version=fieldmark.__version__)

    async def get_page(request: Request) -> Response:
        return Response(page, media_type=HTML)

    async def get_docs(request: Request) -> Response:
        return Response(docs, media_type=HTML)

    async def get_static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in static:
            raise _not_found()
        return Response(static[name], media_type=STATIC[name])

    async def get_report(request: Request) -> Response:
        return Response(await asyncio.to_thread(read_report, service.run, "report.html"), media_type=HTML)

    async def get_report_file(request: Request) -> Response:
        name = request.path_params["name"]
        if not REPORT_FILE.fullmatch(name):
            raise _not_found()
        content = await asyncio.to_thread(read_report, service.run, f"report_files/{name}")
        return Response(content, media_type=REPORT_TYPES[Path(name).suffix])

    return [
        Route("/", get_page),
        Route("/docs", get_docs),
        Route("/static/{name}", get_static),
        Route("/report/", get_report),
        Route("/report/report_files/{name}", get_report_file),
    ]


def render_page(service: Service) -> str:
    """The page as HTML. Names of classes are escaped, and shown as they are."""
    run, classifier = service.run, service.classifier
    return _template("page.html").render(
        title=shorten(visible(run.folder.resolve().name if run else classifier.path.stem)),
        heading=heading(classifier.classes),
        problems=json.dumps({code: kind.meaning for code, kind in PROBLEMS.items()}),
        version=fieldmark.__version__,
    )


def heading(classes: tuple[str, ...]) -> str:
    """What the classifier does, in the words of its report.

    >>> heading(("horses", "humans"))
    'Tells horses and humans apart'
    """
    names = [shorten(visible(name), 40) for name in classes]
    if len(names) == 1:
        return f"Knows one class: {names[0]}"
    if len(names) > CLASSES_NAMED:
        return f"Tells {len(names):,} classes apart, from {names[0]} to {names[-1]}"
    return f"Tells {', '.join(names[:-1])} and {names[-1]} apart"


def read_report(run: Run | None, name: str) -> bytes:
    """A file of the run's report; `name` is one of the fixed forms above. Raises Refusal where it is not there.

    A run folder may come from a stranger: a link in it leads nowhere.
    """
    if run is None:
        raise _not_found("a model.onnx alone has no report")
    path = run.folder / name
    try:
        if not path.resolve(strict=True).is_relative_to(run.folder.resolve()):
            raise _not_found()
        return read_bytes(path, most=RUN_BYTES)
    except OSError as error:
        raise _not_found(f"the run has no {name}") from error


def _template(name: str) -> jinja2.Template:
    loader = jinja2.PackageLoader("fieldmark", "serving/templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def _not_found(detail: str = "no such page, image or file") -> Refusal:
    return Refusal(404, "not_found", detail)

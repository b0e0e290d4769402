"""OpenAPI: the document of the interface, one literal table; a test holds it against the routes and their answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from fieldmark.images.problems import PROBLEMS
from fieldmark.serving.refusals import REFUSALS

Schema = dict[str, Any]

JSON, HTML, JPEG, TEXT = "application/json", "text/html", "image/jpeg", "text/plain"


class Operation(NamedTuple):
    """What one method of one path does."""

    summary: str
    answer: Schema
    media: str = JSON
    refusals: tuple[str, ...] = ()  # beyond those of every operation
    parameters: tuple[Schema, ...] = ()
    body: dict[str, Schema] | None = None  # by media type
    token: bool = True


# What the guard and the connection may say to any request.
ALWAYS = (
    "bad_request",
    "no_token",
    "cross_site",
    "not_found",
    "method_not_allowed",
    "too_slow",
    "request_too_large",
    "too_many_chunks",
    "url_too_long",
    "wrong_host",
    "headers_too_large",
    "internal_error",
    "too_many_connections",
    "stopping",
)
UPLOAD = (
    "bad_form",
    "no_file",
    "file_too_large",
    "too_many_files",
    "too_many_fields",
    "part_headers_too_large",
    "name_too_long",
    "unsupported_media_type",
    "over_capacity",
    "worker_lost",
    "deadline",
)


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _maybe(schema: Schema, description: str = "") -> Schema:
    return {"anyOf": [schema, {"type": "null"}], **({"description": description} if description else {})}


def _list(items: Schema, description: str = "") -> Schema:
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def _share(description: str) -> Schema:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": description}


def _object(description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


ID = {"name": "id", "in": "path", "required": True, "schema": _text(), "description": "Of an item of /api/review."}
NAME = {"name": "name", "in": "path", "required": True, "schema": _text(), "description": "A file's name."}
LABEL = {
    "name": "label",
    "in": "query",
    "schema": _text(),
    "description": "The class to explain; otherwise the answer.",
}
PARTS = {
    "name": "parts",
    "in": "query",
    "schema": _text(),
    "description": "What to tell, between commas: activation, occlusion, layers, similar.",
}
FILE: Schema = {"type": "string", "format": "binary"}
FORM: Schema = {"type": "object", "properties": {"files": _list(FILE, "The images.")}, "required": ["files"]}
PICTURE = _text("A PNG as a data: URL.")
ONE_IMAGE: dict[str, Schema] = {"multipart/form-data": FORM, "application/octet-stream": FILE, "image/*": FILE}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/", "get"): Operation("The page; with ?token= it keeps the token in a cookie.", {}, HTML),
    ("/docs", "get"): Operation("This document as a page.", {}, HTML),
    ("/static/{name}", "get"): Operation("Scripts, style and icon of the page.", {}, "*/*", parameters=(NAME,)),
    ("/report/", "get"): Operation("The report of the run.", {}, HTML),
    ("/report/report_files/{name}", "get"): Operation("A picture of the report.", {}, "image/*", parameters=(NAME,)),
    ("/api/predict", "post"): Operation(
        "Classify images. A file that cannot be used is a row with a problem.",
        _object("", predictions=_list(_ref("Prediction"), "One for each file, in their order.")),
        refusals=UPLOAD,
        body=ONE_IMAGE,
    ),
    ("/api/explain", "post"): Operation(
        "Show what the classifier looked at in one image.",
        _ref("Explanation"),
        refusals=("bad_value", *UPLOAD),
        parameters=(LABEL, PARTS),
        body=ONE_IMAGE,
    ),
    ("/api/model", "get"): Operation("What the classifier knows and the service takes.", _ref("Model")),
    ("/api/review", "get"): Operation(
        "The images of the run that a person should look at.", _ref("Review"), refusals=("not_writable",)
    ),
    ("/api/review/{id}/image", "get"): Operation(
        "The image of an item, at most 640 pixels a side.",
        {},
        JPEG,
        ("not_writable", "worker_lost", "deadline"),
        (ID,),
    ),
    ("/api/review/{id}", "put"): Operation(
        "Correct the label of an item.",
        _object("", item=_ref("ReviewItem")),
        refusals=("bad_value", "changed_meanwhile", "not_writable"),
        parameters=(ID,),
        body={JSON: _ref("Correction")},
    ),
    ("/openapi.json", "get"): Operation("This document.", {"type": "object"}),
    ("/healthz", "get"): Operation("The server lives.", _ref("Status"), token=False),
    ("/readyz", "get"): Operation(
        "The server can answer images; 503 while it starts.", _ref("Status"), refusals=("starting",), token=False
    ),
    ("/metrics", "get"): Operation("Numbers for Prometheus.", {}, TEXT),
}

SCHEMAS: dict[str, Schema] = {
    "Prediction": _object(
        "The answer for one image, as `fieldmark predict --json` gives it.",
        path=_text("The name that was uploaded."),
        label=_maybe(_text(), "The class; null where there is a problem."),
        probability=_maybe(_share(""), "Of the class."),
        probabilities={"type": "object", "additionalProperties": _share(""), "description": "Of every class."},
        unfamiliar={"type": "boolean", "description": "Unlike anything in the training set."},
        problem=_maybe(_text(enum=list(PROBLEMS)), "Why the image cannot be used."),
        familiarity=_maybe(_share(""), "The share of training images that are less like the rest."),
    ),
    "Explanation": _object(
        "What the classifier looked at; null is what was not asked for or cannot be told.",
        prediction=_ref("Prediction"),
        label=_maybe(_text(), "The class that is explained."),
        sentence=_maybe(_text()),
        image=_maybe(PICTURE),
        activation=_maybe(PICTURE),
        occlusion=_maybe(PICTURE),
        layers=_maybe(_list(_object("", name=_text(), shape=_list({"type": "integer"}), picture=PICTURE))),
        similar=_maybe(
            _list(
                _object(
                    "",
                    path=_text(),
                    label=_text(),
                    similarity={"type": "number"},
                    thumbnail=_maybe(_text("A data: URL.")),
                )
            )
        ),
        problem=_maybe(_text(), "Why something cannot be told."),
    ),
    "Model": _object(
        "The classifier and the limits of the service.",
        name=_text(),
        classes=_list(_text()),
        positive=_maybe(_text(), "Of two classes the second."),
        image_size=_list({"type": "integer"}, "Width and height, in pixels, to which images are resized."),
        formats=_list(_text()),
        accuracy=_maybe(_share(""), "On images that the run did not learn from."),
        interval=_maybe(_list(_share("")), "Where the accuracy lies with 95 % confidence."),
        n={"type": "integer", "description": "How many images the accuracy was measured on."},
        split=_maybe(_text(enum=["validation", "test"]), "Which images these are."),
        run={"type": "boolean", "description": "Whether a run is served, not its model.onnx alone."},
        report={"type": "boolean"},
        review={"type": "boolean"},
        limits={"type": "object", "additionalProperties": {"type": "number"}},
        version=_text(),
    ),
    "ReviewItem": _object(
        "One image that a person should look at.",
        id=_text(),
        path=_text(),
        label=_maybe(_text(), "Its class in the dataset."),
        suggested=_maybe(_text(), "The class that the classifier answers."),
        probability=_maybe(_share(""), "Of the class that is suggested."),
        reason=_text(enum=["suspected_label", "mistake", "unfamiliar", "likelier_class"]),
        split=_text(),
        correction=_maybe(_text(), "The class it was given, or remove."),
    ),
    "Review": _object(
        "The items, and how to train again afterwards.",
        items=_list(_ref("ReviewItem")),
        classes=_list(_text()),
        command=_maybe(_text(), "Trains with the corrections; null for a network of one's own."),
        table=_maybe(_text(), "Where the corrections are written."),
        more={"type": "integer", "description": "Items that were left off."},
        pending={"type": "boolean", "description": "Suspected labels are still searched for; ask again."},
        problem=_maybe(_text(), "Why nothing can be corrected."),
    ),
    "Correction": _object(
        "A class, remove, or null for none.",
        correction=_maybe(_text()),
        expected=_maybe(_text(), "The correction that was last seen; 409 where it has changed."),
    ),
    "Status": _object("", status=_text()),
    "Error": _object(
        "Why there is no answer.",
        error=_object(
            "",
            code=_text(enum=list(REFUSALS)),
            detail=_text("What was found."),
            hint=_text("What to do; may be empty."),
        ),
    ),
}


def document(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(path, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fieldmark",
            "version": version,
            "description": "A classifier over HTTP. Scripts send the token as `Authorization: Bearer TOKEN`.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def statuses(operation: Operation) -> list[int]:
    """Every status that the operation may answer with, 200 first."""
    return [200, *sorted({REFUSALS[code].status for code in (*ALWAYS, *operation.refusals)})]


def _operation(path: str, method: str, operation: Operation) -> dict[str, Any]:
    codes = (*ALWAYS, *operation.refusals)
    responses: dict[str, Any] = {
        "200": {"description": "The answer.", "content": {operation.media: {"schema": operation.answer}}}
    }
    for status in statuses(operation)[1:]:
        described = (f"{code}: {REFUSALS[code].meaning}" for code in codes if REFUSALS[code].status == status)
        responses[str(status)] = {
            "description": ". ".join(dict.fromkeys(described)) + ".",
            "content": {JSON: {"schema": _ref("Error")}},
        }
    found: dict[str, Any] = {
        "operationId": _name(path, method),
        "summary": operation.summary,
        "parameters": list(operation.parameters),
        "responses": responses,
        "security": [{"token": []}] if operation.token else [],
    }
    if operation.body is not None:
        content = {media: {"schema": schema} for media, schema in operation.body.items()}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _name(path: str, method: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in path).split()
    return "_".join([method, *words]) if words else f"{method}_page"

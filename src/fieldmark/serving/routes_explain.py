"""POST /api/explain: what the classifier looked at in one image, what its layers saw, what it resembles."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fieldmark.classifier import failed_prediction
from fieldmark.errors import FieldmarkError, ImageError, MissingExtraError, ModelFileError
from fieldmark.images.names import printable
from fieldmark.preprocessing import Pixels
from fieldmark.serving.explaining import Explainer
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import Service, timely
from fieldmark.serving.similar import Similar
from fieldmark.serving.uploads import Upload, read_uploads

PARTS = ("activation", "occlusion", "layers", "similar")
USUAL = ("activation", "similar")  # occlusion and layers are slow, or large
NOTHING: dict[str, Any] = {
    "label": None,
    "sentence": None,
    "image": None,
    "activation": None,
    "occlusion": None,
    "layers": None,
    "similar": None,
}


def routes(service: Service) -> list[Route]:
    """The route of explanations."""
    explainer = Explainer(service.classifier)
    similar = Similar(service.classifier, service.run, service.copies)

    async def explain(request: Request) -> Response:
        label, parts = read_label(request, service.classifier.classes), read_parts(request)
        service.places.check()
        uploads = await read_uploads(request, service.limits, service.budget)
        if len(uploads) > 1:
            raise Refusal(413, "too_many_files", f"{len(uploads)} files; one at a time is explained")
        with service.places.taken(1):
            work = explain_one(service, explainer, similar, uploads[0], label, parts)
            answer = await timely(request, work, service.limits.request_seconds)
        return JSONResponse(answer)

    return [Route("/api/explain", explain, methods=["POST"])]


def read_label(request: Request, classes: tuple[str, ...]) -> str | None:
    """The class that is to be explained. Raises Refusal for what is none."""
    label = _single(request, "label")
    if label is not None and label not in classes:
        raise Refusal(
            400,
            "bad_value",
            f"label {printable(label[:200])!r}: no class of the classifier",
            hint=f"its classes are {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}",
        )
    return label


def read_parts(request: Request) -> tuple[str, ...]:
    """What the answer is to hold, in the order of PARTS. Raises Refusal for what is no part."""
    asked = _single(request, "parts")
    if asked is None:
        return USUAL
    names = [name for name in asked.split(",") if name]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise Refusal(
            400, "bad_value", f"parts {printable(unknown[0][:200])!r}: not a part", hint=f"parts are {', '.join(PARTS)}"
        )
    return tuple(part for part in PARTS if part in names)


def _single(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise Refusal(400, "bad_value", f"{name} is given {len(values)} times", hint="give it once")
    return values[0] if values else None


async def explain_one(
    service: Service, explainer: Explainer, similar: Similar, upload: Upload, label: str | None, parts: tuple[str, ...]
) -> dict[str, Any]:
    """The answer for one upload; where something cannot be told, it is None and `problem` says why."""
    try:
        pixels = await service.pool.decode(upload.content)
    except ImageError as error:
        failed = failed_prediction(upload.name, error)
        return {"prediction": failed.to_json(), **NOTHING, "problem": error.detail}
    probabilities, familiarity = await service.batcher.answer(pixels)
    prediction = service.classifier.prediction(upload.name, probabilities, familiarity)
    answer = {"prediction": prediction.to_json(), **NOTHING, "problem": None}
    try:
        answer |= await explainer.explain(pixels, probabilities, label=label, parts=parts)
    except (MissingExtraError, ModelFileError) as error:
        answer |= {"problem": str(error)}
    if "similar" in parts:
        found, problem = await _similar(similar, pixels)
        answer |= {"similar": found, "problem": "; ".join(filter(None, (answer["problem"], problem))) or None}
    return answer


async def _similar(similar: Similar, pixels: Pixels) -> tuple[list[dict[str, Any]] | None, str | None]:
    try:
        return await similar.find(pixels), None
    except FieldmarkError as error:
        return None, f"similar images: {error}"

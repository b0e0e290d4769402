"""The document of the interface says what the service does: every route, every status."""

from __future__ import annotations

from starlette.testclient import TestClient

from fieldmark.serving.app import build_app
from fieldmark.serving.openapi import ALWAYS, OPERATIONS, document
from fieldmark.serving.refusals import REFUSALS
from fieldmark.serving.service import Service


def test_every_route_is_in_the_document_and_the_other_way_round(service: Service) -> None:
    routes = build_app(service).routes
    known = {
        (route.path, method.lower())
        for route in routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert known == set(OPERATIONS)


def test_every_refusal_is_documented_somewhere() -> None:
    assert set(REFUSALS) == {*ALWAYS, *(code for operation in OPERATIONS.values() for code in operation.refusals)}


def test_the_document_is_served(client: TestClient) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document(answer.json()["info"]["version"])
    assert set(answer.json()["paths"]["/api/predict"]["post"]["responses"]) >= {
        "200",
        "400",
        "413",
        "429",
        "503",
        "504",
    }


def test_references_lead_somewhere() -> None:
    found = document("1")
    text = str(found)
    for name in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in found["components"]["schemas"]

"""What engineers ask: the model, health, numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fieldmark.images.formats import FORMATS
from fieldmark.serving.limits import Limits
from fieldmark.serving.service import build_service

from .conftest import client_of


def test_the_model_of_a_run(client: TestClient, trained: Path) -> None:
    model = client.get("/api/model").json()
    assert model["classes"] == ["happy", "sad"]
    assert model["positive"] == "sad"
    assert model["image_size"] == [24, 24]
    assert model["formats"] == list(FORMATS)
    validation = json.loads((trained / "metrics.json").read_bytes())["validation"]
    assert (model["accuracy"], model["interval"]) == (validation["accuracy"], validation["accuracy_interval"])
    assert (model["n"], model["split"]) == (validation["n"], "validation")
    assert (model["name"], model["run"], model["report"], model["review"]) == (trained.name, True, True, True)
    assert model["limits"]["files"] == Limits().files


def test_a_model_alone(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "cats.onnx").write_bytes((trained / "model.onnx").read_bytes())
    with client_of(build_service(tmp_path / "cats.onnx", Limits())) as client:
        model = client.get("/api/model").json()
        assert (model["name"], model["run"], model["review"], model["accuracy"]) == ("cats", False, False, None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(client: TestClient, path: str) -> None:
    while client.get("/readyz").status_code == 503:
        pass
    answer = client.get(path, headers={"Authorization": ""})
    assert answer.status_code == 200


def test_numbers_are_counted(client: TestClient, faces: Path) -> None:
    content = next((faces / "train" / "sad").glob("*.png")).read_bytes()
    client.post("/api/predict", files=[("files", ("a.png", content)), ("files", ("b.txt", b"no image"))])
    client.get("/no/such/place")
    lines = client.get("/metrics").text.splitlines()
    assert 'fieldmark_requests_total{method="POST",route="/api/predict",status="200"} 1.0' in lines
    assert 'fieldmark_requests_total{method="GET",route="none",status="404"} 1.0' in lines
    assert 'fieldmark_images_total{problem="ok"} 1.0' in lines
    assert 'fieldmark_images_total{problem="not_an_image"} 1.0' in lines
    assert "fieldmark_images_accepted 0.0" in lines
    assert "fieldmark_upload_bytes 0.0" in lines

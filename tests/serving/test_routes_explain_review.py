"""/api/explain and /api/review over HTTP, in this process: documented answers to good and bad requests."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import fieldmark
from fieldmark.images.corrections import read_table
from fieldmark.model_file import SEAL
from fieldmark.serving.limits import Limits
from fieldmark.serving.service import build_service
from tests.report.fabricate import change
from tests.serving.conftest import client_of

BOTH = {"correction": "happy", "expected": None}


@pytest.fixture(scope="module")
def place(trained: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and its run that may be changed."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(faces, folder / "faces")
    shutil.copytree(trained, folder / "run")
    change(folder / "run" / "run.json", root=str(folder / "faces"))
    change(folder / "run" / "audit.json", checks=[{"name": "wrong_labels", "status": "done"}])
    return folder


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    with client_of(build_service(place / "run", Limits())) as client:
        yield client


@pytest.fixture
def item(client: TestClient, place: Path) -> dict:
    (place / "faces" / "corrections.csv").unlink(missing_ok=True)
    return client.get("/api/review").json()["items"][0]


def error(answer) -> tuple[int, str, str]:
    """(status, code, detail) of a refusal."""
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["detail"]


def image(faces: Path) -> Path:
    return next((faces / "train" / "sad").glob("*.png"))


def test_an_explanation_answers_as_predict_does(client: TestClient, trained: Path, faces: Path) -> None:
    content = image(faces).read_bytes()
    answer = client.post("/api/explain?parts=activation,layers,occlusion,similar", content=content).json()
    (known,) = fieldmark.load(trained).predict(image(faces))
    assert answer["prediction"] == known.to_json() | {"path": "image"}
    assert answer["problem"] is None
    first = answer["similar"][0]
    assert (first["path"], first["label"]) == (image(faces).relative_to(faces).as_posix(), "sad")
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    assert all(one["thumbnail"].startswith("data:image/jpeg;base64,") for one in answer["similar"])
    assert set(answer) == {
        *("prediction", "label", "sentence", "image", "activation", "occlusion", "layers", "similar", "problem"),
    }
    usual = client.post("/api/explain?label=happy", files={"files": ("=1+1.png", content)}).json()
    assert (usual["label"], usual["prediction"]["path"], usual["occlusion"]) == ("happy", "=1+1.png", None)


def test_a_training_image_that_is_gone_hides_no_other(client: TestClient, place: Path) -> None:
    path = next((place / "faces" / "train" / "happy").glob("*.png"))
    content = path.read_bytes()
    path.unlink()
    try:
        first, *others = client.post("/api/explain?parts=similar", content=content).json()["similar"]
    finally:
        path.write_bytes(content)
    assert (first["path"], first["thumbnail"]) == (f"train/happy/{path.name}", None)
    assert all(one["thumbnail"] for one in others)


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("label=<b>", b"x", (400, "bad_value")),
        ("parts=all", b"x", (400, "bad_value")),
        ("parts=layers&parts=similar", b"x", (400, "bad_value")),
        ("label=happy&label=sad", b"x", (400, "bad_value")),
        ("parts=activation,", b"", (400, "no_file")),
    ],
)
def test_a_bad_question_is_refused(client: TestClient, query: str, body: bytes, expected: tuple[int, str]) -> None:
    assert error(client.post(f"/api/explain?{query}", content=body))[:2] == expected


def test_two_images_or_none_are_not_explained(client: TestClient, faces: Path) -> None:
    files = [("files", ("a", image(faces).read_bytes())), ("files", ("b", b"x"))]
    assert error(client.post("/api/explain", files=files))[:2] == (413, "too_many_files")
    answer = client.post("/api/explain", content=b"no image at all").json()
    assert answer["prediction"]["problem"] == "not_an_image"
    assert answer["problem"].startswith("no known image begins")
    assert answer["sentence"] is answer["similar"] is None


def test_a_classifier_alone_has_neither_similar_images_nor_a_review(trained: Path, faces: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.onnx", tmp_path)
    with client_of(build_service(tmp_path / "model.onnx", Limits())) as client:
        answer = client.post("/api/explain?parts=similar", content=image(faces).read_bytes()).json()
        assert answer["similar"] is None
        assert "without its run" in answer["problem"]
        for method, path in (("GET", "/api/review"), ("GET", "/api/review/1/image"), ("PUT", "/api/review/1")):
            assert error(client.request(method, path, json=BOTH))[:2] == (404, "not_found")


def test_a_classifier_that_was_replaced_meanwhile_is_not_explained_in_place_of_the_one_that_answers(
    trained: Path, faces: Path, tmp_path: Path
) -> None:
    """Another training into the same file name; then the file is gone; then it is what it was."""
    folder = shutil.copytree(trained, tmp_path / "run")
    content = (folder / "model.onnx").read_bytes()
    start = content.index(b"probabilities")
    other = content[:start] + b"Probabilities" + content[start + 13 :]
    question = {"url": "/api/explain?parts=activation,similar", "content": image(faces).read_bytes()}
    with client_of(build_service(folder, Limits())) as client:
        (folder / "model.onnx").write_bytes(resealed(other))
        replaced = client.post(**question).json()
        (folder / "model.onnx").unlink()
        gone = client.post(**question).json()
        (folder / "model.onnx").write_bytes(content)
        back = client.post(**question).json()
    for answer, words in ((replaced, "replaced since it was loaded"), (gone, "cannot be read any more")):
        assert answer["prediction"] == back["prediction"]
        assert (answer["activation"], answer["similar"]) == (None, None)
        assert answer["problem"].count(words) == 2
        assert str(tmp_path) not in answer["problem"]
    assert (back["problem"], len(back["similar"])) == (None, 6)
    assert back["activation"]


def resealed(content: bytes) -> bytes:
    """With a seal that fits what was changed."""
    start = content.rfind(SEAL) + len(SEAL)
    zeros = content[:start] + b"0" * 64 + content[start + 64 :]
    return content[:start] + hashlib.sha256(zeros).hexdigest().encode() + content[start + 64 :]


def test_an_image_of_the_queue_is_a_small_jpeg(client: TestClient, item: dict, place: Path) -> None:
    path = place / "faces" / item["path"]
    kept = path.read_bytes()
    try:
        frames = [Image.new("P", (900, 300), shade) for shade in (0, 200)]
        content = io.BytesIO()
        frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
        path.write_bytes(content.getvalue())  # replaced by an animation since the training
        answer = client.get(f"/api/review/{item['id']}/image")
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert (shown.format, max(shown.size) <= 640) == ("JPEG", True)
        for bad in (b"", b"%PDF-1.7", kept[: len(kept) // 2]):
            path.write_bytes(bad)
            assert error(client.get(f"/api/review/{item['id']}/image"))[:2] == (404, "not_found")
        path.unlink()
        path.symlink_to(place / "nowhere")
        assert error(client.get(f"/api/review/{item['id']}/image"))[1] == "not_found"
        path.unlink()
        os.mkfifo(path)  # whoever reads it would wait for ever
        assert "a pipe stands" in error(client.get(f"/api/review/{item['id']}/image"))[2]
    finally:
        path.unlink()
        path.write_bytes(kept)


@pytest.mark.parametrize("id_", ["0" * 16, "../../run.json", "%2e%2e%2frun.json", "x" * 3000, "\u202e"])
def test_what_is_not_in_the_queue_is_not_found(client: TestClient, id_: str) -> None:
    for method, path in (("GET", f"/api/review/{id_}/image"), ("PUT", f"/api/review/{id_}")):
        assert client.request(method, path, json=BOTH).status_code == 404


def test_a_correction_is_written_and_conflicts_are_told(client: TestClient, item: dict, place: Path) -> None:
    table, address = place / "faces" / "corrections.csv", f"/api/review/{item['id']}"
    answer = client.put(address, json={"correction": "remove", "expected": None})
    assert answer.json() == {"item": item | {"correction": "remove"}}
    assert read_table(table) == {item["path"]: "remove"}
    late = client.put(address, json={"correction": "happy", "expected": None})
    assert error(late)[:2] == (409, "changed_meanwhile")
    assert client.get("/api/review").json()["items"][0]["correction"] == "remove"
    assert client.put(address, json={"correction": None, "expected": "remove"}).json() == {"item": item}
    assert read_table(table) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 60_000,
        b'{"correction": "happy"}',
        b'{"correction": 1, "expected": null}',
        b'{"correction": "\\ud800", "expected": null}',
        b'{"correction": "happy", "expected": "\\ud800"}',
        b'{"correction": "happy", "expected": null, "path": "../x"}',
        json.dumps({"correction": "grim", "expected": None}).encode(),
        json.dumps({"correction": "", "expected": None}).encode(),
        json.dumps({"correction": "x" * 5_000, "expected": None}).encode(),
    ],
)
def test_what_is_no_correction_is_refused(client: TestClient, item: dict, place: Path, body: bytes) -> None:
    assert error(client.put(f"/api/review/{item['id']}", content=body))[:2] == (400, "bad_value")
    assert not (place / "faces" / "corrections.csv").exists()


def test_a_body_without_end_is_cut(client: TestClient, item: dict) -> None:
    answer = client.put(f"/api/review/{item['id']}", content=b" " * 70_000)
    assert error(answer)[:2] == (413, "request_too_large")


def test_a_table_that_is_none_and_a_dataset_that_moved(client: TestClient, item: dict, place: Path) -> None:
    table = place / "faces" / "corrections.csv"
    table.write_text("ssh-rsa AAAA\n")
    assert "expected path,label" in client.get("/api/review").json()["problem"]
    assert error(client.put(f"/api/review/{item['id']}", json=BOTH))[:2] == (507, "not_writable")
    table.unlink()
    os.mkfifo(table)  # whoever reads it would wait for ever, and keep the server from ending
    answer = client.put(f"/api/review/{item['id']}", json=BOTH)
    table.unlink()
    assert error(answer)[:2] == (507, "not_writable")
    assert "a pipe stands where a file belongs" in error(answer)[2]
    (place / "faces").rename(place / "moved")
    try:
        assert "moved or deleted" in client.get("/api/review").json()["problem"]
        assert error(client.put(f"/api/review/{item['id']}", json=BOTH))[:2] == (507, "not_writable")
        assert client.get(f"/api/review/{item['id']}/image").status_code == 404
    finally:
        (place / "moved").rename(place / "faces")


@pytest.mark.parametrize("outside", ["../secret.png", "train/../../secret.png", "{folder}/secret.png"])
def test_no_path_of_a_run_leads_out_of_its_dataset(trained: Path, faces: Path, tmp_path: Path, outside: str) -> None:
    """A run folder may come from a stranger."""
    outside = outside.format(folder=tmp_path)
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(faces, tmp_path / "faces")
    shutil.copy(image(faces), tmp_path / "secret.png")
    suspect = {"label": "sad", "likelier": "happy", "label_probability": 0.01, "likelier_probability": 0.99}
    change(run / "run.json", root=str(tmp_path / "faces"))
    checks = [{"name": "wrong_labels", "status": "done"}]
    change(run / "audit.json", checks=checks, suspected_labels=[{"path": outside} | suspect])
    path = next((faces / "train" / "happy").glob("*.png"))
    change_paths(run / "predictions.csv", {f"train/happy/{path.name}": outside})
    with client_of(build_service(run, Limits())) as client:
        item = client.get("/api/review").json()["items"][0]
        assert item["path"] == outside
        assert client.get(f"/api/review/{item['id']}/image").status_code == 404
        assert error(client.put(f"/api/review/{item['id']}", json=BOTH))[:2] == (507, "not_writable")
        first, *_ = client.post("/api/explain?parts=similar", content=path.read_bytes()).json()["similar"]
        assert (first["path"], first["thumbnail"]) == (outside, None)
    assert not (tmp_path / "faces" / "corrections.csv").exists()


def change_paths(table: Path, paths: dict[str, str]) -> None:
    text = table.read_text("utf-8")
    for before, after in paths.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    table.write_text(text, "utf-8")

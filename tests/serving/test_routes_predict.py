"""POST /api/predict: the same rows as the command line's and Python's, whatever the file."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from fieldmark.classifier import load
from fieldmark.preprocessing import Preprocessing
from fieldmark.serving.limits import Limits
from fieldmark.serving.service import Service, build_service
from fieldmark.serving.workers import Worker

from .conftest import TOKEN, Server, client_of

FILES = sorted((Path(__file__).parents[1] / "images" / "files").iterdir())


@pytest.fixture
def odd_files(tmp_path: Path) -> list[Path]:
    """Files with a problem each."""
    whole = FILES[3].read_bytes()
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"no image at all",
        "cut.jpg": (FILES[0].parent / "baseline.jpg").read_bytes()[:500],
        "document.pdf": b"%PDF-1.7 ...",
        "damaged.png": whole[:60] + b"\0" * 20 + whole[80:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def test_http_command_and_python_give_the_same_bits(client: TestClient, trained: Path, odd_files: list[Path]) -> None:
    paths = [*FILES, *odd_files]
    uploads = [("files", (str(path), path.read_bytes())) for path in paths]
    by_http = client.post("/api/predict", files=uploads).json()["predictions"]
    by_python = [prediction.to_json() for prediction in load(trained).predict(paths)]
    command = [sys.executable, "-m", "fieldmark", "predict", trained, *paths, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    by_command = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(by_http) == len(paths)
    assert by_http == by_python == by_command
    assert {row["problem"] for row in by_http} >= {None, "empty_file", "not_an_image", "truncated"}


def test_one_raw_image(client: TestClient, trained: Path) -> None:
    path = FILES[0]
    answer = client.post("/api/predict", content=path.read_bytes(), headers={"Content-Type": "image/gif"})
    (row,) = answer.json()["predictions"]
    assert row == {**load(trained).predict(path)[0].to_json(), "path": "image"}


def test_no_place_is_left(trained: Path) -> None:
    service = build_service(trained, dataclasses.replace(Limits(), queue=3))
    with client_of(service) as client:
        four = client.post("/api/predict", files=[("files", (path.name, path.read_bytes())) for path in FILES[:4]])
        assert (four.status_code, four.json()["error"]["code"]) == (429, "over_capacity")
        assert four.headers["Retry-After"] == "1"
        three = client.post("/api/predict", files=[("files", (path.name, path.read_bytes())) for path in FILES[:3]])
        assert three.status_code == 200
        with service.places.taken(3):
            early = client.post("/api/predict", content=b"x", headers={"Content-Type": "image/png"})
        assert early.status_code == 429
        assert (service.places.used, service.budget.taken) == (0, 0)


def test_a_deadline(trained: Path) -> None:
    service = build_service(trained, dataclasses.replace(Limits(), request_seconds=0.001))
    with client_of(service) as client:
        late = client.post("/api/predict", content=FILES[0].read_bytes(), headers={"Content-Type": "image/png"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
        assert (service.places.used, service.budget.taken) == (0, 0)


def test_a_worker_that_dies_at_work(client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request fails with 503, and the next one finds another worker."""

    async def die(self: Worker, content: bytes, preprocessing: Preprocessing) -> tuple[bytes, bytes]:
        self.kill()
        return await ask(self, content, preprocessing)

    ask = Worker.ask
    image = {"content": FILES[0].read_bytes(), "headers": {"Content-Type": "image/png"}}
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "ask", die)
        lost = client.post("/api/predict", **image)
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "worker_lost")
    assert client.post("/api/predict", **image).status_code == 200


def test_who_leaves_frees_the_place(server: Server) -> None:
    """A connection that is cut while its images arrive or are worked on leaves nothing behind, and is no mistake."""
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n%s\r\n' % path.read_bytes()
        for path in FILES
    )
    head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body) + 7}\r\n\r\n"
    for sent in (body + b"--x--\r\n", body + b"--x--\r\n", body[:1000]):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + sent)
            time.sleep(0.05)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for _ in range(200):
        numbers = httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False).text.splitlines()
        if "fieldmark_images_accepted 0.0" in numbers and "fieldmark_upload_bytes 0.0" in numbers:
            break
        time.sleep(0.05)
    else:
        pytest.fail("places or bytes are still taken")
    asked = 'fieldmark_requests_total{method="POST",route="/api/predict",status='
    assert any(line.startswith(f'{asked}"left"') for line in numbers)
    assert not any(line.startswith(f'{asked}"500"') for line in numbers)

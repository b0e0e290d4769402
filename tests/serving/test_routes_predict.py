"""POST /api/predict: the same rows as the command line's and Python's, whatever the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fieldmark.classifier import load

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

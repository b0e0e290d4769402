"""Embeddings by torch are those of the exported nodes, within the stated tolerance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldmark.embedding import embed, find_backbone
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.pipeline import train
from fieldmark.preprocessing import Preprocessing
from fieldmark.training import device as device_module
from fieldmark.training.device import CPU
from fieldmark.training.embed_device import TOLERANCE, embed_on_device

pytestmark = pytest.mark.usefixtures("backbones")

PREPROCESSING = Preprocessing(width=32, height=32, mean=127.0, deviation=128.0)


def test_they_are_near_the_exported_nodes_and_kept(faces: Path) -> None:
    images = read(scan(faces), PREPROCESSING)
    seen: list[tuple[int, int]] = []
    precision = torch.get_float32_matmul_precision()
    found = embed_on_device(images, PREPROCESSING, CPU, on_progress=lambda *counts: seen.append(counts))
    wanted = embed(images, find_backbone(PREPROCESSING))
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert np.abs((found - wanted) / scale).max() <= TOLERANCE
    assert seen[-1] == (len(images.dataset), len(images.dataset))
    assert torch.get_float32_matmul_precision() == precision
    # A second time, from a cache of its own.
    seen.clear()
    assert np.array_equal(embed_on_device(images, PREPROCESSING, CPU, on_progress=lambda *c: seen.append(c)), found)
    assert seen == []


def test_a_run_says_that_a_gpu_made_its_embeddings(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "find_device", lambda name: CPU)
    runs = {device: train(faces, out=tmp_path / device, image_size=32, device=device) for device in ("cuda", "auto")}
    said = {device: json.loads((run.folder / "run.json").read_text())["choices"] for device, run in runs.items()}
    assert any("within 0.0001 of the exported file's" in sentence for sentence in said["cuda"])
    assert not any("exported file's" in sentence for sentence in said["auto"])
    losses = [run.metrics["validation"]["log_loss"] for run in runs.values()]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)

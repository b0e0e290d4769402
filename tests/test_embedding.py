"""The pretrained path: converted once, embedded once, deployed as it was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fieldmark
from fieldmark import embedding as embed_module
from fieldmark import runtime
from fieldmark.embedding import embed, find_backbone
from fieldmark.images.cache import cache_folder
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.networks import efficientnet_lite
from fieldmark.networks.deployed import scaled
from fieldmark.preprocessing import Preprocessing
from fieldmark.runtime import open_session
from tests.no_torch import NO_EXTRAS, NO_TORCH

PREPROCESSING = Preprocessing(width=64, height=64, mean=127.0, deviation=128.0)


def test_embeddings_are_the_networks_features(backbones: Path, faces: Path) -> None:
    images = read(scan(faces), PREPROCESSING)
    found = embed(images, find_backbone(PREPROCESSING))
    network = efficientnet_lite.pretrained((64, 64)).eval()
    with torch.no_grad():
        wanted = network.features(scaled(torch.from_numpy(images.pixels(range(5))), 127.0, 128.0)).numpy()
    np.testing.assert_allclose(found[:5], wanted, rtol=1e-3, atol=1e-3)


def test_a_second_time_nothing_is_computed(backbones: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = read(scan(faces), PREPROCESSING)
    first = embed(images, find_backbone(PREPROCESSING))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(embed_module, "_compute", refuse)
    monkeypatch.setattr(embed_module, "_convert", refuse)
    assert np.array_equal(embed(images, find_backbone(PREPROCESSING)), first)


def test_a_damaged_embedding_is_computed_again(backbones: Path, faces: Path) -> None:
    preprocessing = Preprocessing(width=48, height=48, mean=127.0, deviation=128.0)  # rows of its own
    images, backbone = read(scan(faces), preprocessing), find_backbone(preprocessing)
    wanted = embed(images, backbone)
    (path,) = cache_folder().glob(f"embeddings/{backbone.sha256[:16]}-*/*.rows")
    damaged = np.fromfile(path, np.float32)
    damaged[:3000] = np.nan  # two rows and a part of the third
    damaged.tofile(path)
    counts: list[tuple[int, int]] = []
    for _ in range(2):
        assert np.array_equal(embed(images, backbone, on_progress=lambda *count: counts.append(count)), wanted)
    assert counts == [(3, 3)]


def test_neither_threads_nor_batches_change_the_bits(
    backbones: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, backbone = read(scan(faces), PREPROCESSING), find_backbone(PREPROCESSING)
    session = open_session(backbone.path, threads=2)
    (wanted,) = session.run([runtime.EMBEDDING], {runtime.INPUT: images.pixels(range(len(images.dataset)))})
    monkeypatch.setattr(embed_module, "BATCH", 7)
    for threads in (1, 3):
        monkeypatch.setenv("FIELDMARK_CACHE_DIR", str(tmp_path / str(threads)))
        done: list[int] = []
        found = embed(images, backbone, threads=threads, on_progress=lambda count, total, done=done: done.append(count))
        assert np.array_equal(found, wanted)
        assert done[-1] == len(found) > 7


@pytest.mark.parametrize(("width", "height"), [(64, 64), (47, 34)])
def test_the_graph_is_the_network(width: int, height: int) -> None:
    preprocessing = Preprocessing(width=width, height=height, mean=127.0, deviation=128.0)
    network = efficientnet_lite.folded(efficientnet_lite.pretrained((height, width)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = network.features(scaled(torch.from_numpy(pixels), 127.0, 128.0)).numpy()
    (found,) = open_session(find_backbone(preprocessing).path).run([runtime.EMBEDDING], {runtime.INPUT: pixels})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_damaged_backbone_is_converted_again(backbones: Path) -> None:
    backbone = find_backbone(PREPROCESSING)
    good = backbone.path.read_bytes()
    backbone.path.write_bytes(good[:-1])
    assert find_backbone(PREPROCESSING).path.read_bytes() == good
    seal = backbone.path.with_suffix(".sha256")
    seal.write_bytes(b"\xb4" + seal.read_bytes()[1:])  # no text
    assert find_backbone(PREPROCESSING) == backbone


def test_train_predict_and_evaluate(backbones: Path, faces: Path, tmp_path: Path) -> None:
    run = fieldmark.train(faces, out=tmp_path / "run", image_size=64)
    assert (run.folder / "history.csv").read_text().count("\n") == 1
    assert "cross-validation over groups" in run.info["choices"][0]
    numbers = fieldmark.evaluate(run.folder, faces / "validation")
    assert numbers["accuracy"] == run.metrics["validation"]["accuracy"]
    # Reported from the head on cached embeddings; here from the whole file on the same pixels.
    assert numbers["log_loss"] == pytest.approx(run.metrics["validation"]["log_loss"], abs=1e-4)


def test_a_warm_training_needs_no_torch(backbones: Path, faces: Path, tmp_path: Path) -> None:
    fieldmark.train(faces, out=tmp_path / "cold", image_size=64)
    code = NO_TORCH + "import fieldmark; fieldmark.train(sys.argv[1], out=sys.argv[2], image_size=64, seed=1)"
    subprocess.run([sys.executable, "-c", code, str(faces), str(tmp_path / "warm")], check=True)
    assert (tmp_path / "warm" / "model.onnx").exists()
    assert (cache_folder() / "embeddings").is_dir()


BASE_INSTALL = """
from pathlib import Path
from fieldmark import auditing, embedding, errors
found = auditing.audit(Path(sys.argv[1]))
assert [check.name for check in found.checks if check.not_run] == [], found.checks
path = next((Path(sys.argv[2]) / "backbones").glob("*.onnx"))
try:
    embedding.Backbone(path, "").load()
except errors.MissingExtraError as error:
    assert "onnx" in str(error) and "fieldmark[train]" in error.hint
"""


def test_a_warm_audit_needs_no_extra(faces: Path, own_cache: Path) -> None:
    fieldmark.audit(faces)
    code = NO_EXTRAS + BASE_INSTALL + "else: raise AssertionError('loaded without onnx')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(faces), str(own_cache)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

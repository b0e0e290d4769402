"""The words of the pretrained backbone are its own layer, to the bit of rounding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldmark.explanation.vocabulary import imagenet_vocabulary
from fieldmark.networks import efficientnet_lite
from tests.no_torch import NO_TORCH


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDMARK_CACHE_DIR", str(tmp_path))


def test_it_answers_as_the_network_s_own_head(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = imagenet_vocabulary()
    assert vocabulary is not None
    embeddings = np.random.default_rng(0).uniform(0, 6, (3, 1280)).astype(np.float32)
    with torch.no_grad():
        expected = efficientnet_lite.pretrained().head(torch.from_numpy(embeddings)).softmax(1).numpy()
    np.testing.assert_allclose(vocabulary.probabilities(embeddings), expected, atol=1e-5)

    def fail() -> None:
        raise AssertionError("the second time it comes from the cache")

    monkeypatch.setattr(efficientnet_lite, "pretrained", fail)
    again = imagenet_vocabulary()
    assert again is not None
    assert np.array_equal(again.weights, vocabulary.weights)
    assert again.names[578] == "gown"


def test_damaged_words_are_read_again(tmp_path: Path) -> None:
    vocabulary = imagenet_vocabulary()
    assert vocabulary is not None
    (path,) = tmp_path.glob("backbones/*.f32")
    good = path.read_bytes()
    for place in (0, len(good) // 2, len(good) - 1):
        damaged = bytearray(good)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        again = imagenet_vocabulary()
        assert again is not None
        assert np.array_equal(again.weights, vocabulary.weights)
        assert path.read_bytes() == good


def test_without_torch_there_are_no_words() -> None:
    code = (
        NO_TORCH
        + "from fieldmark.explanation.vocabulary import imagenet_vocabulary as find; sys.exit(find() is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

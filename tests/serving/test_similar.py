"""Similar: each training image finds itself in the classifier file, under its own name, whatever the bank holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fieldmark.classifier import load
from fieldmark.errors import ModelFileError
from fieldmark.evaluation import familiarity
from fieldmark.evaluation.familiarity import bank_rows, fit_familiarity, unit
from fieldmark.evaluation.predictions import read_csv
from fieldmark.images import formats
from fieldmark.report.contents import read_contents
from fieldmark.runs import Run
from fieldmark.serving.similar import open_gallery, read_gallery
from tests.report.fabricate import change


def test_every_training_image_finds_itself(trained: Path) -> None:
    classifier, root = load(trained), read_contents(trained).root
    gallery = open_gallery(classifier, Run(trained))
    assert set(gallery.paths) == set(read_csv(trained / "predictions.csv").select("train").paths)
    pixels = np.stack([formats.load(root / path, classifier.preprocessing) for path in gallery.paths])
    for row, embedding in enumerate(classifier.embeddings(pixels)):
        alike = {gallery.paths[found]: cosine for found, cosine in gallery.nearest(embedding)}
        assert alike[gallery.paths[row]] == pytest.approx(1, abs=1e-3)
        assert list(alike.values()) == sorted(alike.values(), reverse=True)


@pytest.mark.parametrize(
    ("most", "groups"), [(4096, 12), (16, 12), (4096, 2)], ids=["all", "some of them", "one group a class"]
)
def test_the_rows_of_a_bank_are_known_without_it(monkeypatch: pytest.MonkeyPatch, most: int, groups: int) -> None:
    monkeypatch.setattr(familiarity, "MOST_ROWS", most)
    labels = np.tile([1, 0, 0], 14).astype(np.int32)
    embeddings = np.random.default_rng(0).normal(size=(42, 8)).astype(np.float32)
    names = [f"{label}-{row % (groups // 2)}" for row, label in enumerate(labels)]
    bank = fit_familiarity(embeddings, labels, names, classes=2).bank.rows
    rows = bank_rows(labels, names, 8)
    assert len(bank) == min(most, 42)
    np.testing.assert_array_equal(unit(embeddings[rows]).astype(np.float16), bank)


def test_another_run_s_images_are_not_shown(trained: Path, tmp_path: Path) -> None:
    classifier = load(trained)
    for name in ("predictions.csv", "run.json", "metrics.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    assert open_gallery(classifier, Run(tmp_path)).paths
    predictions = read_csv(tmp_path / "predictions.csv")
    for other in (None, predictions.keep(range(len(predictions) - 1)[::2])):
        with pytest.raises(ModelFileError, match=r"no predictions\.csv|not made from the images"):
            read_gallery(classifier, Run(tmp_path), other)
    change(tmp_path / "run.json", dataset_fingerprint="0" * 64)
    with pytest.raises(ModelFileError, match="not made from the images"):
        open_gallery(classifier, Run(tmp_path))

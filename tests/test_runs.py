"""Run and Classifier in a Python program: named by a path, standing for it, read, copied, sent to other processes."""

from __future__ import annotations

import copy
import csv
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fieldmark
from fieldmark.errors import ImageError, ModelFileError
from fieldmark.training.history import write_history


def test_a_run_is_named_by_a_path_of_any_kind(trained: Path) -> None:
    run = fieldmark.Run(str(trained))
    assert run == fieldmark.Run(trained) == fieldmark.Run(run)
    assert run.folder == trained
    assert run.metrics["validation"]["n"] > 0
    for wrong in (None, 3, b"runs"):
        with pytest.raises(ModelFileError) as caught:
            fieldmark.Run(wrong)  # type: ignore[arg-type]
        assert "fieldmark.Run('runs/photos-1')" in caught.value.hint


def test_a_run_stands_for_its_path(trained: Path, faces: Path, tmp_path: Path) -> None:
    run = fieldmark.Run(trained)
    classifier = fieldmark.load(run)
    assert classifier.path == trained / "model.onnx"
    found = fieldmark.evaluate(run, faces / "validation")
    assert found["accuracy"] == run.metrics["validation"]["accuracy"]
    by_path = fieldmark.compare(trained, trained / "model.onnx")
    for one, other in ((run, run), (classifier, run)):
        compared = fieldmark.compare(one, other)
        assert compared["difference"] == by_path["difference"] == 0
        assert compared["sentence"].startswith("A and B are the same classifier")
    assert fieldmark.explain(run, next(faces.rglob("*.png")), out=tmp_path / "seen")["classes"] == ["happy", "sad"]


@pytest.mark.parametrize("wrong", [None, 3, {"run": 1}])
def test_what_is_no_path_is_no_classifier(wrong: object, faces: Path) -> None:
    for ask in (
        fieldmark.load,
        lambda what: fieldmark.evaluate(what, faces),
        lambda what: fieldmark.compare(what, what),
    ):
        with pytest.raises(ModelFileError, match=f"not from a {type(wrong).__name__}") as caught:
            ask(wrong)  # type: ignore[arg-type, operator]
        assert "run folder" in caught.value.hint


def test_the_history_is_numbers(trained: Path, tmp_path: Path) -> None:
    with (trained / "history.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    history = fieldmark.Run(trained).history
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history == [{name: float(cell) for name, cell in row.items()} for row in written]
    write_history(tmp_path / "history.csv", ())
    assert fieldmark.Run(tmp_path).history == []
    (tmp_path / "history.csv").write_text("epoch,validation_loss\n1,\n")
    assert fieldmark.Run(tmp_path).history == [{"epoch": 1, "validation_loss": None}]
    for broken in ("epoch,train_loss\n1,low\n", "epoch\n1,2\n", "epoch,train_loss\n1\n"):
        (tmp_path / "history.csv").write_text(broken)
        with pytest.raises(ModelFileError, match=r"history\.csv"):
            _ = fieldmark.Run(tmp_path).history
    with pytest.raises(ModelFileError, match="cannot be read"):
        _ = fieldmark.Run(tmp_path / "absent").history


def test_the_predictions_are_what_the_classifier_answers(trained: Path) -> None:
    run = fieldmark.Run(trained)
    rows = [row for row in run.predictions if row["split"] == "validation"]
    assert len(rows) == run.metrics["validation"]["n"]
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(run.metrics["validation"]["accuracy"])
    root = Path(run.info["root"])
    for row, answer in zip(rows, fieldmark.load(run).predict([root / row["path"] for row in rows]), strict=True):
        assert (row["predicted"], row["unfamiliar"]) == (answer.label, answer.unfamiliar)
        assert row["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)
        assert row["probability"] == max(row["probabilities"].values())


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained / "model.onnx", tmp_path / "moved.onnx"))


def test_a_copy_answers_alike(moved: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    classifier = fieldmark.load(moved, threads=1)
    for again in (copy.deepcopy(classifier), copy.copy(classifier), pickle.loads(pickle.dumps(classifier))):
        assert again.predict(pixels) == classifier.predict(pixels)
        assert (again.threads, again.classes) == (1, ("happy", "sad"))


def test_another_process_has_it_from_another_folder(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sent").write_bytes(pickle.dumps(fieldmark.load("moved.onnx")))
    code = "import pickle, sys; sys.stdout.write(str(pickle.loads(open(sys.argv[1], 'rb').read()).classes))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "sent")], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout == "('happy', 'sad')", done.stderr


def test_a_file_that_was_replaced_is_not_taken_for_the_one_that_was_pickled(moved: Path, trained: Path) -> None:
    sent = pickle.dumps(fieldmark.load(moved))
    moved.unlink()
    with pytest.raises(ModelFileError, match="no classifier here"):
        pickle.loads(sent)
    seal = fieldmark.load(trained).seal
    again = pickle.dumps(fieldmark.load(trained)).replace(seal, bytes(reversed(seal)))
    with pytest.raises(ModelFileError, match="another classifier than the one that was pickled"):
        pickle.loads(again)


def test_errors_come_back_from_other_processes() -> None:
    image = pickle.loads(pickle.dumps(ImageError("truncated", "the file ends early")))
    assert (image.code, image.detail, str(image)) == (
        "truncated",
        "the file ends early",
        "truncated: the file ends early",
    )
    mistake = pickle.loads(pickle.dumps(ModelFileError("no classifier here", hint="train one")))
    assert (str(mistake), mistake.hint) == ("no classifier here", "train one")


def test_what_a_classifier_is_in_one_line(trained: Path) -> None:
    assert repr(fieldmark.load(trained)) == (
        f"<Classifier {trained / 'model.onnx'}: course, 2 classes (happy, sad), images 24 x 24>"
    )

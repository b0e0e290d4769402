"""Comparing two runs: on the images that both held out, or on a folder of labelled ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldmark
from fieldmark.comparing.compare import _sentence
from fieldmark.errors import DatasetError, RecipeError
from fieldmark.evaluating import evaluate
from fieldmark.evaluation.predictions import Predictions, read_csv, write_csv
from fieldmark.report.lines import compare_lines
from fieldmark.report.text import evaluation_lines


@pytest.fixture
def other(trained: Path, tmp_path: Path) -> Path:
    """The same run, but the first three answers on validation are turned round."""
    folder = shutil.copytree(trained, tmp_path / "other")
    stored = read_csv(folder / "predictions.csv")
    shares = stored.probabilities.copy()
    rows = [row for row, split in enumerate(stored.splits) if split == "validation"][:3]
    shares[rows] = shares[rows][:, ::-1]
    turned = Predictions(stored.paths, stored.labels, shares, stored.splits, stored.groups, stored.classes)
    write_csv(folder / "predictions.csv", turned)
    return folder


def test_flips_are_found_and_drawn(trained: Path, other: Path, tmp_path: Path) -> None:
    found = fieldmark.compare(trained, other, out=tmp_path / "out")
    stored = read_csv(trained / "predictions.csv")
    part = stored.select("validation")
    assert {flip["path"] for flip in found["flips"]} == set(part.paths[:3])
    assert found["a"]["accuracy"] == pytest.approx(fieldmark.Run(trained).metrics["validation"]["accuracy"])
    assert found["n"] == len(part)
    assert found["mcnemar"]["only_a_right"] + found["mcnemar"]["only_b_right"] == 3
    low, high = found["difference_interval"]
    assert low <= found["difference"] <= high
    for side in ("a", "b"):
        assert found[side]["bytes"] == (trained / "model.onnx").stat().st_size
        assert found[side]["images_per_second"] > 0
        assert found[side]["training_seconds"] > 0
    assert json.loads((tmp_path / "out" / "compare.json").read_text("utf-8")) == found
    with Image.open(tmp_path / "out" / "flips.png") as picture:
        assert np.asarray(picture).std() > 10


def test_a_run_may_be_named_by_its_model(trained: Path, other: Path, faces: Path) -> None:
    by_folder = fieldmark.compare(trained, other)
    by_model = fieldmark.compare(trained / "model.onnx", other / "model.onnx")
    assert [flip["path"] for flip in by_model["flips"]] == [flip["path"] for flip in by_folder["flips"]]
    assert by_model["b"]["training_seconds"] == by_folder["b"]["training_seconds"]
    flattered = fieldmark.compare(trained / "model.onnx", other / "model.onnx", faces / "train")
    assert sum("was trained on" in remark for remark in flattered["remarks"]) == 2


def test_a_folder_of_labelled_images(trained: Path, other: Path, faces: Path, tmp_path: Path) -> None:
    held_out = fieldmark.compare(trained, other, faces / "validation")
    assert held_out["flips"] == []
    assert held_out["difference"] == 0
    assert held_out["sentence"].startswith("A and B are the same classifier, to the bit, on ")
    assert "which of them is better cannot be told" in _sentence(held_out, same=False)
    assert held_out["a"]["accuracy"] == pytest.approx(fieldmark.Run(trained).metrics["validation"]["accuracy"])
    alone = shutil.copy(other / "model.onnx", tmp_path / "alone.onnx")
    flattered = fieldmark.compare(trained, alone, faces / "train")
    assert any(remark.startswith("A was trained on") for remark in flattered["remarks"])
    assert not any(remark.startswith("B was trained on") for remark in flattered["remarks"])


def test_the_table_beside_a_split_folder_is_honoured(trained: Path, faces: Path, tmp_path: Path) -> None:
    root = shutil.copytree(faces, tmp_path / "faces")
    first = sorted((root / "validation" / "happy").iterdir())[0].name
    (root / "corrections.csv").write_text(f"path,label\nvalidation/happy/{first},sad\n")
    changed = [{"path": f"happy/{first}", "from": "happy", "to": "sad"}]
    compared = fieldmark.compare(trained, trained, root / "validation")
    assert compared["corrections"] == changed
    evaluated = evaluate(trained, root / "validation")
    assert evaluated["corrections"] == changed
    assert evaluated["per_class"]["sad"]["n"] == len(list((root / "validation" / "sad").iterdir())) + 1
    for lines in (compare_lines(compared), evaluation_lines(evaluated)):
        assert f"    happy/{first}: happy → sad" in lines


def test_a_table_elsewhere_is_honoured_where_a_folder_is_read(trained: Path, faces: Path, tmp_path: Path) -> None:
    first = sorted((faces / "validation" / "happy").iterdir())[0].name
    table = tmp_path / "elsewhere.csv"
    table.write_text(f"path,label\nhappy/{first},sad\n")
    compared = fieldmark.compare(trained, trained, faces / "validation", corrections=table)
    assert compared["corrections"] == [{"path": f"happy/{first}", "from": "happy", "to": "sad"}]
    assert fieldmark.compare(trained, trained, faces / "validation")["corrections"] == []
    with pytest.raises(RecipeError, match="corrections without a directory"):
        fieldmark.compare(trained, trained, corrections=table)


def test_a_table_written_after_training_is_not_passed_over_without_a_word(
    trained: Path, other: Path, faces: Path, tmp_path: Path
) -> None:
    assert not any("corrections" in remark for remark in fieldmark.compare(trained, other)["remarks"])
    root = shutil.copytree(faces, tmp_path / "faces")
    names = [path.name for path in sorted((root / "validation" / "happy").iterdir())]
    rows = f"validation/happy/{names[0]},sad\nvalidation/happy/{names[1]},remove\nvalidation/happy/{names[2]},happy\n"
    (root / "corrections.csv").write_text(f"path,label\n{rows}")
    info = json.loads((other / "run.json").read_text("utf-8"))
    (other / "run.json").write_text(json.dumps({**info, "root": str(root)}))
    before = fieldmark.compare(trained, trained)
    (remark,) = fieldmark.compare(trained, other)["remarks"]
    assert remark.startswith(
        f"{root / 'corrections.csv'} has 2 rows of these images that B had not been trained with: "
    )
    assert remark.endswith("name the directory of these images to compare by the table: fieldmark compare A B DIR")
    (remark,) = fieldmark.compare(other, other)["remarks"]
    assert " that A and B had not been trained with: " in remark
    assert any(remark in line for line in compare_lines({**before, "remarks": [remark]}))


def test_a_table_of_the_folder_validated_on_is_looked_at_too(trained: Path, faces: Path, tmp_path: Path) -> None:
    root = shutil.copytree(faces, tmp_path / "faces")
    folder = shutil.copytree(trained, tmp_path / "run")
    for table in ("predictions.csv", "dataset.csv"):
        text = (folder / table).read_text("utf-8")
        (folder / table).write_text(text.replace("validation/", f"{root}/validation/"), "utf-8")
    info = json.loads((folder / "run.json").read_text("utf-8"))
    (folder / "run.json").write_text(json.dumps({**info, "root": str(root / "train")}))
    first = sorted((root / "validation" / "happy").iterdir())[0].name
    (root / "validation" / "corrections.csv").write_text(f"path,label\nhappy/{first},sad\n")
    (remark,) = fieldmark.compare(folder, folder)["remarks"]
    assert " has a row of these images that A and B " in remark


def test_only_what_both_share_is_compared(trained: Path, other: Path) -> None:
    lines = (other / "dataset.csv").read_text("utf-8").splitlines(keepends=True)
    column = lines[0].split(",").index("sha256")
    row = next(number for number, line in enumerate(lines) if ",validation," in line)
    cells = lines[row].split(",")
    lines[row] = ",".join([*cells[:column], "0" * 64, *cells[column + 1 :]])
    (other / "dataset.csv").write_text("".join(lines), "utf-8")
    whole = fieldmark.compare(trained, trained)
    found = fieldmark.compare(trained, other)
    assert found["n"] == whole["n"] - 1
    assert "1 image of the validation split of A alone left out" in found["remarks"]


def test_what_cannot_be_compared_is_refused(trained: Path, other: Path, faces: Path, tmp_path: Path) -> None:
    alone = shutil.copy(trained / "model.onnx", tmp_path / "alone.onnx")
    with pytest.raises(DatasetError, match="neither a run folder nor its model"):
        fieldmark.compare(trained, alone)
    with pytest.raises(DatasetError, match="holds the splits"):
        fieldmark.compare(trained, other, faces)
    stored = read_csv(other / "predictions.csv")
    all_train = Predictions(
        stored.paths, stored.labels, stored.probabilities, ("train",) * len(stored), stored.groups, stored.classes
    )
    write_csv(other / "predictions.csv", all_train)
    with pytest.raises(DatasetError, match="held out no image in common"):
        fieldmark.compare(trained, other)

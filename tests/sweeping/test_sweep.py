"""Sweeping: a table over choices and seeds that goes on where it stopped."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fieldmark
from fieldmark.errors import DatasetError, FieldmarkError, OutputError, RecipeError
from fieldmark.images.scan import scan
from fieldmark.report.dots import DOT, dodged, dot_plot
from fieldmark.report.lines import sweep_lines
from fieldmark.runs import Run
from fieldmark.training.choices import choose
from fieldmark.training.progress import Progress

RECIPE = {"network": "course", "channels": (8,), "epochs": 3, "batch_size": 16}


@pytest.fixture
def trainings(trained: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Trainings take no time here: each is a copy of one run under its own recipe. Returns the folders trained."""
    done: list[Path] = []

    def train(
        directory: Path,
        *,
        out: Path,
        validation: Path | None,
        corrections: Path | None,
        progress: object,
        **choices: Any,
    ) -> Run:
        scan(directory, validation=validation, corrections=corrections)
        network = choices.pop("network")
        recipe, _ = choose(network, choices)
        shutil.copytree(trained, out)
        (out / "recipe.json").write_text(json.dumps(recipe.to_json()))
        done.append(out)
        return Run(out)

    monkeypatch.setattr("fieldmark.pipeline.train", train)
    return done


def test_a_table_a_plot_and_the_images_that_differ(faces: Path, tmp_path: Path, trainings: list[Path]) -> None:
    out = tmp_path / "out"
    found = fieldmark.sweep(faces, image_size=[24, 32], seeds=2, out=out, **RECIPE)
    assert [path.name for path in trainings] == [
        *("image-size-24_seed-0", "image-size-24_seed-1", "image-size-32_seed-0", "image-size-32_seed-1")
    ]
    assert [row["choice"] for row in found["choices"]] == ["image_size 24", "image_size 32"]
    for row in found["choices"]:
        assert row["runs"] == 2
        assert row["sd"] == 0
        assert row["images_interval"][0] < row["accuracy"] < row["images_interval"][1]
    assert found["images"] == []
    (against,) = found["against_best"]
    assert (against["choice"], against["difference"], against["told_apart"]) == ("image_size 32", 0, False)
    assert any("cannot be told apart from image_size 32" in remark for remark in found["remarks"])
    assert json.loads((out / "sweep.json").read_text("utf-8")) == found
    with (out / "sweep.csv").open(newline="", encoding="utf-8") as file:
        assert [row["choice"] for row in csv.DictReader(file)] == ["image_size 24", "image_size 32"]
    with (out / "images.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == found["choices"][0]["n"]
    with Image.open(out / "sweep.png") as picture:
        picture.load()


def test_the_first_reading_of_the_images_is_shown(faces: Path, tmp_path: Path, trainings: list[Path]) -> None:
    progress = Progress(quiet=True)
    fieldmark.sweep(faces, image_size=[24], seeds=1, out=tmp_path / "out", progress=progress, **RECIPE)
    assert {"scan", "read"} <= set(progress.seconds)


def test_finished_runs_are_kept_and_broken_ones_trained_again(
    faces: Path, tmp_path: Path, trainings: list[Path]
) -> None:
    out = tmp_path / "out"
    sweep = {"image_size": [24, 32], "seeds": 1, "out": out, **RECIPE}
    fieldmark.sweep(faces, **sweep)
    trainings.clear()
    fieldmark.sweep(faces, **sweep)
    assert trainings == []
    (out / "image-size-32_seed-0" / "run.json").unlink()
    fieldmark.sweep(faces, **sweep)
    assert [path.name for path in trainings] == ["image-size-32_seed-0"]
    trainings.clear()
    fieldmark.sweep(faces, **sweep | {"seeds": 2})
    assert [path.name for path in trainings] == ["image-size-24_seed-1", "image-size-32_seed-1"]


def test_other_runs_and_other_files_are_left_alone(faces: Path, tmp_path: Path, trainings: list[Path]) -> None:
    out = tmp_path / "out"
    fieldmark.sweep(faces, seeds=1, out=out, image_size=24, **RECIPE)
    with pytest.raises(OutputError, match="another recipe"):
        fieldmark.sweep(faces, seeds=1, out=out, image_size=32, **RECIPE)
    smaller = shutil.copytree(faces, tmp_path / "smaller")
    next((smaller / "train" / "sad").glob("*.png")).unlink()
    with pytest.raises(OutputError, match="other images"):
        fieldmark.sweep(smaller, seeds=1, out=out, image_size=24, **RECIPE)
    (out / "seed-0" / "run.json").unlink()
    (out / "seed-0" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        fieldmark.sweep(faces, seeds=1, out=out, image_size=24, **RECIPE)
    assert (out / "seed-0" / "thesis.txt").read_text() == "mine"


def test_every_training_honours_the_table_of_corrections(
    faces: Path, tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    copy = fieldmark.pipeline.train  # type: ignore[attr-defined]

    def train(directory: Path, **options: Any) -> Run:
        given.append(options["corrections"])
        run: Run = copy(directory, **options)
        return run

    monkeypatch.setattr("fieldmark.pipeline.train", train)
    table = tmp_path / "elsewhere.csv"
    table.write_text("path,label\ntrain/happy/nobody.png,sad\n")
    sweep = {"image_size": 24, "seeds": 1, "out": tmp_path / "out", **RECIPE}
    with pytest.raises(DatasetError, match=r"elsewhere\.csv: no image has the path"):
        fieldmark.sweep(faces, corrections=table, **sweep)
    assert given == []
    first = sorted((faces / "train" / "happy").iterdir())[0].name
    table.write_text(f"path,label\ntrain/happy/{first},sad\n")
    fieldmark.sweep(faces, corrections=table, **sweep)
    assert given == [table]
    # The run that was trained without the table, of the same name, is of other labels
    fieldmark.sweep(faces, **sweep | {"out": tmp_path / "other"})
    with pytest.raises(OutputError, match="other images"):
        fieldmark.sweep(faces, corrections=table, **sweep | {"out": tmp_path / "other"})


@pytest.mark.parametrize(
    "choices",
    [
        {"image_size": [24, 5000]},
        {"optimizer": ["adam", "adamw"]},
        {"network": ["course", "resnet"]},
        {"network": ["course", "efficientnet-lite0"]},
        {"image_size": [24, 24]},
        {"image_size": []},
        {"seed": [1, 2]},
        {"seeds": 0},
        {"validation_fraction": 2.0},
    ],
)
def test_every_value_is_checked_before_any_training(
    faces: Path, tmp_path: Path, trainings: list[Path], choices: dict[str, Any]
) -> None:
    with pytest.raises(FieldmarkError) as caught:
        fieldmark.sweep(faces, out=tmp_path / "out", **RECIPE | choices)
    assert isinstance(caught.value, RecipeError)
    assert trainings == []
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_ends_the_sweep(
    faces: Path, tmp_path: Path, trainings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = fieldmark.pipeline.train  # type: ignore[attr-defined]

    def interrupted(directory: Path, **options: Any) -> Run:
        run: Run = copy(directory, **options)
        if len(trainings) == 2:
            (run.folder / "run.json").write_text(json.dumps(run.info | {"interrupted": True}))
        return run

    monkeypatch.setattr("fieldmark.pipeline.train", interrupted)
    sweep = {"image_size": 24, "seeds": 3, "out": tmp_path / "out", **RECIPE}
    found = fieldmark.sweep(faces, **sweep)
    assert found["interrupted"]
    assert found["choices"][0]["runs"] == 1
    assert "interrupted after 1 of 3 runs" in found["remarks"][-1]
    again = fieldmark.sweep(faces, **sweep)
    assert not again["interrupted"]
    assert [path.name for path in trainings] == ["seed-0", "seed-1", "seed-1", "seed-2"]


def test_equal_runs_are_all_seen_in_the_plot() -> None:
    row = {"choice": "a", "accuracies": [0.9], "accuracy": 0.7, "images_interval": [0.5, 1.0]}

    def blue(accuracies: list[float]) -> int:
        picture = np.asarray(dot_plot([row | {"accuracies": accuracies}], title=""))
        return int((picture == DOT).all(axis=2).sum())

    # Neighbours may cover a little of one another
    assert blue([0.9, 0.9, 0.9]) > 2 * blue([0.9])
    assert len(set(dodged([10.0] * 7))) == 7
    assert len(dodged([10.0] * 30)) == 30


def test_an_image_is_said_to_be_right_with_a_choice() -> None:
    image = {"path": "a.png", "label": "cat", "right": {"image_size 75": 1.0, "image_size 150": 0.5, "c": None}}
    lines = sweep_lines({"choices": [], "images": [image], "remarks": [], "folder": "out"})
    said = "a.png (cat): 100 % right with image_size 75, 50 % right with image_size 150, not held out with c"
    assert said in [line.strip() for line in lines]


def test_the_terminal_says_what_the_remarks_do() -> None:
    lines = sweep_lines({"choices": [], "images": [], "remarks": ["a \x1b[2J remark"], "folder": "out"})
    (line,) = [line for line in lines if line.startswith("note: ")]
    assert "remark" in line
    assert "\x1b" not in line

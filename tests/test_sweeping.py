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
from fieldmark import sweeping
from fieldmark.errors import FieldmarkError, OutputError, RecipeError
from fieldmark.report.dots import DOT, dodged, dot_plot
from fieldmark.report.lines import sweep_lines
from fieldmark.runs import Run

RECIPE = {"network": "course", "channels": (8,), "epochs": 3, "batch_size": 16}


@pytest.fixture
def trainings(trained: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Trainings take no time here: each is a copy of one run under its own recipe. Returns the folders trained."""
    done: list[Path] = []

    def train(directory: Path, *, out: Path, validation: Path | None, progress: object, **choices: Any) -> Run:
        network = choices.pop("network")
        recipe, _ = sweeping.choose(network, choices)
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


def test_images_whose_answer_depends_on_the_choice(trained: Path) -> None:
    stored = sweeping.read_csv(trained / "predictions.csv").select("validation")
    shares = stored.probabilities.copy()
    shares[0] = shares[0][::-1]
    turned = sweeping.Predictions(stored.paths, stored.labels, shares, stored.splits, stored.groups, stored.classes)
    right = bool(stored.correct[0])
    images = sweeping._images({"small": [(None, stored), (None, turned)], "large": [(None, stored)] * 2})  # type: ignore[list-item]
    assert [image["path"] for image in images if image["differs"]] == [stored.paths[0]]
    assert images[0]["right"] == {"small": 0.5, "large": float(right)}


def validation(right: list[bool], paths: list[str] | None = None) -> sweeping.Predictions:
    """Answers to images of two classes in turn."""
    labels = np.arange(len(right), dtype=np.int32) % 2
    shares = np.full((len(right), 2), 0.1, np.float32)
    shares[np.arange(len(right)), np.where(right, labels, 1 - labels)] = 0.9
    names = tuple(paths or [f"{row}.png" for row in range(len(right))])
    return sweeping.Predictions(names, labels, shares, ("validation",) * len(right), names, ("a", "b"))


def told(best: list[list[bool]], other: list[list[bool]]) -> tuple[dict[str, Any], str]:
    """The other choice against the best, and what is said of the two."""

    def group(runs: list[list[bool]]) -> list[tuple[Any, sweeping.Predictions]]:
        plan = sweeping.plan_sweep({"network": "course"}, seeds=len(runs), folder=Path("out"))
        return [(planned, validation(right)) for planned, right in zip(plan, runs, strict=True)]

    by_choice = {"size 75": group(other), "size 150": group(best)}
    rows = [
        {"choice": name, "accuracy": float(np.mean([part.correct.mean() for _, part in of_choice])), "n": 100}
        for name, of_choice in by_choice.items()
    ]
    (against,) = sweeping._against_best(rows, by_choice)
    (remark,) = sweeping._best(rows, [against])
    return against, remark


def test_what_cannot_be_told_apart_is_not_called_best() -> None:
    # A percent or two, where the seeds differ by far more
    against, remark = told(
        [[True] * 95 + [False] * 5, [True] * 85 + [False] * 15], [[True] * 80 + [False] * 20, [True] * 98 + [False] * 2]
    )
    assert not against["told_apart"]
    assert remark.startswith("size 150 has the most right answers (90.0 %), but cannot be told apart from size 75")
    assert "+1.0 points" in remark


def test_what_is_surely_better_is_called_best() -> None:
    against, remark = told([[True] * 98 + [False] * 2] * 3, [[True] * 60 + [False] * 40] * 3)
    assert against["told_apart"]
    assert against["difference"] == pytest.approx(0.38)
    assert against["images_interval"][0] > 0
    assert remark.startswith(
        "size 150 was best (98.0 %), and was chosen on these images: on others expect a little less"
    )
    assert "the difference to size 75 on the 100 images that both held out is +38.0 points" in remark
    # One seed: the images alone decide, and few of them say nothing
    against, _ = told([[True] * 98 + [False] * 2], [[True] * 60 + [False] * 40])
    assert (against["seeds_interval"], against["told_apart"]) == (None, True)
    against, _ = told([[True] * 4], [[True] * 3 + [False]])
    assert not against["told_apart"]


def standing(accuracies: dict[str, float], differences: dict[str, float | None]) -> list[str]:
    """What is said of choices, none of which is told apart from the best."""
    rows = [{"choice": name, "accuracy": accuracy} for name, accuracy in accuracies.items()]
    against = [
        {"choice": name, "n": 7, "difference": difference, "images_interval": [-0.01, 0.031], "seeds_interval": None}
        | {"told_apart": False}
        for name, difference in differences.items()
    ]
    return sweeping._best(rows, against)


def test_a_tie_is_called_neither_best_nor_more() -> None:
    (remark,) = standing({"a": 0.9, "b": 0.9}, {"b": 0.0})
    assert remark == (
        "a (90.0 %) cannot be told apart from b (90.0 %); the difference to b on the 7 images that both held out is "
        "+0.0 points "
        "(95 % intervals: -1.0 to +3.1 over the images)"
    )
    against, remark = told([[True] * 9 + [False]] * 2, [[False] + [True] * 9] * 2)
    assert against["difference"] == 0
    assert "cannot be told apart" in remark
    assert "most right answers" not in remark


def test_few_of_those_that_cannot_be_told_apart_are_named() -> None:
    accuracies = {name: 0.9 - place / 100 for place, name in enumerate("abcdef")}
    (remark,) = standing(accuracies, dict.fromkeys("bcdef", 0.01))
    assert remark.startswith(
        "a has the most right answers (90.0 %), but cannot be told apart from "
        "b (89.0 %), c (88.0 %), d (87.0 %) and 2 more; the difference to b on the 7 images that "
        "both held out is +1.0 points"
    )
    (remark,) = standing({"a": 0.9, "b": 0.8, "c": 0.7}, {"b": -0.02, "c": 0.2})
    assert "told apart from b (80.0 %) and c (70.0 %);" in remark
    assert "over the seeds" not in remark
    assert standing({"a": 0.9}, {}) == []


def test_choices_without_a_common_image_are_not_compared() -> None:
    plan = sweeping.plan_sweep({"network": "course"}, seeds=1, folder=Path("out"))
    by_choice = {
        "a": [(plan[0], validation([True] * 4))],
        "b": [(plan[0], validation([False] * 4, ["5", "6", "7", "8"]))],
    }
    rows = [{"choice": "a", "accuracy": 1.0, "n": 4}, {"choice": "b", "accuracy": 0.0, "n": 4}]
    (against,) = sweeping._against_best(rows, by_choice)
    assert (against["n"], against["difference"], against["told_apart"]) == (0, None, False)
    (remark,) = sweeping._best(rows, [against])
    assert remark.endswith("cannot be told apart from b (0 %); it shares no images with b")


def test_the_best_is_held_against_each_other_choice_seed_by_seed() -> None:
    plan = sweeping.plan_sweep({"network": "course"}, seeds=3, folder=Path("out"))
    # In another order of images, and the best was not trained with the last seed
    paths = [f"{row}.png" for row in range(40)]
    mirrored = list(reversed(paths))
    good, bad = [True] * 36 + [False] * 4, [True] * 24 + [False] * 16

    def part(right: list[bool], names: list[str]) -> sweeping.Predictions:
        answers = dict(zip(paths, right, strict=True))
        return validation([answers[name] for name in names], names)

    by_choice = {
        "low": [(planned, part(bad, mirrored)) for planned in plan],
        "best": [(plan[0], part(good, paths)), (plan[1], part([True] * 40, paths))],
        "middle": [(planned, part([True] * 30 + [False] * 10, paths)) for planned in plan[:1]],
    }
    rows = [{"choice": name, "accuracy": float(group[0][1].correct.mean())} for name, group in by_choice.items()]
    middle, low = sweeping._against_best(rows, by_choice)
    assert [(each["choice"], each["n"]) for each in (middle, low)] == [("middle", 40), ("low", 40)]
    assert low["difference"] == pytest.approx((0.3 + 0.4) / 2)
    assert low["seeds_interval"] == pytest.approx([0.35 - 12.7062 * 0.05, 0.35 + 12.7062 * 0.05], abs=1e-3)
    # Two runs of one image are one image
    alone = sweeping.paired_interval(
        by_choice["low"][0][1].correct[::-1], by_choice["best"][0][1].correct, by_choice["best"][0][1].groups
    )
    assert middle["images_interval"][0] < middle["difference"] < middle["images_interval"][1]
    assert low["images_interval"][1] - low["images_interval"][0] > 0.7 * (alone[1] - alone[0])


def test_seeds_with_few_images_count_as_much_as_those_with_many() -> None:
    plan = sweeping.plan_sweep({"network": "course"}, seeds=2, folder=Path("out"))
    many, few = [True] * 60 + [False] * 40, [True] * 8 + [False] * 2
    by_choice = {
        "a": [(plan[0], validation(many)), (plan[1], validation([True] * 10))],
        "b": [(plan[0], validation([True] * 65 + [False] * 35)), (plan[1], validation(few))],
    }
    rows = [{"choice": "a", "accuracy": 0.8}, {"choice": "b", "accuracy": 0.725}]
    (against,) = sweeping._against_best(rows, by_choice)
    # Of all answers b has more right
    assert against["difference"] == pytest.approx(0.8 - 0.725)
    assert against["images_interval"][0] < against["difference"] < against["images_interval"][1]


def test_what_the_seeds_alone_or_the_images_alone_show_is_not_enough() -> None:
    # Every seed says the same of five images
    few, _ = told([[True] * 5] * 3, [[True] * 4 + [False]] * 3)
    assert few["seeds_interval"][0] > 0 >= few["images_interval"][0]
    assert not few["told_apart"]
    # Many images, and seeds that differ by more
    unsteady, _ = told([[True] * 400, [True] * 400], [[True] * 400, [True] * 200 + [False] * 200])
    assert unsteady["images_interval"][0] > 0 > unsteady["seeds_interval"][0]
    assert not unsteady["told_apart"]


def test_different_numbers_of_images_are_said() -> None:
    group = [(None, validation([True] * 4))]
    (remark,) = sweeping._other_images([{"n": 4}, {"n": 5}], {"a": group})  # type: ignore[list-item]
    assert remark == "the choices were measured on different numbers of images"


def test_the_terminal_says_what_the_remarks_do() -> None:
    lines = sweep_lines({"choices": [], "images": [], "remarks": ["a \x1b[2J remark"], "folder": "out"})
    (line,) = [line for line in lines if line.startswith("note: ")]
    assert "remark" in line
    assert "\x1b" not in line


def test_a_split_of_each_seed_is_said() -> None:
    first, second = validation([True] * 4), validation([True] * 4, ["5", "6", "7", "8"])
    rows = [{"n": 4}]
    assert sweeping._other_images(rows, {"a": [(None, first), (None, first)]}) == []  # type: ignore[list-item]
    (remark,) = sweeping._other_images(rows, {"a": [(None, first), (None, second)]})  # type: ignore[list-item]
    assert "each seed splits anew" in remark


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

"""The table of a sweep: which images differ, and what can be said of the choices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldmark.evaluation.compare import paired_interval
from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.sweeping.plan import plan_sweep
from fieldmark.sweeping.remarks import name_best, other_images
from fieldmark.sweeping.table import against_best, choice_row, image_rows


def test_images_whose_answer_depends_on_the_choice(trained: Path) -> None:
    stored = read_csv(trained / "predictions.csv").select("validation")
    shares = stored.probabilities.copy()
    shares[0] = shares[0][::-1]
    turned = Predictions(stored.paths, stored.labels, shares, stored.splits, stored.groups, stored.classes)
    right = bool(stored.correct[0])
    images = image_rows({"small": [(None, stored), (None, turned)], "large": [(None, stored)] * 2})  # type: ignore[list-item]
    assert [image["path"] for image in images if image["differs"]] == [stored.paths[0]]
    assert images[0]["right"] == {"small": 0.5, "large": float(right)}


def validation(right: list[bool], paths: list[str] | None = None) -> Predictions:
    """Answers to images of two classes in turn."""
    labels = np.arange(len(right), dtype=np.int32) % 2
    shares = np.full((len(right), 2), 0.1, np.float32)
    shares[np.arange(len(right)), np.where(right, labels, 1 - labels)] = 0.9
    names = tuple(paths or [f"{row}.png" for row in range(len(right))])
    return Predictions(names, labels, shares, ("validation",) * len(right), names, ("a", "b"))


def told(best: list[list[bool]], other: list[list[bool]]) -> tuple[dict[str, Any], str]:
    """The other choice against the best, and what is said of the two."""

    def group(runs: list[list[bool]]) -> list[tuple[Any, Predictions]]:
        plan = plan_sweep({"network": "course"}, seeds=len(runs), folder=Path("out"))
        return [(planned, validation(right)) for planned, right in zip(plan, runs, strict=True)]

    by_choice = {"size 75": group(other), "size 150": group(best)}
    rows = [
        {"choice": name, "accuracy": float(np.mean([part.correct.mean() for _, part in of_choice])), "n": 100}
        for name, of_choice in by_choice.items()
    ]
    (against,) = against_best(rows, by_choice)
    (remark,) = name_best(rows, [against])
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


def test_seeds_that_come_to_the_same_number_are_known_to_its_grain_at_best() -> None:
    # 40 images: a difference of one step between two seeds of which neither need be the truth
    against, remark = told([[True] * 21 + [False] * 19] * 2, [[True] * 20 + [False] * 20] * 2)
    assert against["difference"] == pytest.approx(1 / 40)
    assert against["seeds_interval"] == pytest.approx([1 / 40 - 2.594 / 40, 1 / 40 + 2.594 / 40], abs=1e-4)
    assert not against["told_apart"]
    assert "-4.0 to +9.0 over the seeds" in remark


def test_the_seeds_of_one_choice_never_agree_exactly(trained: Path) -> None:
    stored = read_csv(trained / "predictions.csv").select("validation")
    (planned,) = plan_sweep({"network": "course"}, seeds=1, folder=Path("out"))
    row = choice_row("a", [(dataclasses.replace(planned, folder=trained), stored)] * 2)
    low, high = row["seeds_interval"]
    assert row["sd"] == 0
    assert high - low > 1 / len(stored)


def test_a_split_of_each_seed_is_said() -> None:
    first, second = validation([True] * 4), validation([True] * 4, ["5", "6", "7", "8"])
    rows = [{"n": 4}]
    assert other_images(rows, {"a": [(None, first), (None, first)]}) == []  # type: ignore[list-item]
    (remark,) = other_images(rows, {"a": [(None, first), (None, second)]})  # type: ignore[list-item]
    assert "each seed splits anew" in remark


def standing(accuracies: dict[str, float], differences: dict[str, float | None]) -> list[str]:
    """What is said of choices, none of which is told apart from the best."""
    rows = [{"choice": name, "accuracy": accuracy} for name, accuracy in accuracies.items()]
    against = [
        {"choice": name, "n": 7, "difference": difference, "images_interval": [-0.01, 0.031], "seeds_interval": None}
        | {"told_apart": False}
        for name, difference in differences.items()
    ]
    return name_best(rows, against)


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
    plan = plan_sweep({"network": "course"}, seeds=1, folder=Path("out"))
    by_choice = {
        "a": [(plan[0], validation([True] * 4))],
        "b": [(plan[0], validation([False] * 4, ["5", "6", "7", "8"]))],
    }
    rows = [{"choice": "a", "accuracy": 1.0, "n": 4}, {"choice": "b", "accuracy": 0.0, "n": 4}]
    (against,) = against_best(rows, by_choice)
    assert (against["n"], against["difference"], against["told_apart"]) == (0, None, False)
    (remark,) = name_best(rows, [against])
    assert remark.endswith("cannot be told apart from b (0 %); it shares no images with b")


def test_the_best_is_held_against_each_other_choice_seed_by_seed() -> None:
    plan = plan_sweep({"network": "course"}, seeds=3, folder=Path("out"))
    # In another order of images, and the best was not trained with the last seed
    paths = [f"{row}.png" for row in range(40)]
    mirrored = list(reversed(paths))
    good, bad = [True] * 36 + [False] * 4, [True] * 24 + [False] * 16

    def part(right: list[bool], names: list[str]) -> Predictions:
        answers = dict(zip(paths, right, strict=True))
        return validation([answers[name] for name in names], names)

    by_choice = {
        "low": [(planned, part(bad, mirrored)) for planned in plan],
        "best": [(plan[0], part(good, paths)), (plan[1], part([True] * 40, paths))],
        "middle": [(planned, part([True] * 30 + [False] * 10, paths)) for planned in plan[:1]],
    }
    rows = [{"choice": name, "accuracy": float(group[0][1].correct.mean())} for name, group in by_choice.items()]
    middle, low = against_best(rows, by_choice)
    assert [(each["choice"], each["n"]) for each in (middle, low)] == [("middle", 40), ("low", 40)]
    assert low["difference"] == pytest.approx((0.3 + 0.4) / 2)
    assert low["seeds_interval"] == pytest.approx([0.35 - 12.7062 * 0.05, 0.35 + 12.7062 * 0.05], abs=1e-3)
    # Two runs of one image are one image
    alone = paired_interval(
        by_choice["low"][0][1].correct[::-1], by_choice["best"][0][1].correct, by_choice["best"][0][1].groups
    )
    assert middle["images_interval"][0] < middle["difference"] < middle["images_interval"][1]
    assert low["images_interval"][1] - low["images_interval"][0] > 0.7 * (alone[1] - alone[0])


def test_seeds_with_few_images_count_as_much_as_those_with_many() -> None:
    plan = plan_sweep({"network": "course"}, seeds=2, folder=Path("out"))
    many, few = [True] * 60 + [False] * 40, [True] * 8 + [False] * 2
    by_choice = {
        "a": [(plan[0], validation(many)), (plan[1], validation([True] * 10))],
        "b": [(plan[0], validation([True] * 65 + [False] * 35)), (plan[1], validation(few))],
    }
    rows = [{"choice": "a", "accuracy": 0.8}, {"choice": "b", "accuracy": 0.725}]
    (against,) = against_best(rows, by_choice)
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
    (remark,) = other_images([{"n": 4}, {"n": 5}], {"a": group})  # type: ignore[list-item]
    assert remark == "the choices were measured on different numbers of images"

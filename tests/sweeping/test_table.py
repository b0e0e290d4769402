"""The table of a sweep: which images differ, and what can be said of the choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.sweeping.plan import plan_sweep
from fieldmark.sweeping.remarks import name_best, other_images
from fieldmark.sweeping.table import against_best, image_rows


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
    assert remark.startswith("size 150 was best (98.0 %)")
    # One seed: the images alone decide, and few of them say nothing
    against, _ = told([[True] * 98 + [False] * 2], [[True] * 60 + [False] * 40])
    assert (against["seeds_interval"], against["told_apart"]) == (None, True)
    against, _ = told([[True] * 4], [[True] * 3 + [False]])
    assert not against["told_apart"]


def test_a_split_of_each_seed_is_said() -> None:
    first, second = validation([True] * 4), validation([True] * 4, ["5", "6", "7", "8"])
    rows = [{"n": 4}]
    assert other_images(rows, {"a": [(None, first), (None, first)]}) == []  # type: ignore[list-item]
    (remark,) = other_images(rows, {"a": [(None, first), (None, second)]})  # type: ignore[list-item]
    assert "each seed splits anew" in remark

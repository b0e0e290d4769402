"""Shortcuts: planted ones are reported, chance is not, and few groups prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fieldmark.checks.shortcuts import PROBES, _answer, _finding, check_shortcuts, probe

GROUPS = [f"g{number // 2}" for number in range(120)]
LABELS = np.repeat([0, 1], 60)


def verdict(features: np.ndarray, name: str = "mean colour", labels=LABELS, groups=GROUPS) -> str:
    return probe(features.astype(np.float32), labels, groups, PROBES[name])["verdict"]


def test_a_planted_difference_is_a_shortcut() -> None:
    noise = np.random.default_rng(0).normal(size=(120, 3))
    assert verdict(noise + 3 * LABELS[:, None]) == "shortcut"
    assert verdict(np.round(noise[:, :1]) + 5 * LABELS[:, None], "compression") == "shortcut"


def test_grey_images_of_one_class_are_a_shortcut() -> None:
    random = np.random.default_rng(0)
    thumbnails = random.integers(0, 256, (120, 1, 1, 3)) * 0.5 + random.integers(0, 128, (120, 16, 16, 3))
    grey = LABELS == 0
    thumbnails[grey] = thumbnails[grey].mean(axis=3, keepdims=True)
    context: Any = SimpleNamespace(images=SimpleNamespace(thumbnails=lambda: thumbnails.astype(np.uint8)))
    features = PROBES["mean colour"].features(context, np.arange(120))
    assert verdict(features) == "shortcut"
    assert verdict(features[:, :3]) == "none"  # the mean colour alone does not tell


@pytest.mark.parametrize("name", PROBES)
def test_chance_is_not_accused(name: str) -> None:
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(120, 4))
        assert verdict(noise, name) == "none"


def test_what_all_images_share_tells_nothing() -> None:
    found = probe(np.ones((120, 2), np.float32), LABELS, GROUPS, PROBES["format"])
    assert (found["accuracy"], found["verdict"]) == (0.5, "none")


def test_a_difference_between_few_groups_is_no_proof() -> None:
    groups = [f"g{number // 20}" for number in range(120)]
    place = np.repeat(np.random.default_rng(0).normal(size=6), 20)
    assert verdict(place[:, None] + 0.01 * np.random.default_rng(1).normal(size=(120, 1)), groups=groups) != "shortcut"


def test_an_uneven_share_of_the_classes_is_no_finding() -> None:
    labels = (np.arange(120) >= 108).astype(int)
    noise = np.random.default_rng(0).normal(size=(120, 3))
    found = probe(noise.astype(np.float32), labels, GROUPS, PROBES["mean colour"])
    assert found["chance"] == 0.5
    assert found["verdict"] == "none"


def test_one_probe_of_many_may_lie_above_chance() -> None:
    noise = [np.random.default_rng(seed).normal(size=(120, 3)).astype(np.float32) for seed in range(60)]
    found = [probe(each + 0.35 * LABELS[:, None], LABELS, GROUPS, PROBES["mean colour"]) for each in noise]
    # Alone these would count; of seven probes one may well lie so far above chance.
    borderline = [each for each in found if 0.5 < each["interval"][0] < 0.515]
    assert borderline
    assert {each["verdict"] for each in borderline} == {"none"}


def test_a_wide_interval_is_no_no() -> None:
    groups = [f"g{number // 12}" for number in range(120)]  # 10 groups
    looks_like = np.where(
        np.isin(np.arange(120) // 12, (0, 1, 9)), 1 - LABELS, LABELS
    )  # three look like the other class
    features = (looks_like + 0.1 * np.random.default_rng(0).normal(size=120))[:, None].astype(np.float32)
    found = probe(features, LABELS, groups, PROBES["mean colour"])
    assert found["interval"][0] <= 0.51
    assert (found["interval"][1] > 0.8, found["verdict"]) == (True, "unknown")
    assert _finding("mean colour", found) is None
    none = found | {"verdict": "none"}
    sentence = _answer([], {"mean colour": found, "format": none})
    assert sentence == (
        "Cannot be told from 10 groups: mean colour may or may not tell the classes apart; nothing else here does."
    )
    assert _answer([], {"format": none}).startswith("No: ")
    shortcut = _finding("border", found | {"verdict": "shortcut"})
    assert shortcut is not None
    told = _answer([shortcut], {"mean colour": found, "border": found, "format": none})
    assert told.startswith("Yes, from border: ")
    assert told.endswith("From 10 groups it cannot be told whether mean colour and border tell the classes apart, too.")


def test_too_few_groups_are_counted_as_they_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = SimpleNamespace(
        groups=["a1", "a2", "a3", "b1", "b2", "b3"], labels=np.repeat([0, 1], 3), classes=("a", "b")
    )

    def answer(groups: list[str]) -> str:
        context: Any = SimpleNamespace(dataset=dataset, training=lambda: np.arange(6))
        monkeypatch.setattr("fieldmark.checks.shortcuts.joined_groups", lambda context: groups)
        return check_shortcuts(context)[1]

    assert answer(["a1", "a1", "a3", "b1", "b2", "b3"]).endswith("; with near-duplicates joined, a has 2, b has 3.")
    dataset.groups = ["a1", "a1", "a3", "b1", "b2", "b3"]
    assert answer(dataset.groups).endswith(" groups each are needed; a has 2, b has 3.")


def test_chance_of_many_classes_is_not_none() -> None:
    numbers = {"verdict": "shortcut", "interval": [0.4, 0.6], "accuracy": 0.5, "chance": 1 / 200}
    found = _finding("border", numbers)
    assert found is not None
    assert "by chance 0.5 %" in found.sentence


def dataset_of(pictures: np.ndarray) -> Any:
    """A context of images (120, 56, 56, 3) of two classes, sixty each, every two of one group."""
    count, side = len(pictures), pictures.shape[1]
    thumbnails = pictures[:, : side // 16 * 16, : side // 16 * 16].reshape(count, 16, side // 16, 16, side // 16, 3)
    images = SimpleNamespace(
        thumbnails=lambda: thumbnails.mean(axis=(2, 4)).astype(np.uint8), pixels=lambda rows: pictures[rows]
    )
    dataset = SimpleNamespace(
        groups=GROUPS,
        labels=LABELS,
        classes=("a", "b"),
        sizes=[(side, side)] * count,
        formats=["png"] * count,
        file=lambda row: SimpleNamespace(stat=lambda: SimpleNamespace(st_size=1000)),
    )
    return SimpleNamespace(images=images, dataset=dataset, training=lambda: np.arange(count))


def strokes(ground: int = 0) -> np.ndarray:
    """Figures before one plain ground: class a has a bar down the middle, class b one across; both reach the border."""
    random = np.random.default_rng(0)
    pictures = np.full((120, 56, 56, 3), ground, np.uint8)
    for picture, label, shift in zip(pictures, LABELS, random.integers(-6, 7, 120), strict=True):
        (picture if label else picture.transpose(1, 0, 2))[24 + shift : 32 + shift] = 200
    return pictures


def with_corner(pictures: np.ndarray) -> np.ndarray:
    pictures[LABELS == 0, 48:56, 40:56] = (90, 160, 20)
    return pictures


def with_frame(pictures: np.ndarray) -> np.ndarray:
    pictures[LABELS == 0, :1] = pictures[LABELS == 0, :, :1] = 120
    return pictures


def on_another_ground(pictures: np.ndarray) -> np.ndarray:
    pictures[LABELS == 0] = np.maximum(pictures[LABELS == 0], 5)
    return pictures


def before_scenery(pictures: np.ndarray) -> np.ndarray:
    """A sky above, wherever the figures are, that is brighter in one class."""
    random = np.random.default_rng(1)
    skies = random.integers(0, 90, (120, 1, 1, 3)) + 120 * (LABELS == 0)[:, None, None, None]
    pictures[:, :20] = np.maximum(pictures[:, :20], skies)
    return pictures


def judged(monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray) -> tuple[dict[str, str], list[str], str]:
    monkeypatch.setattr("fieldmark.checks.shortcuts.joined_groups", lambda context: GROUPS)
    monkeypatch.setattr("fieldmark.checks.shortcuts.compression", lambda path: None)
    findings, answer, numbers = check_shortcuts(dataset_of(pictures))
    problems = [finding.numbers["probe"] for finding in findings if finding.weight == "problem"]
    return {name: each["verdict"] for name, each in numbers["probes"].items()}, problems, answer


@pytest.mark.parametrize("ground", [0, 255, 90])
def test_before_a_plain_ground_the_subject_tells(monkeypatch: pytest.MonkeyPatch, ground: int) -> None:
    verdicts, problems, answer = judged(monkeypatch, strokes(ground))
    assert (verdicts["border"], verdicts["thumbnail"]) == ("subject", "subject")
    assert problems == []
    assert answer.startswith("Probably not: ")


@pytest.mark.parametrize("change", [with_corner, with_frame, on_another_ground, before_scenery])
def test_what_is_around_the_subject_is_still_a_shortcut(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    verdicts, problems, answer = judged(monkeypatch, change(strokes()))
    assert verdicts["border"] == "shortcut"
    assert "border" in problems
    assert answer.startswith("Yes, from ")


def test_a_thumbnail_alone_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (120, 1, 1, 3)) * np.ones((1, 56, 56, 1))
    middle = np.where(LABELS[:, None, None, None] == 0, 40, -40) * np.ones((1, 24, 24, 3))
    pictures[:, 16:40, 16:40] += middle  # a subject lighter or darker than whatever lies around it
    verdicts, problems, _ = judged(monkeypatch, np.clip(pictures, 0, 255).astype(np.uint8))
    assert verdicts["thumbnail"] == "subject"
    assert problems == []

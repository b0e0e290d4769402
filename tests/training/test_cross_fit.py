"""Networks trained again without some groups: calibrated by that, and nothing is lost where it cannot be done."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fieldmark.classifier import load
from fieldmark.errors import RecipeError, TrainingError
from fieldmark.evaluation.calibration import fit_temperature
from fieldmark.pipeline import train
from fieldmark.training import cross_fit as module
from fieldmark.training.cross_fit import PARTS
from fieldmark.training.history import History

SIZE = 16
RECIPE: dict[str, Any] = {"network": "course", "image_size": SIZE, "channels": (8,), "epochs": 8, "batch_size": 8}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 training and 8 validation images: bright on the left, or on the right, with noise that hides it in part."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("validation", 8)):
        for number in range(count):
            pixels = random.integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
            half = slice(0, SIZE // 2) if number % 2 else slice(SIZE // 2, SIZE)
            pixels[:, half] += 20
            path = tmp_path / "photos" / split / ("right", "left")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def trained(photos: Path, **choices: Any) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    run = train(photos, out=photos.parent / f"run{len(list(photos.parent.iterdir()))}", **{**RECIPE, **choices})
    return run.folder, json.loads((run.folder / "run.json").read_text()), run.metrics


def metadata(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(folder).metadata
    return found


def test_folds_calibrate_and_change_no_answer(photos: Path) -> None:
    plain, said, _ = trained(photos)
    folded, told, _ = trained(photos, folds=3)
    temperature = metadata(folded)["temperature"]
    assert metadata(plain)["temperature"] == 1.0
    assert temperature != 1.0
    assert any("not calibrated" in choice and "--folds 3" in choice for choice in said["choices"])
    assert any("calibrated with temperature" in choice and "24 training images" in choice for choice in told["choices"])

    pixels = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    before, after = (np.log(load(run).probabilities(pixels).astype(np.float64)) for run in (plain, folded))
    # Log-odds of the same network, all divided by one number
    assert (after[:, 1] - after[:, 0]) * temperature == pytest.approx(before[:, 1] - before[:, 0], abs=1e-3)


def test_temperature_and_curve_come_from_answers_for_groups_left_out(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[int], list[int]]] = []
    given: list[np.ndarray] = []
    original_fit, original_logits = module.fit, module.network_logits

    def fit(network: nn.Module, images: Any, *rest: Any, **named: Any) -> History:
        seen.append((images.dataset.rows("train").tolist(), images.dataset.rows("validation").tolist()))
        return original_fit(network, images, *rest, **named)

    def logits(network: nn.Module, preprocessing: Any, images: Any, rows: Any) -> np.ndarray:
        assert not set(seen[-1][0]) & set(rows.tolist())
        assert not set(rows.tolist()) & set(images.dataset.rows("validation").tolist())
        given.append(rows)
        return original_logits(network, preprocessing, images, rows)

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "network_logits", logits)
    _, _, metrics = trained(photos, folds=2)
    assert len(seen) == 2 * len(PARTS)
    assert all(not validation for _, validation in seen)
    assert [point["images"] for point in metrics["learning_curve"]["points"]] == [4.0, 6.0, 12.0]
    assert sorted(np.concatenate(given[:: len(PARTS)]).tolist()) == sorted(
        np.concatenate(given[2 :: len(PARTS)]).tolist()
    )
    assert metrics["learning_curve"]["images"] == 24


def test_temperature_is_that_of_the_largest_part(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = module.cross_fit
    monkeypatch.setattr(module, "cross_fit", lambda *a, **k: made.append(original(*a, **k)) or made[-1])
    folder, _, _ = trained(photos, folds=2)
    labels = np.array([0 if "left" in name else 1 for name in _train_names(folder)])
    groups = [str(number) for number in range(24)]
    assert metadata(folder)["temperature"] == fit_temperature(made[0].logits[-1], labels, groups)
    assert metadata(folder)["temperature"] != fit_temperature(made[0].logits[0], labels, groups)


def _train_names(folder: Path) -> list[str]:
    lines = (folder / "dataset.csv").read_text().splitlines()[1:]
    return [line.split(",")[0] for line in lines if ",train," in line]


def test_the_same_seed_gives_the_same_temperature(photos: Path) -> None:
    temperatures = [metadata(trained(photos, folds=2, epochs=2)[0])["temperature"] for _ in range(2)]
    assert temperatures[0] == temperatures[1]


def test_ctrl_c_leaves_it_out_and_keeps_the_classifier(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **named: Any) -> History:
        return History((), 0, True)

    monkeypatch.setattr(module, "fit", interrupted)
    folder, told, metrics = trained(photos, folds=2)
    assert metadata(folder)["temperature"] == 1.0
    assert any("were interrupted" in choice for choice in told["choices"])
    assert "were interrupted" in metrics["learning_curve"]["sentence"]
    assert told["interrupted"] is False  # the classifier itself has learnt all it should


def test_a_fold_that_diverges_is_no_loss(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(*arguments: Any, **named: Any) -> History:
        raise TrainingError("the loss turned nan")

    monkeypatch.setattr(module, "fit", diverged)
    folder, told, _ = trained(photos, folds=2)
    assert metadata(folder)["temperature"] == 1.0
    assert any("the loss turned nan" in choice for choice in told["choices"])


def test_a_class_of_one_group_says_so_and_trains_nothing_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cross_fit", None)
    _, told, _ = trained(photos, folds=2, epochs=1, group_by="(left|right)")
    assert any("fewer than two classes have images of two groups" in choice for choice in told["choices"])


class Own(nn.Module):
    """A caller's network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 2)."""
        answer: torch.Tensor = self.layers(x)
        return answer


class Single(Own):
    """One that cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Single:
        raise TypeError("there is only one")


def test_an_own_network_starts_each_training_from_its_first_weights(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, starts = Own(), []
    expected = copy.deepcopy(first.state_dict())
    original = module.fit

    def fit(network: nn.Module, *rest: Any, **named: Any) -> History:
        starts.append(copy.deepcopy(network.state_dict()))
        return original(network, *rest, **named)

    monkeypatch.setattr(module, "fit", fit)
    run = train(photos, out=photos.parent / "own", network=first, image_size=SIZE, epochs=2, folds=2)
    assert len(starts) == 2 * len(PARTS)
    assert all(torch.equal(state[name], expected[name]) for state in starts for name in expected)
    assert load(run.folder).metadata["temperature"] != 1.0


def test_an_own_network_that_cannot_be_copied_is_refused_before_it_is_trained(photos: Path) -> None:
    with pytest.raises(RecipeError, match="Single cannot be copied"):
        train(photos, out=photos.parent / "own", network=Single(), image_size=SIZE, epochs=1, folds=2)
    assert not (photos.parent / "own").exists()


def test_one_fold_is_refused() -> None:
    with pytest.raises(RecipeError, match="--folds 1"):
        train("nowhere", network="course", folds=1)


def test_folds_of_a_frozen_backbone_are_refused() -> None:
    with pytest.raises(RecipeError, match="--folds"):
        train("nowhere", folds=3)

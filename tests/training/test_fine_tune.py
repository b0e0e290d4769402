"""Fine-tuning: it starts as the fitted head answers, moves every weight, late ones most, and leaves a normal run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldmark
from fieldmark.classifier import load
from fieldmark.embedding import embed, find_backbone
from fieldmark.errors import RecipeError
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from fieldmark.training import learn as learn_module
from fieldmark.training.choices import choose
from fieldmark.training.fine_tune import SHARE_OF_NEXT, parameter_groups, with_fitted_head
from fieldmark.training.head import Head, fit_head
from fieldmark.training.history import Epoch
from fieldmark.training.network import network_answers
from fieldmark.training.suit import depends_on_company

pytestmark = pytest.mark.usefixtures("backbones")

SMALL = {"fine_tune": True, "image_size": 32, "batch_size": 16, "epochs": 1}
PREPROCESSING = Preprocessing(width=32, height=32, mean=127.0, deviation=128.0)


def head(outputs: int = 3) -> Head:
    random = np.random.default_rng(0)
    weights = random.normal(size=(outputs, 1280)).astype(np.float32) / 40
    return Head(weights, random.normal(size=outputs).astype(np.float32), 1.0, "made up", 1.0, "made up")


def test_it_starts_with_the_answers_of_the_fitted_head(faces: Path) -> None:
    images = read(scan(faces), PREPROCESSING)
    embeddings, labels = embed(images, find_backbone(PREPROCESSING)), images.dataset.labels
    fitted = fit_head(embeddings, labels, [str(row) for row in range(len(labels))])
    network = with_fitted_head((32, 32), fitted)
    answers = network_answers(network, PREPROCESSING, images.pixels(range(8)))
    np.testing.assert_allclose(answers, fitted.probabilities(embeddings[:8]), atol=1e-4)


def test_every_weight_is_in_one_group_and_early_ones_move_less() -> None:
    network = with_fitted_head((32, 32), head())
    groups = parameter_groups(network)
    grouped = [weight for group in groups for weight in group["params"]]
    assert {id(weight) for weight in grouped} == {id(weight) for weight in network.parameters()}
    assert len(grouped) == len(list(network.parameters()))
    assert all(weight.requires_grad for weight in grouped)
    assert groups[0]["params"][0] is network.head.weight
    assert groups[-1]["params"][0] is network.stem.convolution.weight
    assert [group["share"] for group in groups] == [SHARE_OF_NEXT**depth for depth in range(9)]


def test_an_answer_does_not_depend_on_the_batch() -> None:
    assert not depends_on_company(with_fitted_head((32, 32), head()), (32, 32, 3))


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    before = torch.get_rng_state()
    with_fitted_head((32, 32), head())
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_is_as_any_other(faces: Path, tmp_path: Path) -> None:
    run = fieldmark.train(faces, out=tmp_path / "run", **SMALL)
    recipe = json.loads((run.folder / "recipe.json").read_text())
    assert recipe["fine_tune"]
    assert (recipe["optimizer"], recipe["schedule"]) == ("adam", "cosine")
    with (run.folder / "history.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["learning_rate"]) == pytest.approx(0, abs=1e-9)  # that of the head, at the end of the cosine
    assert (run.folder / "checkpoints" / "last.safetensors").exists()
    assert "fine-tuned from a linear head" in run.info["choices"][0]
    classifier = fieldmark.load(run.folder)
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    assert classifier.probabilities(pixels).shape == (2, 2)
    assert classifier.embeddings(pixels).shape == (2, 1280)
    frozen = fieldmark.train(faces, out=tmp_path / "frozen", image_size=32)
    assert not np.allclose(fieldmark.load(frozen.folder).embeddings(pixels), classifier.embeddings(pixels), atol=1e-4)
    again = fieldmark.train(faces, out=tmp_path / "again", **SMALL)
    assert (again.folder / "model.onnx").read_bytes() == run.model.read_bytes()


def test_folds_fine_tune_from_heads_that_have_not_seen_the_groups_left_out(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    original = learn_module.fit_head

    def fit_head(embeddings: np.ndarray, *rest: Any, **named: Any) -> Any:
        counts.append(len(embeddings))
        return original(embeddings, *rest, **named)

    monkeypatch.setattr(learn_module, "fit_head", fit_head)
    run = fieldmark.train(faces, out=tmp_path / "run", **SMALL, folds=2)
    assert len(counts) == 1 + 2 * 3
    assert all(count <= (counts[0] + 1) // 2 + 1 for count in counts[1:])
    assert load(run.folder).metadata["temperature"] != 1.0


def test_each_group_moves_by_its_share(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's first step moves a weight by its learning rate: the stem by its share of what the head moves by."""
    made = []

    def keep(*arguments: object) -> object:
        made.append(with_fitted_head(*arguments))  # type: ignore[arg-type]
        with torch.no_grad():  # wrong, and sure of it: else the stem's gradients are no larger than Adam's epsilon
            made[0].head.weight.mul_(-100)
        before.append({name: weight.detach().clone() for name, weight in made[0].named_parameters()})
        return made[0]

    before: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr("fieldmark.training.fine_tune.with_fitted_head", keep)
    options = {"steps_per_epoch": 1, "schedule": "constant", "weight_decay": 0.0, "learning_rate": 1e-3}
    fieldmark.train(faces, out=tmp_path / "run", **SMALL, **options)
    moved = {
        name: float((weight.detach() - before[0][name]).abs().max()) for name, weight in made[0].named_parameters()
    }
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.05)
    assert moved["stem.convolution.weight"] == pytest.approx(1e-3 * SHARE_OF_NEXT**8, rel=0.05)


def test_ctrl_c_keeps_what_was_learnt(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, epochs: list[Epoch]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fieldmark.training.fit.write_history", interrupt)
    run = fieldmark.train(faces, out=tmp_path / "run", **{**SMALL, "epochs": 5})
    assert run.info["interrupted"]
    assert "interrupted after 1 of 5 epochs" in run.info["notes"][0]


def test_choices_by_steps_are_for_fine_tuning() -> None:
    recipe, _ = choose("efficientnet-lite0", {"fine_tune": True, "epochs": 3, "keep": "best"})
    assert (recipe.epochs, recipe.keep, recipe.batch_size) == (3, "best", 32)
    assert recipe.augmentation is not None
    frozen, _ = choose("efficientnet-lite0", {})
    assert (frozen.epochs, frozen.batch_size, frozen.augmentation) == (None, None, None)
    with pytest.raises(RecipeError, match="--epochs") as caught:
        choose("efficientnet-lite0", {"epochs": 3})
    assert "--fine-tune" in caught.value.hint
    with pytest.raises(RecipeError, match="channels"):
        choose("efficientnet-lite0", {"fine_tune": True, "channels": (8,)})


@pytest.mark.parametrize("network", ["convnet", "course", torch.nn.Flatten()])
def test_what_learns_from_scratch_cannot_be_fine_tuned(network: str | torch.nn.Module) -> None:
    with pytest.raises(RecipeError, match="no pretrained backbone") as caught:
        choose(network, {"fine_tune": True})
    assert "efficientnet-lite0" in caught.value.hint

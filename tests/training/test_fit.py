"""The training loop: every image once an epoch, the recipe's choices obeyed, the same bits from the same seed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fieldmark.errors import RecipeError, TrainingError
from fieldmark.images.audit import audit_images
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images, read
from fieldmark.images.scan import scan
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training import fit as fit_module
from fieldmark.training.checkpoint import read_checkpoint
from fieldmark.training.choices import StepChoices, choose
from fieldmark.training.fit import batch_rows, fit, with_enough_epochs
from fieldmark.training.history import Epoch, History, epoch_line, remarks
from fieldmark.training.network import make_network, network_logits

SIZE = 16
PREPROCESSING = Preprocessing(width=SIZE, height=SIZE)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """20 training and 8 validation images: bright on the left, or on the right, with noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 8)):
        for number in range(count):
            pixels = random.integers(0, 120, (SIZE, SIZE, 3), dtype=np.uint8)
            half = slice(0, SIZE // 2) if number % 2 else slice(SIZE // 2, SIZE)
            pixels[:, half] += 100
            path = tmp_path / "photos" / split / ("right", "left")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    found = read(scan(tmp_path / "photos"), PREPROCESSING)
    return Images(audit_images(found).dataset, found.store, found.decoded)


def choices(**changed: object) -> StepChoices:
    recipe, _ = choose("course", {"image_size": SIZE, "epochs": 3, "batch_size": 8, "channels": (8,), **changed})
    return StepChoices.of(recipe)


def train(images: Images, folder: Path, **changed: object) -> tuple[torch.nn.Module, History]:
    made = choices(**changed)
    network = build("course", (SIZE, SIZE), 1, channels=(8,), seed=made.seed)
    return network, fit(network, images, made, PREPROCESSING, folder=folder)


def weights(network: torch.nn.Module) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).tolist()


def test_a_small_dataset_gets_more_epochs_unless_epochs_are_chosen(images: Images) -> None:
    assert with_enough_epochs(choices(epochs=3, least_steps=10), images).epochs == 4  # of 3 steps
    assert with_enough_epochs(choices(epochs=5, least_steps=10), images).epochs == 5
    by_default, chosen = choose("convnet", {})[0], choose("convnet", {"epochs": 2})[0]
    assert (by_default.epochs, by_default.least_steps, chosen.epochs, chosen.least_steps) == (30, 510, 2, 0)


def test_it_learns_and_says_so(images: Images, tmp_path: Path) -> None:
    seen: list[Epoch] = []
    made = choices(epochs=8)
    network = build("course", (SIZE, SIZE), 1, channels=(8,))
    history = fit(network, images, made, PREPROCESSING, folder=tmp_path, on_epoch=seen.append)
    assert history.epochs == tuple(seen)
    assert [epoch.epoch for epoch in seen] == list(range(1, 9))
    assert seen[-1].train_loss < seen[0].train_loss / 2
    assert seen[-1].validation_accuracy == 1
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == [epoch.train_loss for epoch in seen]
    again = build("course", (SIZE, SIZE), 1, channels=(8,), seed=5)
    read_checkpoint(tmp_path / "checkpoints" / "last.safetensors", again)
    assert weights(again) == weights(network)


@pytest.mark.parametrize("augmentation", ["none", "standard", "texture"])
def test_the_same_seed_gives_the_same_bits(images: Images, tmp_path: Path, augmentation: str) -> None:
    first, _ = train(images, tmp_path / "1", augmentation=augmentation)
    torch.rand(7)  # whatever the caller's random state is
    second, _ = train(images, tmp_path / "2", augmentation=augmentation)
    other, _ = train(images, tmp_path / "3", augmentation=augmentation, seed=1)
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_an_epoch_is_every_image_once(images: Images) -> None:
    for epoch in (1, 2):
        batches = list(batch_rows(images, choices(), epoch))
        assert [len(batch) for batch in batches] == [8, 8, 4]
        assert sorted(np.concatenate(batches)) == images.dataset.rows("train").tolist()


@pytest.mark.parametrize(("steps", "seen"), [(1, 8), (2, 16), (5, 40)])
def test_steps_per_epoch(images: Images, steps: int, seen: int) -> None:
    batches = list(batch_rows(images, choices(steps_per_epoch=steps), 1))
    assert sum(map(len, batches)) == seen
    counts = np.bincount(np.concatenate(batches), minlength=len(images.dataset))[images.dataset.rows("train")]
    assert counts.max() - counts.min() <= 1


def test_even_batches_leave_no_small_one(images: Images) -> None:
    batches = list(batch_rows(images, choices(batch_size=7), 1, even=True))
    whole = list(batch_rows(images, choices(batch_size=7), 1))
    assert len(batches) == len(whole)
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert np.array_equal(np.concatenate(batches), np.concatenate(whole))


def test_the_steps_of_an_epoch_are_counted_once(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    rows = Dataset.rows
    monkeypatch.setattr(Dataset, "rows", lambda dataset, split: (asked.append(split), rows(dataset, split))[1])
    counted = []
    for size in (2, 20):  # 10 steps an epoch, and 1
        train(images, tmp_path / str(size), batch_size=size, schedule="cosine")
        counted.append(len(asked))
        asked.clear()
    assert counted[0] == counted[1]


def test_the_time_that_is_left_carries_over() -> None:
    line = epoch_line(Epoch(1, 0.7, 0.5, None, None, 1e-3, 59.97, 42.0), 2)
    assert line.endswith("1 min 0 s left")


def test_until_accuracy_stops_with_weights_that_reach_it(images: Images, tmp_path: Path) -> None:
    made = choices(epochs=50, until_accuracy=0.999, learning_rate=1e-4)
    network, history = train(images, tmp_path, epochs=50, until_accuracy=0.999, learning_rate=1e-4)
    assert 1 < len(history.epochs) < 50
    assert history.reached == share_right(network, images) == 1
    shorter, _ = train(images, tmp_path / "shorter", epochs=len(history.epochs) - 1, learning_rate=1e-4)
    assert share_right(shorter, images) < 0.999
    assert remarks(history, made) == [f"training accuracy 0.999 was reached in {len(history.epochs)} epochs"]


def test_an_accuracy_that_is_not_reached_is_told(images: Images, tmp_path: Path) -> None:
    network, history = train(images, tmp_path, epochs=1, until_accuracy=1.0, learning_rate=1e-6)
    assert history.reached == share_right(network, images) < 1
    (said,) = remarks(history, choices(epochs=1, until_accuracy=1.0))
    assert said == f"training accuracy 1 ({history.reached:.3f} so far) was not reached in 1 epochs"


def share_right(network: torch.nn.Module, images: Images) -> float:
    """Of the training images, by the network as it is."""
    rows = images.dataset.rows("train")
    answers = network_logits(network, PREPROCESSING, images, rows).ravel() > 0
    return float((answers == images.dataset.labels[rows]).mean())


def test_keep_best_restores_the_best_epoch(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(0.5, 0.6), (0.4, 0.9), (0.3, 0.7)])
    monkeypatch.setattr(fit_module, "validate", lambda step, images: next(answers))
    network, history = train(images, tmp_path, keep="best")
    assert history.kept == 2
    kept = build("course", (SIZE, SIZE), 1, channels=(8,), seed=5)
    read_checkpoint(tmp_path / "checkpoints" / "best.safetensors", kept)
    assert weights(kept) == weights(network)
    monkeypatch.undo()
    shorter, _ = train(images, tmp_path / "two", epochs=2)
    assert weights(shorter) == weights(network)


def test_a_loss_that_is_no_number_stops(images: Images, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss turned (nan|inf) in epoch \d") as caught:
        train(images, tmp_path, learning_rate=1e20, optimizer="sgd", epochs=30)
    assert "--learning-rate" in caught.value.hint


def test_ctrl_c_keeps_what_was_learnt(images: Images, tmp_path: Path) -> None:
    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    network = build("course", (SIZE, SIZE), 1, channels=(8,))
    history = fit(network, images, choices(epochs=9), PREPROCESSING, folder=tmp_path, on_epoch=interrupt)
    assert history.interrupted
    assert len(history.epochs) == history.kept == 2
    two, _ = train(images, tmp_path / "two", epochs=2)
    assert weights(two) == weights(network)


def test_class_weights_and_schedules_change_the_training(images: Images, tmp_path: Path) -> None:
    plain, _ = train(images, tmp_path / "1")
    uneven = images.dataset.keep(np.flatnonzero((images.dataset.labels == 0) | (np.arange(28) % 4 == 1)))
    few = Images(uneven, images.store, 0)
    assert weights(train(few, tmp_path / "2")[0]) != weights(train(few, tmp_path / "3", class_weights="balanced")[0])
    cosine, history = train(images, tmp_path / "4", schedule="cosine")
    assert weights(cosine) != weights(plain)
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)


def test_without_validation(images: Images, tmp_path: Path) -> None:
    only = Images(images.dataset.keep(images.dataset.rows("train")), images.store, 0)
    _, history = train(only, tmp_path)
    assert history.epochs[0].validation_loss is None
    assert history.epochs[0].validation_accuracy is None


def test_keep_best_without_validation_says_that_the_last_was_kept(images: Images, tmp_path: Path) -> None:
    only = Images(images.dataset.keep(images.dataset.rows("train")), images.store, 0)
    _, history = train(only, tmp_path, keep="best")
    (said,) = remarks(history, choices(keep="best"))
    assert said.startswith("there was no validation image to tell the best epoch by")
    assert "the last one, 3, were kept" in said


def test_own_networks_are_looked_at_first() -> None:
    recipe, preprocessing = choose(torch.nn.Flatten(), {"image_size": SIZE})
    good = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2))
    assert make_network(good, recipe, preprocessing, classes=2) is good
    with pytest.raises(RecipeError, match=r"expected logits \(2, 3\)"):
        make_network(good, recipe, preprocessing, classes=3)
    wrong = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 2))
    with pytest.raises(RecipeError, match="cannot take images"):
        make_network(wrong, recipe, preprocessing, classes=2)


class Answering(torch.nn.Module):
    """A network whose forward does what a test says."""

    def __init__(self, answer: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> object:
        return self.answer(images)


def raising(error: Exception) -> Callable[[torch.Tensor], object]:
    def answer(images: torch.Tensor) -> object:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda images: (images.sum((2, 3))[:, :2], images), "with a tuple of 2; expected logits"),
        (lambda images: {"logits": images.sum((2, 3))[:, :2], "features": images}, "a dict of logits, features; exp"),
        (lambda images: None, "with a NoneType; expected logits"),
        (raising(ValueError("17 px are not enough")), "cannot take images .*: ValueError: 17 px are not enough"),
        (raising(TypeError("forward() missing 'mask'")), r"cannot take images .*: TypeError: forward\(\) missing"),
        (raising(AssertionError("wrong height")), "cannot take images .*: AssertionError: wrong height"),
    ],
)
def test_whatever_an_own_network_does_is_one_clear_error(answer: Callable[[torch.Tensor], object], found: str) -> None:
    recipe, preprocessing = choose(torch.nn.Flatten(), {"image_size": SIZE})
    with pytest.raises(RecipeError, match=found) as caught:
        make_network(Answering(answer), recipe, preprocessing, classes=2)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (torch.nn.Sigmoid(), "sigmoid"),
        (torch.nn.Sequential(torch.nn.Sigmoid(), torch.nn.Unflatten(1, (1, -1)), torch.nn.Flatten()), "sigmoid"),
        (torch.nn.Softmax(dim=1), "softmax"),
    ],
)
def test_a_network_of_probabilities_is_refused(end: torch.nn.Module, what: str) -> None:
    recipe, preprocessing = choose(torch.nn.Flatten(), {"image_size": SIZE})
    outputs = 2 if what == "softmax" else 1
    layers = [torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, outputs)]
    for weights in layers[1].parameters():
        weights.requires_grad_(False)  # as where the caller has frozen it
    assert make_network(torch.nn.Sequential(*layers), recipe, preprocessing, classes=2)
    with pytest.raises(RecipeError, match=f"ends in a {what}; expected logits") as caught:
        make_network(torch.nn.Sequential(*layers, end), recipe, preprocessing, classes=2)
    assert f"leave the {what} out" in caught.value.hint

"""Fit: the training loop for networks that learn from scratch. `fit` is the whole loop, on one screen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fieldmark.errors import TrainingError
from fieldmark.images.augment import augment
from fieldmark.images.batches import content_keys, epoch_order
from fieldmark.images.read import Images
from fieldmark.images.threads import ordered_map
from fieldmark.preprocessing import Pixels, Preprocessing
from fieldmark.training.checkpoint import restore, snapshot, write_checkpoint
from fieldmark.training.choices import StepChoices
from fieldmark.training.history import Epoch, History, write_history
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, Step, make_step

# Batches made ready while one is trained on: enough to never wait, few enough to hold.
BATCHES_AHEAD = 2
# Share of all steps in which the learning rate of the cosine schedule climbs to its full value.
WARM_UP = 0.1


def fit(
    network: nn.Module,
    images: Images,
    choices: StepChoices,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    groups: Sequence[dict[str, Any]] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> History:
    """Train `network` in place on the train split; history.csv and checkpoints/ in `folder` grow epoch by epoch.

    `groups` are parameter groups of torch.optim, each with its `share` of the learning rate; None: all weights alike.
    Ctrl-C ends the training and keeps what was learnt.
    Raises TrainingError when the loss is no longer a finite number.
    """
    step = make_step(network, preprocessing, _loss(images, choices), choices.batch_size)
    optimizer = OPTIMIZERS[choices.optimizer](
        groups or network.parameters(), choices.learning_rate, choices.weight_decay
    )
    history: list[Epoch] = []
    best: tuple[Epoch, dict[str, torch.Tensor]] | None = None
    interrupted = False
    try:
        for epoch in range(1, choices.epochs + 1):
            # One pass over the training images, then loss and accuracy on validation with the weights as they are.
            row = _epoch(epoch, step, optimizer, images, choices, on_step)
            history.append(row)
            write_history(folder / "history.csv", history)
            write_checkpoint(folder / "checkpoints" / "last.safetensors", network)
            if choices.keep == "best" and _is_better(row, best):
                best = row, snapshot(network)
                write_checkpoint(folder / "checkpoints" / "best.safetensors", network)
            on_epoch(row)
            if choices.until_accuracy is not None and row.train_accuracy >= choices.until_accuracy:
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        step.pool.shutdown()
    if best is not None:
        restore(network, best[1])
    kept = best[0].epoch if best is not None else len(history)
    return History(tuple(history), kept, interrupted)


def _epoch(
    epoch: int,
    step: Step,
    optimizer: torch.optim.Optimizer,
    images: Images,
    choices: StepChoices,
    on_step: Callable[[int, int], None],
) -> Epoch:
    """Train for one epoch, in an order and with variations that (seed, epoch, content) decide, and validate."""
    started = time.perf_counter()
    step.network.train()
    loss, correct, seen = 0.0, 0, 0
    for done, (pixels, labels) in enumerate(_batches(images, choices, epoch)):
        for group in optimizer.param_groups:
            group["lr"] = choices.learning_rate * group.get("share", 1.0) * _schedule(choices, images, epoch, done)
        batch_loss, batch_correct = step.train(optimizer, pixels, labels)
        if not math.isfinite(batch_loss):
            raise _diverged(epoch, done + 1, batch_loss, choices)
        loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(labels)
        on_step(done + 1, steps_of(images, choices))
    trained = time.perf_counter()
    return Epoch(
        epoch,
        loss / seen,
        correct / seen,
        *validate(step, images),
        float(optimizer.param_groups[0]["lr"]),
        time.perf_counter() - started,
        seen / (trained - started),
    )


def steps_of(images: Images, choices: StepChoices) -> int:
    """Batches an epoch: the recipe's number, or as many as cover every training image once."""
    if choices.steps_per_epoch is not None:
        return choices.steps_per_epoch
    return math.ceil(len(images.dataset.rows("train")) / (choices.batch_size))


def validate(step: Step, images: Images) -> tuple[float | None, float | None]:
    """Mean loss and accuracy on the validation split, (None, None) where there is none."""
    rows = images.dataset.rows("validation")
    if not len(rows):
        return None, None
    loss, correct = 0.0, 0
    for start in range(0, len(rows), step.batch_size):
        batch = rows[start : start + step.batch_size]
        batch_loss, batch_correct = step.evaluate(images.pixels(batch), images.dataset.labels[batch])
        loss, correct = loss + batch_loss, correct + batch_correct
    return loss / len(rows), correct / len(rows)


def _batches(images: Images, choices: StepChoices, epoch: int) -> Iterator[tuple[Pixels, npt.NDArray[np.int32]]]:
    """The epoch's batches of pixels and labels, made ready in a thread while the last one is trained on."""
    keys = content_keys(images.dataset)
    labels = images.dataset.labels

    def prepare(rows: npt.NDArray[np.int64]) -> tuple[Pixels, npt.NDArray[np.int32]]:
        pixels = images.pixels(rows)
        if choices.augmentation != "none":
            pixels = augment(pixels, keys[rows], name=choices.augmentation, seed=choices.seed, epoch=epoch)
        return pixels, labels[rows]

    return ordered_map(prepare, batch_rows(images, choices, epoch), workers=1, ahead=BATCHES_AHEAD)


def batch_rows(images: Images, choices: StepChoices, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each batch of an epoch; more steps than images begin again in a new order."""
    size, steps = choices.batch_size, steps_of(images, choices)
    rows = images.dataset.rows("train")
    rounds = math.ceil(steps * size / len(rows)) if choices.steps_per_epoch is not None else 1
    # Every round is an order of its own; the rounds of later epochs go on where this epoch's end.
    order = np.concatenate(
        [
            epoch_order(images.dataset, rows, seed=choices.seed, epoch=(epoch - 1) * rounds + number)
            for number in range(rounds)
        ]
    )
    for step in range(steps):
        yield order[step * size : (step + 1) * size]


def _loss(images: Images, choices: StepChoices) -> Loss:
    labels = images.dataset.labels[images.dataset.rows("train")]
    counts = np.bincount(labels, minlength=len(images.dataset.classes))
    if choices.class_weights == "balanced":
        return Loss(tuple(float(weight) for weight in len(labels) / (len(counts) * np.maximum(counts, 1))))
    return Loss(None)


def _schedule(choices: StepChoices, images: Images, epoch: int, done: int) -> float:
    """The factor on the learning rate at a step: 1, or a linear warm-up and then a cosine down to 0."""
    if choices.schedule != "cosine":
        return 1.0
    steps = steps_of(images, choices)
    share = ((epoch - 1) * steps + done + 1) / (choices.epochs * steps)
    return share / WARM_UP if share < WARM_UP else 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def _is_better(row: Epoch, best: tuple[Epoch, dict[str, torch.Tensor]] | None) -> bool:
    if best is None or row.validation_accuracy is None or row.validation_loss is None:
        return True
    before = best[0]
    return (row.validation_accuracy, -row.validation_loss) > (
        before.validation_accuracy,
        -(before.validation_loss or 0.0),
    )


def _diverged(epoch: int, step: int, loss: float, choices: StepChoices) -> TrainingError:
    return TrainingError(
        f"the loss turned {loss} in epoch {epoch}, step {step}: the training has diverged",
        hint=f"try a smaller learning rate, such as --learning-rate {choices.learning_rate / 10:g}",
    )

"""Fit: the training loop for networks that learn from scratch. `fit` is the whole loop, on one screen."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fieldmark.errors import TrainingError
from fieldmark.images.augment import find_augmentation
from fieldmark.images.batches import epoch_order
from fieldmark.images.read import Images
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.checkpoint import restore, snapshot, write_checkpoint
from fieldmark.training.choices import StepChoices
from fieldmark.training.device import CPU
from fieldmark.training.device_step import device_step
from fieldmark.training.feed import CacheFeed, Feed, device_feed
from fieldmark.training.history import Epoch, History, write_history
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, make_step

# Share of all steps in which the learning rate of the cosine schedule climbs to its full value.
WARM_UP = 0.1


class Step(Protocol):
    """What trains on a feed's batches and judges them: `step.Step`, or `device_step.DeviceStep`.

    Both return the sum of the images' losses and how many were right; tensors where the device is not waited for.
    """

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def ghosts(self) -> tuple[nn.Module, ...]:
        """The network once for each part of a batch that BatchNorm looks at; mostly none."""
        ...

    def train(self, optimizer: torch.optim.Optimizer, *batch: Any, **nothing: Any) -> tuple[Any, Any]:
        """Move the weights once."""
        ...

    def evaluate(self, *batch: Any, **nothing: Any) -> tuple[Any, Any]:
        """Judge in evaluation mode."""
        ...


def fit(
    network: nn.Module,
    images: Images,
    choices: StepChoices,
    preprocessing: Preprocessing,
    *,
    folder: Path | None = None,
    device: torch.device = CPU,
    groups: Sequence[dict[str, Any]] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> History:
    """Train `network` in place on the train split; history.csv and checkpoints/ in `folder` grow epoch by epoch.

    Without a folder nothing is written. The network comes back on the CPU, whatever `device` it was trained on.
    `groups` are parameter groups of torch.optim, each with its `share` of the learning rate; None: all weights alike.
    Ctrl-C ends the training and keeps what was learnt.
    Raises TrainingError when the loss is no longer a finite number.
    """
    history: list[Epoch] = []
    best: tuple[Epoch, dict[str, torch.Tensor]] | None = None
    interrupted, reached = False, None
    with _set_up(network, images, choices, preprocessing, device) as (step, feed):
        weights = groups or network.parameters()
        optimizer = OPTIMIZERS[choices.optimizer](weights, choices.learning_rate, choices.weight_decay)
        try:
            for epoch in range(1, choices.epochs + 1):
                # One pass over the training images, then loss and accuracy on validation with the weights as they are.
                row = _epoch(epoch, step, feed, optimizer, images, choices, on_step)
                history.append(row)
                better = choices.keep == "best" and _is_better(row, best)
                if better:
                    best = row, snapshot(network)
                if folder is not None:
                    _write(folder, history, network, better=better)
                on_epoch(row)
                if choices.until_accuracy is not None:
                    # A row's own is from before each step, and of varied images: not what these weights reach.
                    reached = validate(step, feed.plain(_rows(images, choices, "train")))[1]
                    if reached is not None and reached >= choices.until_accuracy:
                        break
        except KeyboardInterrupt:
            interrupted = True
    if best is not None:
        restore(network, best[1])
    kept = best[0].epoch if best is not None else len(history)
    return History(tuple(history), kept, interrupted, reached)


def _write(folder: Path, history: Sequence[Epoch], network: nn.Module, *, better: bool) -> None:
    write_history(folder / "history.csv", history)
    for name in ("last", "best") if better else ("last",):
        write_checkpoint(folder / "checkpoints" / f"{name}.safetensors", network)


def with_enough_epochs(choices: StepChoices, images: Images) -> StepChoices:
    """The choices with as many epochs as make `least_steps` steps, where they have fewer."""
    return dataclasses.replace(
        choices, epochs=max(choices.epochs, math.ceil(choices.least_steps / steps_of(images, choices)))
    )


@contextlib.contextmanager
def _set_up(
    network: nn.Module, images: Images, choices: StepChoices, preprocessing: Preprocessing, device: torch.device
) -> Iterator[tuple[Step, Feed]]:
    """The step and the feed for a device, and their end."""
    loss = _loss(images, choices)
    if device.type == "cpu":
        step = make_step(network, preprocessing, loss, choices.batch_size)
        try:
            yield step, CacheFeed(images, choices.augmentation, choices.seed)
        finally:
            step.pool.shutdown()
        return
    augmentation, size = find_augmentation(choices.augmentation), choices.batch_size
    with device_step(network, preprocessing, augmentation, loss.class_weights, size, device) as on_device:
        yield on_device, device_feed(images, choices, device)


def _epoch(
    epoch: int,
    step: Step,
    feed: Feed,
    optimizer: torch.optim.Optimizer,
    images: Images,
    choices: StepChoices,
    on_step: Callable[[int, int], None],
) -> Epoch:
    """Train for one epoch, in an order and with variations that (seed, epoch, content) decide, and validate."""
    started = time.perf_counter()
    step.network.train()
    loss, correct, seen = 0.0, 0, 0
    batches = batch_rows(images, choices, epoch, even=bool(step.ghosts))
    steps = steps_of(images, choices)  # once: it looks at every image's split
    for done, batch in enumerate(feed.training(batches, epoch)):
        factor = _schedule(choices, steps, epoch, done)
        for group in optimizer.param_groups:
            group["lr"] = choices.learning_rate * group.get("share", 1.0) * factor
        batch_loss, batch_correct = step.train(optimizer, *batch)
        if isinstance(batch_loss, float) and not math.isfinite(batch_loss):
            raise _diverged(f"epoch {epoch}, step {done + 1}", batch_loss, choices)
        loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(batch[1])
        on_step(done + 1, steps)
    # A GPU is waited for here, once an epoch.
    loss, correct = float(loss), int(correct)
    if not math.isfinite(loss):
        raise _diverged(f"epoch {epoch}", loss, choices)
    trained = time.perf_counter()
    return Epoch(
        epoch,
        loss / seen,
        correct / seen,
        *validate(step, feed.plain(_rows(images, choices, "validation"))),
        float(optimizer.param_groups[0]["lr"]),
        time.perf_counter() - started,
        seen / (trained - started),
    )


def steps_of(images: Images, choices: StepChoices) -> int:
    """Batches an epoch: the recipe's number, or as many as cover every training image once."""
    if choices.steps_per_epoch is not None:
        return choices.steps_per_epoch
    return math.ceil(len(images.dataset.rows("train")) / (choices.batch_size))


def validate(step: Step, batches: Iterator[tuple[Any, ...]]) -> tuple[float | None, float | None]:
    """Mean loss and accuracy on batches in evaluation mode, (None, None) where there are none."""
    loss, correct, seen = 0.0, 0, 0
    for batch in batches:
        batch_loss, batch_correct = step.evaluate(*batch)
        loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(batch[1])
    return (float(loss) / seen, int(correct) / seen) if seen else (None, None)


def _rows(images: Images, choices: StepChoices, split: str) -> Iterator[npt.NDArray[np.int64]]:
    rows = images.dataset.rows(split)
    for start in range(0, len(rows), choices.batch_size):
        yield rows[start : start + choices.batch_size]


def batch_rows(
    images: Images, choices: StepChoices, epoch: int, *, even: bool = False
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each batch of an epoch; more steps than images begin again in a new order.

    The last batch holds what is left, as in Keras; with `even` all batches are of one size (or one image less):
    BatchNorm cannot normalise by the three images that 1,027 leave after batches of 64.
    """
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
    order = order[: steps * size]
    yield from np.array_split(order, steps) if even else (order[at : at + size] for at in range(0, len(order), size))


def _loss(images: Images, choices: StepChoices) -> Loss:
    labels = images.dataset.labels[images.dataset.rows("train")]
    counts = np.bincount(labels, minlength=len(images.dataset.classes))
    if choices.class_weights == "balanced":
        return Loss(tuple(float(weight) for weight in len(labels) / (len(counts) * np.maximum(counts, 1))))
    return Loss(None)


def _schedule(choices: StepChoices, steps: int, epoch: int, done: int) -> float:
    """The factor on the learning rate at a step: 1, or a linear warm-up and then a cosine down to 0."""
    if choices.schedule != "cosine":
        return 1.0
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


def _diverged(where: str, loss: float, choices: StepChoices) -> TrainingError:
    smaller = min(choices.learning_rate / 10, 1e-3)  # a rate of millions is no start for tenths
    return TrainingError(
        f"the loss turned {loss} in {where}: the training has diverged",
        hint=f"try a smaller learning rate, such as --learning-rate {smaller:g}",
    )

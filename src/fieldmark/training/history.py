"""History: what a training went through, epoch by epoch; history.csv and the sentences about it."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from fieldmark import storage
from fieldmark.images.names import duration
from fieldmark.training.choices import StepChoices


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One row of history.csv; the validation fields are None without a validation split."""

    epoch: int
    train_loss: float  # mean over the epoch's images as they were trained on, natural logarithm
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float  # of the last step
    seconds: float  # of training and validation
    images_per_second: float  # training images over training seconds, reading included, validation not


@dataclasses.dataclass(frozen=True)
class History:
    """All finished epochs, and how the training ended."""

    epochs: tuple[Epoch, ...]
    # The epoch whose weights were kept: the last that was finished, or the best; 0 if none was. Where Ctrl-C came
    # within an epoch and the last is kept, the network has learnt a part of the next one, too.
    kept: int
    interrupted: bool = False
    reached: float | None = None  # training accuracy with the weights after the last epoch, where one was asked for


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write history.csv whole; an empty cell stands for a number that does not exist."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(field.name for field in dataclasses.fields(Epoch))
    writer.writerows(dataclasses.astuple(epoch) for epoch in epochs)
    storage.write_text(path, text.getvalue())


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """One plain line for a finished epoch of `epochs`, with the time that the others will take.

    >>> epoch_line(Epoch(1, 0.693, 0.5, 0.69, 0.55, 1e-3, 24.0, 42.0), 15)
    'epoch  1/15  loss 0.6930  accuracy 0.500  validation loss 0.6900  accuracy 0.550  42 images/s  5 min 36 s left'
    """
    parts = [
        f"epoch {epoch.epoch:2}/{epochs}",
        f"loss {epoch.train_loss:.4f}",
        f"accuracy {epoch.train_accuracy:.3f}",
    ]
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        parts += [f"validation loss {epoch.validation_loss:.4f}", f"accuracy {epoch.validation_accuracy:.3f}"]
    parts += [f"{epoch.images_per_second:.0f} images/s"]
    left = (epochs - epoch.epoch) * epoch.seconds
    return "  ".join([*parts, f"{duration(left)} left"] if left else parts)


def remarks(history: History, choices: StepChoices) -> list[str]:
    """Sentences on how the training ended that a reader of its numbers has to know."""
    said = []
    if history.interrupted:
        said.append(
            f"interrupted after {len(history.epochs)} of {choices.epochs} epochs; the classifier holds what was learnt"
        )
    elif choices.until_accuracy is not None and history.reached is not None:
        verb = "was" if history.reached >= choices.until_accuracy else f"({history.reached:.3f} so far) was not"
        said.append(f"training accuracy {choices.until_accuracy:g} {verb} reached in {len(history.epochs)} epochs")
    if choices.keep == "best" and history.kept:
        said.append(_kept(history))
    return said


def _kept(history: History) -> str:
    if history.epochs[history.kept - 1].validation_accuracy is None:
        return (
            "there was no validation image to tell the best epoch by (--keep best), "
            f"so the weights of the last one, {history.kept}, were kept"
        )
    return (
        f"the weights of epoch {history.kept} were kept because they were best on validation, "
        "so the validation numbers are optimistic"
    )

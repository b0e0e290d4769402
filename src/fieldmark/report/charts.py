"""Charts: the plain values of a drawing, such as the round numbers on its axes; the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Data = dict[str, Any]
History = list[dict[str, float | None]]


def ticks(low: float, high: float, *, at_most: int = 5) -> list[float]:
    """Return round numbers, 1, 2 or 5 apart (times a power of ten), that span `low` to `high`.

    >>> ticks(0.0, 0.83)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = max((high - low) or abs(high) or 1.0, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / at_most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= at_most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1)]


def axis(name: str, marks: list[float], *, share: bool) -> Data:
    """An axis from its first to its last mark; shares are written in %."""
    return {"name": name, "ticks": marks, "share": share}


def plot(
    title: str,
    x: Data,
    y: Data,
    *,
    points: Sequence[Data] = (),
    lines: Sequence[Data] = (),
    diagonal: str = "",
    ahead: Data | None = None,
) -> Data:
    """A plane with points {"x", "y", "low", "high", "size"} and lines {"name", "kind", "points": [[x, y]]}.

    `low` to `high` is a point's 95 % interval (None: not known), `size` its radius in pixels; `diagonal` names the
    line where both are equal; `ahead` {"x", "low", "high"} is where a point is expected.
    """
    plane = {"title": title, "x": x, "y": y, "points": list(points), "lines": list(lines)}
    return plane | {"diagonal": diagonal, "ahead": ahead}


def learning_charts(history: History) -> list[Data]:
    """Loss and accuracy over the epochs."""
    if not history:
        return []
    loss = [_series(history, split, "loss") for split in ("train", "validation")]
    accuracy = [_series(history, split, "accuracy") for split in ("train", "validation")]
    return [_chart("Loss", loss, share=False), _chart("Accuracy", accuracy, share=True)]


def _series(history: History, split: str, what: str) -> Data:
    points = [[row["epoch"] or number, row[f"{split}_{what}"]] for number, row in enumerate(history, start=1)]
    values = [value for _, value in points if value is not None]
    return {"name": split, "points": points, "last": values[-1] if values else None}


def _chart(title: str, series: list[Data], *, share: bool) -> Data:
    values = [value for line in series for _, value in line["points"] if value is not None]
    epochs = [epoch for line in series for epoch, _ in line["points"]]
    every = max(1, math.ceil((epochs[-1] - epochs[0]) / 6))
    marked = sorted({epochs[0], *(epoch for epoch in epochs if not epoch % every)})
    return {
        "title": title,
        "share": share,
        "series": [line for line in series if line["last"] is not None],
        "ticks": ticks(min(values, default=0) if share else 0, 1 if share else max(values, default=1)),
        "epoch_ticks": marked,
        "last_epoch": epochs[-1],
    }

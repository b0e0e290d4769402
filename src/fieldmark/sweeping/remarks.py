"""Remarks: what a sweep's table allows to say, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fieldmark.evaluation.metrics import percent
from fieldmark.images.names import counted
from fieldmark.sweeping.table import SPLIT, ByChoice

NAMED = 3  # choices that cannot be told from the best


def name_best(rows: Sequence[dict[str, Any]], against: Sequence[dict[str, Any]]) -> list[str]:
    """Which choice was best, and from which others it cannot be told apart."""
    if len(rows) < 2:
        return []
    accuracy = {row["choice"]: percent(row["accuracy"]) for row in rows}
    ranked = sorted(rows, key=lambda row: -row["accuracy"])
    best = ranked[0]["choice"]
    unsure = [each for each in against if not each["told_apart"]]
    if not unsure:
        return [
            f"{best} was best ({accuracy[best]}), and was chosen on these images: on others expect a little less; "
            f"{_spoken(against[0])}"
        ]
    names = [f"{each['choice']} ({accuracy[each['choice']]})" for each in unsure[:NAMED]]
    if len(unsure) > NAMED:
        names.append(f"{len(unsure) - NAMED} more")
    # Choices of one accuracy are level, though their images may not be quite the same
    level = unsure[0]["choice"] in {row["choice"] for row in rows if row["accuracy"] == ranked[0]["accuracy"]}
    most = f"({accuracy[best]})" if level else f"has the most right answers ({accuracy[best]}), but"
    return [f"{best} {most} cannot be told apart from {_listed(names)}; {_spoken(unsure[0])}"]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _spoken(each: Mapping[str, Any]) -> str:
    """How much worse a choice was, in words."""
    if each["difference"] is None:
        return f"it shares no images with {each['choice']}"
    spans = [
        f"{100 * each[name][0]:+.1f} to {100 * each[name][1]:+.1f} {what}"
        for name, what in (("images_interval", "over the images"), ("seeds_interval", "over the seeds"))
        if each[name]
    ]
    return (
        f"the difference to {each['choice']} on the {counted(each['n'], 'image')} that both held out is "
        f"{100 * each['difference']:+.1f} points (95 % intervals: {', '.join(spans)})"
    )


def other_images(rows: Sequence[dict[str, Any]], by_choice: ByChoice) -> list[str]:
    """Where choices or seeds were not measured on the same images."""
    remarks = []
    if len({row["n"] for row in rows}) > 1:
        remarks.append("the choices were measured on different numbers of images")
    if any(len({frozenset(part.paths) for _, part in group}) > 1 for group in by_choice.values()):
        remarks.append(
            f"each seed splits anew and holds out other {SPLIT} images, so that the sd over seeds is also that of the "
            f"images; with a {SPLIT}/ folder it would be that of the training alone"
        )
    return remarks

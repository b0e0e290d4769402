"""Lines: explanations, comparisons and sweeps for a terminal, made from the same plain values as their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldmark.report.text import clean, correction_lines, listed


def explain_lines(found: dict[str, Any], out: Path) -> list[str]:
    """One sentence an image, and where the pictures are."""
    lines = []
    for image in found["images"]:
        if image["problem"]:
            lines.append(f"{clean(image['path'])}  {image['problem']}: {clean(image['detail'])}")
            continue
        lines += [f"{clean(image['path'])}  {clean(image['sentence'])}"]
        if image["unfamiliar"]:
            lines.append("    unlike anything in the training set: do not trust that answer")
        lines.append(f"    {out / image['image']}")
    methods = dict.fromkeys(image["activation"]["method"] for image in found["images"] if not image["problem"])
    return [*lines, *(f"note: {method}" for method in methods)]


def compare_lines(found: dict[str, Any]) -> list[str]:
    """Both accuracies, the difference, how sure it is, and what flipped."""
    lines = []
    for name in ("a", "b"):
        side = found[name]
        low, high = (100 * bound for bound in side["accuracy_interval"])
        lines += [
            f"{name.upper()}  {clean(side['path'])} ({clean(str(side['network']))}, {side['image_size'][1]} px)",
            f"   accuracy {100 * side['accuracy']:.1f} % (95 % interval {low:.1f}–{high:.1f} %)"
            f"  {side['images_per_second']:.0f} images/s  {side['bytes'] / 1e6:.1f} MB" + _training_time(side),
        ]
    test = found["mcnemar"]
    lines += [
        found["sentence"],
        f"McNemar's exact p-value {test['p_value']:.2g}: {test['only_a_right']} images right with A only, "
        f"{test['only_b_right']} with B only",
    ]
    lines += [f"note: {clean(remark)}" for remark in found["remarks"]]
    lines += correction_lines(found["corrections"])
    for better, title in (("b", "right with B, wrong with A"), ("a", "right with A, wrong with B")):
        flips = [
            f"{clean(flip['path'])}: {clean(flip['label'])}; A says {clean(flip['a'])} ({flip['a_probability']:.3f}), "
            f"B {clean(flip['b'])} ({flip['b_probability']:.3f})"
            for flip in found["flips"]
            if flip["better"] == better
        ]
        lines += listed(title, flips)
    return lines


def sweep_lines(found: dict[str, Any]) -> list[str]:
    """The table of a sweep, and the images whose answer depends on the choice."""
    header = ("choice", "runs", "accuracy", "sd", "seeds 95 %", "images 95 %", "n", "time", "size")
    rows = [header, *(_sweep_row(row) for row in found["choices"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    depends = [
        f"{clean(image['path'])} ({clean(image['label'])}): "
        + ", ".join(f"{_right(share)} with {clean(choice)}" for choice, share in image["right"].items())
        for image in found["images"]
    ]
    lines += listed("images whose answer depends on the choice", depends)
    return [*lines, *(f"note: {clean(remark)}" for remark in found["remarks"]), f"folder {found['folder']}"]


def _sweep_row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        clean(row["choice"]),
        str(row["runs"]),
        f"{100 * row['accuracy']:.1f} %",
        "–" if row["sd"] is None else f"{100 * row['sd']:.1f}",
        "–" if row["seeds_interval"] is None else _interval(row["seeds_interval"]),
        _interval(row["images_interval"]),
        str(row["n"]),
        f"{row['seconds']:.1f} s",
        f"{row['bytes'] / 1e6:.1f} MB",
    )


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def _right(share: float | None) -> str:
    return "not held out" if share is None else f"{100 * share:.0f} % right"


def _training_time(side: dict[str, Any]) -> str:
    return "" if side["training_seconds"] is None else f"  trained in {side['training_seconds']:.1f} s"

"""Shortcuts: can the class be told from what should not matter, such as the size of the files or a border?

Each probe is a small classifier that sees nothing but one such thing, judged on whole groups of images that it was
not fitted to. It is reported only where its interval stays above chance, after having asked as often as there are
probes, and where it goes enough of the way from chance to certainty to matter.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Floats, Rows, deal_folds, groups_of_classes
from fieldmark.checks.fitting import Logistic, Tree, fit_logistic, fit_tree
from fieldmark.checks.ground import ground_of, is_marked, is_plain, sides
from fieldmark.checks.joining import joined_groups
from fieldmark.checks.judging import balanced_accuracy
from fieldmark.images.compression import compression
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted, rounded_percent, some
from fieldmark.images.threads import ordered_map

Model = Literal["tree", "linear"]
LEAST_GROUPS = 3  # of a class; with fewer, nothing about it is known when one is left out
MOST_IMAGES = 20_000  # looked at, evenly spread
DEPTH, LEAF = 4, 5  # questions of a tree, images where it ends: one odd file makes no rule
STRENGTH = 0.1  # inverse L2 penalty of a linear probe, on standardised features


class Probe(NamedTuple):
    """One thing that should not matter."""

    thing: str  # the class can be told from ...
    features: Callable[[Context, Rows], Floats]  # (rows, d)
    model: Model
    enough: float  # share of the way from chance to certainty above which it is a shortcut
    meaning: str  # what to do about it


def _file_size(context: Context, rows: Rows) -> Floats:
    sizes = [max(_bytes(context, int(row)), 1) for row in rows]
    pixels = [math.prod(context.dataset.sizes[row]) for row in rows]
    return np.log(np.array([(size, size / count) for size, count in zip(sizes, pixels, strict=True)], dtype=np.float32))


def _bytes(context: Context, row: int) -> int:
    try:
        return context.dataset.file(row).stat().st_size
    except OSError:  # removed since it was read
        return 1


def _dimensions(context: Context, rows: Rows) -> Floats:
    sides = np.log(np.array([context.dataset.sizes[row] for row in rows], dtype=np.float32))
    return np.column_stack([sides, sides[:, 0] - sides[:, 1]])


def _format(context: Context, rows: Rows) -> Floats:
    names = sorted(set(context.dataset.formats))
    return np.array([[context.dataset.formats[row] == name for name in names] for row in rows], dtype=np.float32)


def _compression(context: Context, rows: Rows) -> Floats:
    found = ordered_map(lambda row: compression(context.dataset.file(int(row))), rows)
    return np.array(
        [
            (math.log(one.luma_step), math.log(one.chroma_step), one.colour_cells, one.progressive)
            if one is not None and min(one.luma_step, one.chroma_step) > 0
            else (-1.0, -1.0, -1.0, -1.0)  # not a JPEG
            for one in found
        ],
        dtype=np.float32,
    )


def _mean_colour(context: Context, rows: Rows) -> Floats:
    cells = context.images.thumbnails()[rows].astype(np.float32)
    # Grey images have any mean colour; how far the channels are apart in a cell tells them from coloured ones
    return np.column_stack([cells.mean(axis=(1, 2)), np.ptp(cells, axis=3).mean(axis=(1, 2))])


def _border(context: Context, rows: Rows) -> Floats:
    return sides(context, rows)


def _thumbnail(context: Context, rows: Rows) -> Floats:
    cells = context.images.thumbnails()[rows].reshape(len(rows), 4, 4, 4, 4, 3)
    return np.asarray(cells.mean(axis=(2, 4)), dtype=np.float32).reshape(len(rows), 48)


# Of how a file was made nothing belongs to the class, so a little is enough. The scenery, and the detail that makes a
# file large, are part of the picture, and some of it goes with the class in any dataset.
MADE, SCENERY = 0.25, 0.6
_RESAVE = "save all images the same way, or the classifier may learn who saved them"
_PLACES = "take pictures of each class in the surroundings of the others, and see what `fieldmark explain` looks at"

PROBES: dict[str, Probe] = {
    "file size": Probe("the size of the files", _file_size, "tree", SCENERY, _RESAVE),
    "dimensions": Probe("the width and height of the images", _dimensions, "tree", MADE, _RESAVE),
    "format": Probe("the file format", _format, "tree", MADE, _RESAVE),
    "compression": Probe("how strongly the JPEG files are compressed", _compression, "tree", MADE, _RESAVE),
    "mean colour": Probe("the mean colour and how strong the colours are", _mean_colour, "linear", SCENERY, _PLACES),
    "border": Probe("the outermost border alone", _border, "linear", SCENERY, _PLACES),
    "thumbnail": Probe("a blurred thumbnail of 4 × 4 cells alone", _thumbnail, "linear", SCENERY, _PLACES),
}
# What is said instead where it is more likely the subject that tells the classes apart.
OF_SUBJECT = {
    "file size": "around all images lies one plain colour, so a file is large by the subject that it shows",
    "border": "around all images lies one plain colour, so it is the subject that reaches the border",
    "thumbnail": "border and colour tell far less, so it may be the subject itself, known so coarsely, or the scenery: "
    "see what `fieldmark explain` looks at",
}
AS_MUCH = 2 / 3  # of the way from chance that another probe goes
MUCH = 0.4  # of the way from chance: where an interval from chance reaches so far, nobody knows
A_LITTLE = 0.1  # of the way from chance: less is not worth a word


def check_shortcuts(context: Context) -> tuple[list[Finding], str, dict[str, Any]]:
    """The findings of the check for shortcuts, its answer, and the numbers of every probe."""
    dataset, rows = context.dataset, context.training()
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(int)] if len(rows) else rows
    every_group = joined_groups(context)
    counts = groups_of_classes([every_group[row] for row in rows], dataset.labels[rows], len(dataset.classes))
    rows = rows[(counts >= LEAST_GROUPS)[dataset.labels[rows]]] if len(rows) else rows
    classes = int((counts >= LEAST_GROUPS).sum())
    if classes < 2:
        return [], _too_few_groups(context, counts), {}
    groups, labels = [every_group[row] for row in rows], dataset.labels[rows]
    probes = {name: probe(features, labels, groups, PROBES[name]) for name, features in _features(context, rows)}
    for name in _by_subject(context, rows, labels, groups, probes):
        probes[name]["verdict"] = "subject"
    findings = [finding for name, numbers in probes.items() if (finding := _finding(name, numbers))]
    findings.sort(key=lambda finding: (finding.weight == "note", -finding.numbers["accuracy"]))
    return findings, _answer(findings, probes), {"classes": classes, "images": len(rows), "probes": probes}


def probe(features: Floats, labels: npt.NDArray[np.integer], groups: Sequence[str], entry: Probe) -> dict[str, Any]:
    """Return how well the class can be told from `features` (n, d): balanced accuracy on groups left out.

    {"accuracy", "interval" (95 %), "chance", "n", "groups", "verdict"}; the verdict is "shortcut", "some", "none", or
    "unknown" where groups are so few that guessing and much of a shortcut both lie inside of the interval. Where
    it looks like a shortcut, but is more likely the subject, `check_shortcuts` calls it "subject".
    """
    known = np.unique(labels)
    chance = 1 / len(known)
    if np.ptp(features, axis=0).max(initial=0) > 1e-6:
        predicted = _predict(features, labels, deal_folds(groups, labels), entry.model)
        accuracy, low, high = balanced_accuracy(predicted == labels, labels, groups)
    else:  # all images are alike in this
        accuracy, low, high = chance, chance, chance
    # The interval is of one probe; so many were asked that one may lie outside by chance (Bonferroni).
    once, all_of_them = (statistics.NormalDist().inv_cdf(1 - 0.025 / asked) for asked in (1, len(PROBES)))
    least = accuracy - (accuracy - low) * all_of_them / once
    told, at_most = ((share - chance) / (1 - chance) for share in (accuracy, high))
    if least > chance:
        verdict = "shortcut" if told >= entry.enough else "some" if told >= A_LITTLE else "none"
    else:
        verdict = "unknown" if at_most >= max(entry.enough, MUCH) else "none"
    return {
        "accuracy": round(accuracy, 4),
        "interval": [round(low, 4), round(high, 4)],
        "chance": round(chance, 4),
        "n": len(labels),
        "groups": len(set(groups)),
        "verdict": verdict,
    }


def _by_subject(
    context: Context,
    rows: Rows,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    probes: Mapping[str, dict[str, Any]],
) -> list[str]:
    """The probes that go far enough for a shortcut, but more likely by the subject than by what lies around it."""
    far = [name for name in OF_SUBJECT if probes[name]["verdict"] == "shortcut"]
    if not far:
        return []
    found = []
    around = ["mean colour", "border"]
    ground = ground_of(context, rows)
    if is_plain(ground) and probe(ground.colours, labels, groups, PROBES["border"])["verdict"] == "none":
        if not is_marked(ground, labels):
            found.append("border")
            around.remove("border")
        if not any(probes[name]["verdict"] == "shortcut" for name in ("dimensions", "format", "compression")):
            found.append("file size")
    if max(_told(probes[name]) for name in around) < AS_MUCH * _told(probes["thumbnail"]):
        found.append("thumbnail")
    return [name for name in far if name in found]


def _told(numbers: Mapping[str, Any]) -> float:
    # The share of the way from chance to certainty.
    return float((numbers["accuracy"] - numbers["chance"]) / (1 - numbers["chance"]))


def _features(context: Context, rows: Rows) -> list[tuple[str, Floats]]:
    return [(name, entry.features(context, rows)) for name, entry in PROBES.items()]


def _predict(features: Floats, labels: npt.NDArray[np.integer], folds: Rows, model: Model) -> npt.NDArray[np.integer]:
    from threadpoolctl import threadpool_limits

    predicted = np.full(len(labels), -1, dtype=np.int64)
    with threadpool_limits(1):
        for fold in np.unique(folds):
            inside, outside = folds != fold, folds == fold
            if len(np.unique(labels[inside])) < 2:
                continue
            mean, deviation = features[inside].mean(axis=0), np.maximum(features[inside].std(axis=0), 1e-6)
            seen = (features[inside] - mean) / deviation
            predicted[outside] = _fitted(model, seen, labels[inside]).predict((features[outside] - mean) / deviation)
    return predicted


def _fitted(model: Model, features: Floats, labels: npt.NDArray[np.integer]) -> Logistic | Tree:
    if model == "tree":
        return fit_tree(features, labels, depth=DEPTH, leaf=LEAF)
    return fit_logistic(features, labels, strength=STRENGTH, tolerance=1e-4, steps=1000)


def _finding(name: str, numbers: dict[str, Any]) -> Finding | None:
    entry, verdict = PROBES[name], numbers["verdict"]
    if verdict in ("none", "unknown"):
        return None
    low, high = (100 * bound for bound in numbers["interval"])
    measured = (
        f"{100 * numbers['accuracy']:.0f} % right (95 % interval {low:.0f}–{high:.0f} %), "
        f"by chance {rounded_percent(numbers['chance'])}"
    )
    if verdict == "shortcut":
        return Finding(
            f"the class can be told from {entry.thing}: {measured}; {entry.meaning}",
            weight="problem",
            numbers={"probe": name, **numbers},
        )
    if verdict == "subject":
        return Finding(
            f"the class can be told from {entry.thing}: {measured}; but {OF_SUBJECT[name]}",
            weight="note",
            numbers={"probe": name, **numbers},
        )
    return Finding(
        f"part of {entry.thing} goes with the class: {measured}",
        weight="note",
        numbers={"probe": name, **numbers},
    )


def _answer(findings: Sequence[Finding], probes: Mapping[str, dict[str, Any]]) -> str:
    shortcuts = [finding.numbers["probe"] for finding in findings if finding.weight == "problem"]
    unknown = [name for name, numbers in probes.items() if numbers["verdict"] == "unknown"]
    groups = counted(next(iter(probes.values()))["groups"], "group")
    beside = f" From {groups} it cannot be told whether {_and(unknown)} {_tell(unknown)}, too." if unknown else ""
    if shortcuts:
        return f"Yes, from {', '.join(shortcuts)}: a classifier may learn that instead of what you mean.{beside}"
    of_subject = [finding.numbers["probe"] for finding in findings if finding.numbers["verdict"] == "subject"]
    if of_subject:
        return f"Probably not: {_and(of_subject)} {_tell(of_subject)}, but most likely by the subject itself.{beside}"
    if findings:
        return f"To some degree, as in most datasets; no more than that.{beside}"
    if unknown:
        rest = "; nothing else here does" if len(unknown) < len(probes) else ""
        return f"Cannot be told from {groups}: {_and(unknown)} may or may not tell the classes apart{rest}."
    return "No: none of these tells the classes apart."


def _and(names: Sequence[str]) -> str:
    return " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])


def _tell(names: Sequence[str]) -> str:
    return "tells the classes apart" if len(names) == 1 else "tell the classes apart"


def _too_few_groups(context: Context, counts: npt.NDArray[np.int64]) -> str:
    dataset, rows = context.dataset, context.training().tolist()
    given = groups_of_classes([dataset.groups[row] for row in rows], dataset.labels[rows], len(dataset.classes))
    joined = "with near-duplicates joined, " if (counts < given).any() else ""
    has = some([f"{name} has {count}" for name, count in zip(dataset.classes, counts.tolist(), strict=True)])
    return f"Cannot be told: two classes with images of {LEAST_GROUPS} groups each are needed; {joined}{has}."

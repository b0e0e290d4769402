"""Headline: in plain words what the classifier is, how good it is, and what to watch.

Each entry of `WATCHES` looks at one thing and returns sentences where a reader should know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fieldmark.evaluation.metrics import percent
from fieldmark.images.problems import CLUTTER, PROBLEMS
from fieldmark.report.contents import Contents
from fieldmark.report.wording import shorten

# Below this many images of a class, one image more or less moves its share by over three points.
FEW_IMAGES = 30
WIDE_INTERVAL = 0.1
BAD_CALIBRATION = 0.05
MANY_UNFAMILIAR = 0.05  # where 1 % is meant
WORTHWHILE_GAIN = 0.005  # of twice the images
NAMES_SHOWN = 6

Watch = dict[str, str]  # {"text": a sentence, "panel": where to see more, or ""}


def headline(contents: Contents) -> dict[str, Any]:
    """Return what stands at the top of the report; `split` is None where nothing was measured."""
    split, root = contents.split, contents.root
    numbers = contents.metrics.get(split, {}) if split else {}
    return {
        "dataset": root.name if root else "",
        "classes": contents.classes,
        "network": contents.run.get("network") or contents.recipe.get("network"),
        "trained_on": sum(of_class.get("train", 0) for of_class in contents.counts.values()),
        "split": split,
        "n": numbers.get("n", 0),
        "groups": numbers.get("groups", 0),
        "correct": sum(row[label] for label, row in enumerate(numbers.get("confusion", []))),
        "unseen": split not in (None, "train") and not contents.audit.get("leaks"),
        "accuracy": numbers.get("accuracy"),
        "accuracy_interval": numbers.get("accuracy_interval"),
        "commonest": _commonest(numbers),
        "splits": [_brief(name, contents.metrics[name]) for name in _measured(contents)],
        "watch": [watch for look in WATCHES for watch in look(contents, numbers)],
    }


def _measured(contents: Contents) -> list[str]:
    return [name for name in ("train", "validation", "test") if contents.metrics.get(name, {}).get("n")]


def _brief(split: str, numbers: dict[str, Any]) -> dict[str, Any]:
    names = ("n", "groups", "accuracy", "accuracy_interval", "balanced_accuracy", "log_loss", "ece")
    return {"split": split, **{name: numbers.get(name) for name in names}}


def _commonest(numbers: dict[str, Any]) -> dict[str, Any] | None:
    """The class that one would always answer without looking, and how often that is right."""
    sizes = {name: row["n"] for name, row in numbers.get("per_class", {}).items()}
    if not any(sizes.values()):
        return None
    name = max(sizes, key=lambda name: sizes[name])
    return {"class": name, "share": sizes[name] / sum(sizes.values())}


def _nothing_measured(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    if contents.split is None:
        return [_watch("Nothing was measured: no split with known labels has predictions.", "confusion")]
    if contents.split == "train":
        return [_watch("The accuracy was measured on the images it learnt from, so it says little.", "confusion")]
    return []


def _notes(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    return [_watch(note, "reproduce") for note in contents.run.get("notes", [])]


def _leaks(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    leaks = len(contents.audit.get("leaks", []))
    if not leaks:
        return []
    images = _count(leaks, "image") + (" outside of training belongs" if leaks == 1 else " outside of training belong")
    copies = "looks like a copy" if leaks == 1 else "look like copies"
    text = f"{images} together with training images, or {copies} of them: the accuracy may be too good."
    return [_watch(text + _accuracy_without_leaks(contents), "dataset")]


def _accuracy_without_leaks(contents: Contents) -> str:
    """How good it is on the images of the headline's split that are no leaks; empty where that is not known."""
    if contents.predictions is None or contents.split in (None, "train"):
        return ""
    part = contents.predictions.select(contents.split)
    leaked = {leak.get("other") for leak in contents.audit["leaks"]}
    kept = [
        correct
        for path, label, correct in zip(part.paths, part.labels.tolist(), part.correct.tolist(), strict=True)
        if label >= 0 and path not in leaked
    ]
    if not kept:
        return f" Of the {contents.split} images none is left without them."
    if len(kept) == int((part.labels >= 0).sum()):
        return ""
    return (
        f" Without them {percent(sum(kept) / len(kept))} of {_count(len(kept), f'{contents.split} image')} are right."
    )


def _no_better_than_guessing(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    commonest = _commonest(numbers)
    if commonest is None or numbers["accuracy_interval"][0] > commonest["share"]:
        return []
    always = f"“{shorten(commonest['class'], 40)}” ({percent(commonest['share'])})"
    return [_watch(f"Not shown to be better than always answering {always}.", "confusion")]


def _wide_interval(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    low, high = numbers.get("accuracy_interval") or (0, 0)
    if not numbers.get("n") or high - low < WIDE_INTERVAL:
        return []
    what = _count(numbers["n"], "image")
    if numbers["groups"] < numbers["n"]:
        what += f" in {_count(numbers['groups'], 'group')}"
    return [_watch(f"The accuracy is known only roughly: {what} cannot say more.", "confusion")]


def _overfitting(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    found = contents.metrics.get("overfitting") or {}
    return [_watch(found["sentence"], "learning")] if found.get("sentence") else []


def _small_classes(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    sizes = {name: row["n"] for name, row in numbers.get("per_class", {}).items()}
    few = [f"“{shorten(name, 40)}” {images}" for name, images in sizes.items() if images < FEW_IMAGES]
    if not few:
        return []
    names = ", ".join(few[:NAMES_SHOWN])
    if len(few) > NAMES_SHOWN:
        names += f" and {len(few) - NAMES_SHOWN} more"
    return [_watch(f"Too few {contents.split} images to judge each class by: {names}.", "confusion")]


def _weakest_class(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    rows = numbers.get("per_class", {})
    recalls = {name: row["recall"] for name, row in rows.items() if row["n"] >= FEW_IMAGES}
    if len(recalls) < 2:
        return []
    name = min(recalls, key=lambda name: recalls[name])
    if recalls[name] > numbers["accuracy"] - 0.02:
        return []
    found = f"{percent(recalls[name])} of {rows[name]['n']:,} images"
    return [_watch(f"“{shorten(name, 40)}” is found least often: {found}.", "confusion")]


def _calibration(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    error = numbers.get("ece")
    if error is None or error < BAD_CALIBRATION or numbers["n"] < FEW_IMAGES:
        return []
    return [_watch(f"Its probabilities are off by {100 * error:.0f} points on average.", "calibration")]


def _unfamiliar(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    unlike, n = numbers.get("unfamiliar"), numbers.get("n", 0)
    if not unlike or n < FEW_IMAGES or unlike / n < MANY_UNFAMILIAR:
        return []
    found = f"{_count(unlike, f'{contents.split} image')} of {n:,} ({percent(unlike / n)})"
    return [_watch(f"{found} look unlike anything in training.", "unfamiliar")]


def _accused(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    """What an audit says of labels and shortcuts; leaks, copies and bad files are watched by themselves."""
    return [
        _watch(shorten(check["answer"], 300), "checks")
        for check in contents.audit.get("checks") or []
        if check["name"] in ("wrong_labels", "shortcuts")
        and any(finding["weight"] == "problem" for finding in check["findings"])
    ]


def _more_images(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    found = contents.metrics.get("learning_curve") or {}
    gain = found.get("gain_interval")
    return [_watch(found["sentence"], "learning_curve")] if gain and gain[0] > WORTHWHILE_GAIN else []


def _problems(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    codes = [problem["code"] for problem in contents.audit.get("problems", [])]
    unused = sum(code not in CLUTTER and not (code in PROBLEMS and PROBLEMS[code].usable) for code in codes)
    return [_watch(f"{_count(unused, 'file')} could not be used.", "dataset")] if unused else []


def _duplicates(contents: Contents, numbers: dict[str, Any]) -> list[Watch]:
    copies = sum(len(paths) - 1 for paths in contents.audit.get("duplicates", []))
    if not copies:
        return []
    images = _count(copies, "image") + (" is a copy" if copies == 1 else " are copies")
    return [_watch(f"{images} of another.", "dataset")]


def _watch(text: str, panel: str) -> Watch:
    return {"text": text, "panel": panel}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


# In the order of what would hurt most.
WATCHES: tuple[Callable[[Contents, dict[str, Any]], list[Watch]], ...] = (
    _nothing_measured,
    _leaks,
    _no_better_than_guessing,
    _wide_interval,
    _overfitting,
    _weakest_class,
    _small_classes,
    _accused,
    _calibration,
    _unfamiliar,
    _more_images,
    _notes,
    _problems,
    _duplicates,
)

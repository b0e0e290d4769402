"""Words: what strengthens or weakens an answer, in one sentence, from the occlusion of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.metrics import percent
from fieldmark.evaluation.predictions import answers
from fieldmark.explanation.occlusion import Occlusion

# Changes of the probability below this are not worth a word.
TELLING = 0.01
REGIONS = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)


def influences(occlusion: Occlusion, label: int, classes: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """The part that speaks most for a class, and the one that speaks most against it; None where there is none.

    Each is {"region", "box": [left, top, right, bottom] in pixels, "probability" while covered, "answer" then}.
    """
    drops = occlusion.drops(label)
    strongest = {"for": int(drops.argmax()), "against": int(drops.argmin())}
    signs = {"for": 1, "against": -1}
    return {
        side: _influence(occlusion, label, classes, place) if signs[side] * drops.flat[place] >= TELLING else None
        for side, place in strongest.items()
    }


def sentence(occlusion: Occlusion, label: int, classes: Sequence[str]) -> str:
    """What strengthens and weakens the answer `label`, in one sentence."""
    found = influences(occlusion, label, classes)
    head = f"{classes[label]} ({percent(float(occlusion.uncovered[label]))})"
    parts = []
    if (strong := found["for"]) is not None:
        turned = f" and turns the answer into {strong['answer']}" if _turns(occlusion, strong, classes) else ""
        lowered = percent(strong["probability"])
        parts.append(f"the part at the {strong['region']} speaks for it (covering it lowers that to {lowered}{turned})")
    if (weak := found["against"]) is not None:
        raised = percent(weak["probability"])
        parts.append(f"the part at the {weak['region']} speaks against it (covering it raises that to {raised})")
    return f"{head}: {'; '.join(parts) or _undecided(occlusion, label, classes)}"


def sentence_of_places(places: npt.NDArray[np.floating] | None, probability: float, towards: str, against: str) -> str:
    """Where what speaks most for and against a class lies, in one sentence, from what each place (h, w) adds to it.

    >>> sentence_of_places(np.array([[3.0, 0, 0], [0, 0, 0], [0, 0, 0]]), 0.9, "cat", "dog")
    'cat (90.0 %) rather than dog: the part at the upper left speaks most for it'
    """
    head = f"{towards} ({percent(probability)})"
    if places is None:
        return head
    parts: list[str] = []
    for sign, verb in ((1, "speaks most for it"), (-1, "speaks most against it")):
        amounts = _by_region(np.maximum(sign * places, 0))
        if amounts.max() > 0:
            row, column = divmod(int(amounts.argmax()), 3)
            parts.append(f"the part at the {REGIONS[row][column]} {verb}")
    return f"{head} rather than {against}: {'; '.join(parts) or 'no part speaks for it or against it'}"


def _by_region(places: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The sum in each of the nine regions, by where the middle of a place lies."""
    height, width = places.shape
    rows, columns = (2 * np.arange(height) + 1) * 3 // (2 * height), (2 * np.arange(width) + 1) * 3 // (2 * width)
    amounts = np.zeros((3, 3))
    np.add.at(amounts, (rows[:, None], columns[None, :]), places)
    return amounts


def _undecided(occlusion: Occlusion, label: int, classes: Sequence[str]) -> str:
    drops = occlusion.drops(label)
    strongest = _influence(occlusion, label, classes, int(drops.argmax()))
    lowered = percent(strongest["probability"])
    if drops.max() <= 0 or lowered == percent(float(occlusion.uncovered[label])):
        return "covering any one part changes nothing, so no single part decides"
    return f"no single part decides; covering the one at the {strongest['region']} lowers that most, to {lowered}"


def _turns(occlusion: Occlusion, influence: dict[str, Any], classes: Sequence[str]) -> bool:
    return bool(influence["answer"] != classes[int(answers(occlusion.uncovered[None].astype(np.float32))[0])])


def _influence(occlusion: Occlusion, label: int, classes: Sequence[str], place: int) -> dict[str, Any]:
    row, column = divmod(place, len(occlusion.lefts))
    top, left = occlusion.tops[row], occlusion.lefts[column]
    height, width = occlusion.tops[-1] + occlusion.patch[0], occlusion.lefts[-1] + occlusion.patch[1]
    covered = occlusion.covered[row, column]
    down = int(3 * (top + occlusion.patch[0] / 2) / height)
    across = int(3 * (left + occlusion.patch[1] / 2) / width)
    return {
        "region": REGIONS[down][across],
        "box": [left, top, left + occlusion.patch[1], top + occlusion.patch[0]],
        "probability": float(covered[label]),
        "answer": classes[int(answers(covered[None].astype(np.float32))[0])],
    }

"""Covering a part shows what it says; the sentence names it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fieldmark.explanation.occlusion import Occlusion, occlude
from fieldmark.explanation.words import REGIONS, influences, sentence
from fieldmark.preprocessing import Pixels

SIDE = 36


def looks_at(top: int, left: int, *, weight: float = 0.9) -> object:
    """A classifier of (dull, bright) that looks at 12 × 12 pixels alone."""

    def probabilities(images: Pixels) -> npt.NDArray[np.float32]:
        window = images[:, top : top + 12, left : left + 12].mean(axis=(1, 2, 3), dtype=np.float64) / 255
        share = 0.05 + weight * window
        return np.stack([1 - share, share], axis=1).astype(np.float32)

    return probabilities


def white() -> Pixels:
    return np.full((SIDE, SIDE, 3), 255, np.uint8)


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_the_part_that_is_looked_at_is_named(row: int, column: int) -> None:
    found = occlude(white(), looks_at(12 * row, 12 * column))  # type: ignore[arg-type]
    strongest = influences(found, 1, ("dull", "bright"))["for"]
    assert strongest is not None
    assert strongest["region"] == REGIONS[row][column]
    assert influences(found, 1, ("dull", "bright"))["against"] is None
    drops = found.drop_of_pixels(1, (SIDE, SIDE))
    place = np.unravel_index(int(drops.argmax()), drops.shape)
    assert 12 * row <= place[0] < 12 * row + 12
    assert 12 * column <= place[1] < 12 * column + 12
    assert sentence(found, 1, ("dull", "bright")).startswith(
        f"bright (95.0 %): the part at the {REGIONS[row][column]} speaks for it (covering it lowers that to "
    )


def test_a_part_may_speak_against() -> None:
    found = occlude(white(), looks_at(0, 0))  # type: ignore[arg-type]
    weak = influences(found, 0, ("dull", "bright"))
    assert weak["for"] is None
    assert weak["against"] is not None
    assert "speaks against it (covering it raises that to" in sentence(found, 0, ("dull", "bright"))


def test_an_answer_that_turns_is_said() -> None:
    found = Occlusion((0,), (0,), (1, 1), np.array([[[0.6, 0.4]]]), np.array([0.1, 0.9]))
    assert sentence(found, 1, ("a", "b")).endswith("lowers that to 40.0 % and turns the answer into a)")


def test_nothing_telling_is_said_too() -> None:
    found = occlude(white(), looks_at(0, 0, weight=0.01))  # type: ignore[arg-type]
    assert "no single part decides" in sentence(found, 0, ("dull", "bright"))


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 300)])
def test_any_size_is_covered_to_its_edges(size: tuple[int, int]) -> None:
    found = occlude(np.zeros((*size, 3), np.uint8), lambda images: np.full((len(images), 1), 1, np.float32))
    assert (found.tops[0], found.lefts[0]) == (0, 0)
    assert (found.tops[-1] + found.patch[0], found.lefts[-1] + found.patch[1]) == size
    assert found.covered.shape == (len(found.tops), len(found.lefts), 1)
    assert influences(found, 0, ("only",)) == {"for": None, "against": None}


def test_the_region_is_that_of_the_patch_s_middle() -> None:
    covered = np.array([[[0.9, 0.1]], [[0.1, 0.9]], [[0.1, 0.9]]])
    found = Occlusion((10, 15, 27), (0,), (9, 36), covered, np.array([0.1, 0.9]))
    strongest = influences(found, 1, ("a", "b"))["for"]
    assert strongest is not None
    assert (strongest["region"], strongest["box"]) == ("middle", [0, 10, 36, 19])

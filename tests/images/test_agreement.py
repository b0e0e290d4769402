"""Agreement: evidence must be strong and sure, and is what counting by hand finds."""

from __future__ import annotations

import numpy as np
import pytest

from fieldmark.images.agreement import Evidence, nearest_agreement


@pytest.mark.parametrize(
    ("evidence", "convincing"),
    [
        (Evidence(100, 40, 10, 9), True),  # a third of the way from chance to certainty
        (Evidence(100, 12, 2, 2), True),  # little, but six times chance
        (Evidence(4000, 1300, 1000, 750), False),  # sure, but weak: the light of a day
        (Evidence(4, 3, 1, 0.75), False),  # strong, but few: luck
        (Evidence(10, 0, 5, 2.5), False),
        (Evidence(0, 0, 0, 0), False),
    ],
)
def test_evidence_must_be_strong_and_sure(evidence: Evidence, convincing: bool) -> None:
    assert evidence.convincing is convincing


def test_nearest_agreement_equals_counting_by_hand() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 5)).astype(np.float32)
    names, arenas, apart = random.integers(0, 6, 40), random.integers(0, 2, 40), random.integers(0, 3, 40)
    for others in (np.arange(40), apart):
        looked_at = same = 0
        expected = 0.0
        for row in range(40):
            allowed = np.flatnonzero((arenas == arenas[row]) & (others != others[row]))
            share = float((names[allowed] == names[row]).mean())
            if 0 < share < 1:
                nearest = allowed[np.linalg.norm(features[allowed] - features[row], axis=1).argmin()]
                looked_at, same = looked_at + 1, same + (names[nearest] == names[row])
                expected += share
        evidence = nearest_agreement(features, names, arenas, None if others is not apart else apart)
        assert (evidence.looked_at, evidence.same) == (looked_at, same)
        assert evidence.expected == pytest.approx(expected)

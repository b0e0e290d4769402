"""Agreement: whether images of one name resemble each other more than the rest, and not by luck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.intp]

# When names are believed, see Evidence.convincing. Measured: the sequences of horses-or-humans and happy-or-sad score
# an agreement of 0.6-1.0, or 0.2-0.5 and 5-17 times chance where only 2 or 3 images of each are there; the turned
# copies of rice-leaf, numbered anew, -0.5. Names dealt at random among 12-1000 of these images were believed 9 times
# in 7,250.
MINIMUM_AGREEMENT = 0.3
MINIMUM_TIMES_CHANCE = 4.0
MINIMUM_DEVIATIONS = 4.0
IMAGES_LOOKED_AT = 1000  # so that the search takes seconds for 100,000 images


@dataclass(frozen=True)
class Evidence:
    """How often the most similar image belongs to the same group, and how often by chance."""

    looked_at: int
    same: int
    expected: float  # of `same`, by chance
    variance: float  # of `same`, by chance

    @property
    def clear(self) -> bool:
        """Whether images of a group resemble each other clearly more than the rest, be it by luck."""
        above = self.same - self.expected
        # The share of the way from chance to certainty; it falls where there are many small groups.
        agreement = above / max(self.looked_at - self.expected, 1e-9)
        return above > 0 and (agreement >= MINIMUM_AGREEMENT or self.same >= MINIMUM_TIMES_CHANCE * self.expected)

    @property
    def convincing(self) -> bool:
        """Whether images of a group resemble each other clearly more than the rest, and not by luck."""
        return self.clear and self.same - self.expected >= MINIMUM_DEVIATIONS * self.variance**0.5

    def __str__(self) -> str:
        same, chance = (round(100 * count / max(self.looked_at, 1)) for count in (self.same, self.expected))
        return f"for {same} % the most similar other image is of the same group, by chance for {chance} %"


def nearest_agreement(
    features: npt.NDArray[np.float32], names: Integers, arenas: Integers, apart: Integers | None = None
) -> Evidence:
    """Return how often the image most similar to one has the same name.

    `features` (n, d) are compared by Euclidean distance, `names` (n,) are the groups. An image is compared
    with the others of its arena (its class); with `apart`, only with those that differ from it there.
    """
    apart = np.arange(len(names)) if apart is None else apart
    same = _counts(arenas, names) - _counts(arenas, names, apart)
    others = _counts(arenas) - _counts(arenas, apart)
    telling = np.flatnonzero((same > 0) & (same < others))
    telling = telling[np.linspace(0, len(telling) - 1, min(len(telling), IMAGES_LOOKED_AT)).astype(int)]
    hits = 0
    for arena in np.unique(arenas[telling]):
        members = np.flatnonzero(arenas == arena)
        squares = (features[members] ** 2).sum(axis=1)
        rows = telling[arenas[telling] == arena]
        for part in np.array_split(rows, len(rows) // 64 + 1):
            apartness = squares - 2 * features[part] @ features[members].T
            apartness[apart[part][:, None] == apart[members]] = np.inf
            hits += int((names[members[apartness.argmin(axis=1)]] == names[part]).sum())
    chance = same[telling] / others[telling]
    return Evidence(len(telling), hits, float(chance.sum()), float((chance * (1 - chance)).sum()))


def _counts(*keys: Integers) -> Integers:
    # For each row, how many rows have the same keys.
    codes = np.zeros(len(keys[0]), dtype=np.intp)
    for key in keys:
        _, codes = np.unique(codes * (key.max(initial=0) + 1) + key, return_inverse=True)
    return np.asarray(np.bincount(codes)[codes], dtype=np.intp)

"""Names: the order of classes and files is natural, total, and the same from whatever listing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fieldmark.images.names import natural_key


@given(st.lists(st.text(min_size=1, max_size=8), unique=True))
def test_natural_order_is_total_and_does_not_depend_on_the_listing(names: list[str]) -> None:
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


@given(st.lists(st.integers(0, 10**9), unique=True))
def test_natural_order_counts(numbers: list[int]) -> None:
    assert sorted((f"class {n}" for n in numbers), key=natural_key) == [f"class {n}" for n in sorted(numbers)]

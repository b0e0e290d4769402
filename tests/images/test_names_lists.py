"""Names of two hundred classes: an error names a few of them and counts the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldmark.errors import DatasetError, RecipeError
from fieldmark.evaluating import require_costs
from fieldmark.images.corrections import apply

CLASSES = tuple(f"class {number:03d}" for number in range(200))


def test_errors_name_a_few_of_many_classes() -> None:
    with pytest.raises(RecipeError) as costs:
        require_costs((1, 10), CLASSES)
    with pytest.raises(DatasetError) as table:
        apply(Path("corrections.csv"), {"a.jpg": "none"}, [("a.jpg", CLASSES[0], "")], CLASSES)
    for error in (costs.value, table.value):
        text = f"{error} {error.hint}"
        assert "class 005 and 194 more" in text
        assert "class 006" not in text

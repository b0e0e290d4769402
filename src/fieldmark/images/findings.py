"""Findings: what a check of a dataset found, as plain values that JSON, the terminal and the report show alike."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Cost = Literal["none", "pixels", "embeddings", "fits"]
Weight = Literal["problem", "note"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing found: the images it concerns, and a sentence for people."""

    sentence: str
    paths: tuple[str, ...] = ()
    weight: Weight = "problem"  # "note": worth knowing, and no accusation
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "sentence": self.sentence,
            "paths": list(self.paths),
            "weight": self.weight,
            "numbers": dict(self.numbers),
        }


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The answer of one check."""

    name: str
    question: str
    cost: Cost
    findings: tuple[Finding, ...] = ()
    answer: str = ""  # a sentence that answers the question, whatever was found
    not_run: str = ""  # why the check did not run; empty where it did
    hint: str = ""  # what to do so that it runs
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)  # what was measured, of all images

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in `audit --json` under "checks"."""
        return {
            "name": self.name,
            "question": self.question,
            "cost": self.cost,
            "status": "not run" if self.not_run else "done",
            "reason": self.not_run or None,
            "hint": self.hint or None,
            "answer": self.answer,
            "findings": [finding.to_json() for finding in self.findings],
            "numbers": dict(self.numbers),
        }

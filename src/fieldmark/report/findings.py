"""Findings: the panel on what the checks of an audit answered, where they were run."""

from __future__ import annotations

from typing import Any

from fieldmark.report.context import Context, Data
from fieldmark.report.text import urgency

FINDINGS_SHOWN = 10  # of each check; the JSON has them all
PATHS_SHOWN = 8  # of each finding
SUSPECTS_SHOWN = 12


def resolve_checks(context: Context) -> Data:
    """Return each check's answer, what accuses the data first, the probes for shortcuts, and the accused labels."""
    audit, root = context.contents.audit, context.contents.root
    # Audits before 2026-11-24 did not tell whom to accuse of those they listed.
    suspects = [row for row in audit.get("suspected_labels") or [] if row.get("accused", True)]
    images = context.thumbnails([row["path"] for row in suspects[:SUSPECTS_SHOWN]])
    checks = sorted(audit.get("checks") or [], key=urgency)
    return {
        "folder": root.name if root else "DIR",
        "checks": [_ordered(check) | {"weight": WEIGHTS[urgency(check)]} for check in checks],
        "findings_shown": FINDINGS_SHOWN,
        "paths_shown": PATHS_SHOWN,
        "probes": _probes(checks),
        "suspects": [row | {"thumbnail": image} for row, image in zip(suspects, images, strict=False)],
        "suspected": len(suspects),
        "corrections": audit.get("corrections") or [],
    }


WEIGHTS = ("problem", "note", "none", "not run")


def _ordered(check: dict[str, Any]) -> Data:
    """The check with its problems before its notes."""
    return check | {"findings": sorted(check.get("findings", []), key=lambda finding: finding["weight"] == "note")}


def _probes(checks: list[dict[str, Any]]) -> list[Data]:
    """What the probes for shortcuts reached: {"probe", "accuracy", "interval", "chance", "verdict"}, the best first."""
    found = next((check.get("numbers") or {} for check in checks if check.get("name") == "shortcuts"), {})
    probes = found.get("probes", found)
    rows = [
        {"probe": name, **numbers}
        for name, numbers in probes.items()
        if isinstance(numbers, dict) and {"accuracy", "interval", "chance"} <= set(numbers)
    ]
    return sorted(rows, key=lambda row: -row["accuracy"])

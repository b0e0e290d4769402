"""Theme: the colours and letters of the report, which the service's page shares."""

from __future__ import annotations

from importlib import resources


def read_theme() -> str:
    """The style sheet that comes before all others: nothing but variables."""
    return (resources.files("fieldmark") / "report" / "static" / "theme.css").read_text(encoding="utf-8")

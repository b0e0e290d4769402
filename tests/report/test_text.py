"""Text: lines for a terminal, which no name from outside may steer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fieldmark.report import text

RED = "\x1b[31m"


def test_no_sentence_about_a_run_reaches_the_terminal_unescaped(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    info = json.loads((folder / "run.json").read_text("utf-8"))
    info["notes"], info["choices"] = [f"class cat{RED} is small"], [f"as for dog{RED}"]
    (folder / "run.json").write_text(json.dumps(info), "utf-8")
    audit = json.loads((folder / "audit.json").read_text("utf-8"))
    audit |= {"leaks": [{}], "checks": [{"name": "leaks", "answer": f"one of bird{RED}"}]}
    (folder / "audit.json").write_text(json.dumps(audit), "utf-8")
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    metrics["overfitting"]["sentence"] = metrics["learning_curve"]["sentence"] = f"more of fish{RED}"
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    lines = text.run_lines(folder)
    assert [line for line in lines if not line.isprintable()] == []
    assert "note: class cat\\x1b[31m is small" in lines
    assert sum("\\x1b[31m" in line for line in lines) == 5

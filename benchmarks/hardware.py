"""What a benchmark ran on, where its data lie, and where its results go."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fieldmark", "torch", "onnxruntime", "scikit-learn", "numpy", "pillow")


def hardware() -> dict[str, Any]:
    """Processor, cores, load and versions, to stand beside every number."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }


def shared_data() -> Path:
    """The folder of real datasets: FIELDMARK_DATA, or the one beside the checkout."""
    folder = Path(os.environ.get("FIELDMARK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "horses-or-humans").is_dir():
        raise SystemExit(f"{folder} holds no horses-or-humans; name the folder with FIELDMARK_DATA")
    return folder


def write_results(name: str, results: dict[str, Any]) -> None:
    """Write results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")

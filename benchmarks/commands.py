"""How long each command takes and how much memory it holds, on horses-or-humans and on 100,000 small files.

    python benchmarks/commands.py            # a few minutes; writes results/commands.json

Each command is a process of its own, as a user starts it; its peak memory is what the system counted for it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from hardware import hardware, shared_data, write_results
from measuring import measure


def many_small_images(folder: Path, count: int) -> Path:
    """A dataset of hard links to 100 images."""
    originals = folder / "originals"
    originals.mkdir()
    for number in range(100):
        Image.new("RGB", (32, 32), (number, 255 - number, 7 * number % 256)).save(originals / f"{number}.png")
    for number in range(count):
        path = folder / "many" / str(number % 10) / f"{number // 1000}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals / f"{number % 100}.png", path)
    return folder / "many"


def main() -> None:
    data = shared_data() / "horses-or-humans"
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        image = next((data / "validation" / "horses").iterdir())
        rows["--help"] = measure(["--help"], folder, cache, runs=5)
        for number in range(3):
            shutil.rmtree(cache, ignore_errors=True)
            rows[f"train, cold cache ({number + 1})"] = measure(
                ["train", data, "--out", f"cold-{number}"], folder, cache
            )
        for number in range(3):
            arguments = ["train", data, "--out", f"warm-{number}", "--seed", str(number + 1)]
            rows[f"train, again with seed {number + 1}"] = measure(arguments, folder, cache)
        rows["predict, one image"] = measure(["predict", "cold-0", image], folder, cache, runs=5)
        rows["predict, 256 images"] = measure(["predict", "cold-0", data / "validation", "--recursive"], folder, cache)
        rows["evaluate, 256 images"] = measure(["evaluate", "cold-0", data / "validation"], folder, cache)
        rows["audit, cold cache"] = measure(["audit", data], folder, Path(name) / "audit-cache")
        rows["audit, 100,000 small files"] = measure(["audit", many_small_images(folder, 100_000)], folder, cache)
        rows["train course, 150 px, 1 epoch"] = measure(
            ["train", data, "--network", "course", "--image-size", "150", "--epochs", "1", "--out", "course"],
            folder,
            cache,
        )
        rows["train convnet, 1 epoch"] = measure(
            ["train", data, "--network", "convnet", "--epochs", "1", "--out", "convnet"], folder, cache
        )
        accuracy = {
            f"{kind}-{number}": json.loads((folder / f"{kind}-{number}" / "metrics.json").read_text())["validation"]
            for kind in ("cold", "warm")
            for number in range(3)
        }
    right = {run: f"{round(numbers['accuracy'] * numbers['n'])}/{numbers['n']}" for run, numbers in accuracy.items()}
    write_results("commands", {"hardware": hardware(), "commands": rows, "validation": right})
    for command, row in rows.items():
        print(f"{command:<34} {row['seconds']:>8.2f} s {row['peak_mb']:>7} MB")
    print("right on validation:", right)


if __name__ == "__main__":
    main()

"""How well does a network learn from scratch with the defaults, over seeds, and how long does it take?

    python benchmarks/from_scratch.py            # about fifteen minutes; writes results/from_scratch.json

Every training is a command as a user would give it; accuracies are of the exported file after the last epoch, on
images that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hardware import hardware, shared_data, write_results

FIELDMARK = Path(sys.executable).parent / "fieldmark"

# The dataset, its number of seeds, more options, and the split that says how good the network is.
TRAININGS: tuple[tuple[str, int, tuple[str, ...], str], ...] = (
    ("horses-or-humans", 5, (), "validation"),
    ("rice-leaf", 3, (), "test"),
    ("happy-or-sad", 3, ("--validation-fraction", "0"), "train"),
)


def main() -> None:
    """Train on every dataset with every seed, print a line each, write the results."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--network", default="convnet")
    options.add_argument("--epochs", type=int, help="fewer than the network's own, to try the script")
    arguments = options.parse_args()
    more = [f"--network={arguments.network}"] + ([f"--epochs={arguments.epochs}"] if arguments.epochs else [])
    machine, rows = hardware(), []
    with tempfile.TemporaryDirectory() as name:
        for dataset, seeds, own, split in TRAININGS:
            trained = [train(dataset, seed, [*more, *own], split, Path(name)) for seed in range(seeds)]
            rows.append(summary(dataset, split, trained))
            print(line(rows[-1]), flush=True)
    write_results("from_scratch", {"hardware": machine, "network": arguments.network, "datasets": rows})


def train(dataset: str, seed: int, options: list[str], split: str, folder: Path) -> dict[str, Any]:
    """One training as a process: accuracy and n of the split, seconds of the command and of its training stage."""
    run = folder / f"{dataset}-{seed}"
    command = [FIELDMARK, "train", shared_data() / dataset, f"--seed={seed}", f"--out={run}", "--quiet", *options]
    started = time.perf_counter()
    environment = {**os.environ, "FIELDMARK_CACHE_DIR": str(folder / "cache")}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    numbers = json.loads((run / "metrics.json").read_text())[split]
    stages = json.loads((run / "run.json").read_text())["seconds"]
    epochs = list(csv.DictReader((run / "history.csv").open()))
    return {
        "seed": seed,
        "accuracy": numbers["accuracy"],
        "n": numbers["n"],
        "seconds": round(seconds, 1),
        "seconds_training": round(stages["train"], 1),
        "images_per_second": round(statistics.median(float(epoch["images_per_second"]) for epoch in epochs), 1),
    }


def summary(dataset: str, split: str, trained: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds of one dataset."""
    accuracies = [each["accuracy"] for each in trained]
    return {
        "dataset": dataset,
        "split": split,
        "mean": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "least": min(accuracies),
        "longest_training_seconds": max(each["seconds_training"] for each in trained),
        "seeds": trained,
    }


def line(row: dict[str, Any]) -> str:
    """One dataset, to read."""
    each = " ".join(f"{seed['accuracy']:.3f}" for seed in row["seeds"])
    rate = statistics.median(seed["images_per_second"] for seed in row["seeds"])
    return (
        f"{row['dataset']:<18} {row['split']:<10} n {row['seeds'][0]['n']:<5} mean {row['mean']:.4f}  ({each})  "
        f"training at most {row['longest_training_seconds']:.0f} s, {rate:.0f} images/s"
    )


if __name__ == "__main__":
    main()

"""Training from scratch on 50,000 generated 300 px images (13 GB of pixels): memory and speed, against 1,000 of them.

    python benchmarks/larger_than_memory.py [--images 50000] [--steps 40]

Takes some 20 GB of temporary files and, for making, reading and answering all images, about half an hour. Peak memory
is what the system counted for the whole command; images a second are those of history.csv, reading included.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hardware import hardware, write_results
from measuring import measure

SIDE = 300
FRAMES = 50  # images of one sequence: a window that moves over one larger picture
SMALL = 1000


def generate(folder: Path, count: int) -> Path:
    """Two classes, warm and cold pictures, in sequences; every image differs from every other."""
    generator = np.random.default_rng(0)
    for sequence in range(-(-count // FRAMES)):
        name = ("cold", "warm")[sequence % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        noise[:, :, 0 if name == "cold" else 2] //= 2
        picture = Image.fromarray(noise).resize((SIDE * 2, SIDE * 2), Image.Resampling.BICUBIC)
        for frame in range(min(FRAMES, count - sequence * FRAMES)):
            left, top = 6 * frame, int(generator.integers(0, SIDE))
            window = picture.crop((left, top, left + SIDE, top + SIDE))
            window.save(folder / name / f"{name}{sequence:04}-{frame:02}.jpg", quality=85)
    return folder


def train(data: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Train one epoch of `steps` steps; images a second, seconds and peak memory."""
    arguments = ["train", data, "--network", "course", "--image-size", str(SIDE), "--epochs", "1"]
    choices = ["--steps-per-epoch", str(steps), "--validation-fraction", "0.02", "--out", f"run-{data.name}"]
    row: dict[str, Any] = measure([*arguments, *choices], folder, folder / "cache")
    with (folder / f"run-{data.name}" / "history.csv").open(newline="") as file:
        row["images_per_second"] = float(next(csv.DictReader(file))["images_per_second"])
    return row


def main() -> None:
    """Measure, write the results, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=50_000)
    options.add_argument("--steps", type=int, default=40, help="training steps of 128 images")
    arguments = options.parse_args()
    machine, rows = hardware(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (min(SMALL, arguments.images), arguments.images):
            rows[count] = train(generate(folder / f"images-{count}", count), folder, arguments.steps)
    small, large = rows.values() if len(rows) == 2 else [*rows.values()] * 2
    ratio = large["images_per_second"] / small["images_per_second"]
    write_results("larger_than_memory", {"hardware": machine, "steps": arguments.steps, "rows": rows, "ratio": ratio})
    for count, row in rows.items():
        print(
            f"{count:>7,} images {row['images_per_second']:7.1f} images/s {row['peak_mb']:6} MB {row['seconds']:8.0f} s"
        )
    print(f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()

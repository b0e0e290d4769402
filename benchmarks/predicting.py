"""`fieldmark predict` against ONNX Runtime alone, its first answer, and its memory for 1,000 to 100,000 images.

    python benchmarks/predicting.py [--turns 5] [--images 1000] [--most 100000]

Bare: one session with default options, batches of 16, input already in memory. Ours: from files, in the order given,
in a process that has loaded the classifier (the first answer, measured apart, is of the whole command).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from commands import measure
from course_against_keras import spread
from fieldmark import classifier
from fieldmark.images import formats
from fieldmark.images.listing import list_images
from hardware import hardware, shared_data, write_results

BARE_BATCH = 16


def copies(folder: Path, count: int) -> Path:
    """`count` JPEGs in one folder: hard links to copies of the 1,283 images of horses-or-humans."""
    folder.mkdir(parents=True)
    originals = sorted((shared_data() / "horses-or-humans").rglob("*.jpg"))
    for number in range(count):
        original = originals[number % len(originals)]
        first = folder / f"{number % len(originals)}.jpg"
        if number < len(originals):
            shutil.copyfile(original, first)
        else:
            os.link(first, folder / f"{number}.jpg")
    return folder


def bare_rate(model: Path, pixels: np.ndarray[Any, Any]) -> float:
    """Images a second of ONNX Runtime alone; the session is opened before the clock starts."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session.run(["probabilities"], {"images": pixels[:BARE_BATCH]})
    start = time.perf_counter()
    for first in range(0, len(pixels), BARE_BATCH):
        session.run(["probabilities"], {"images": pixels[first : first + BARE_BATCH]})
    return len(pixels) / (time.perf_counter() - start)


def our_rate(loaded: classifier.Classifier, folder: Path) -> float:
    """Images a second from files to answers."""
    start = time.perf_counter()
    answered = sum(prediction.problem is None for prediction in loaded.stream(list_images([str(folder)])))
    return answered / (time.perf_counter() - start)


def take_turns(run: Path, folder: Path, turns: int) -> dict[str, Any]:
    """Both contenders in turns; who begins changes every turn."""
    loaded = classifier.load(run)
    pixels = np.stack([formats.load(Path(path), loaded.preprocessing) for path in list_images([str(folder)])])
    rates: dict[str, list[float]] = {"bare": [], "predict": []}
    contenders = {
        "bare": lambda: bare_rate(run / "model.onnx", pixels),
        "predict": lambda: our_rate(loaded, folder),
    }
    our_rate(loaded, folder)  # warm-up
    for turn in range(turns):
        for name in list(contenders) if turn % 2 == 0 else list(reversed(contenders)):
            rates[name].append(contenders[name]())
        print(turn + 1, {name: round(values[-1], 1) for name, values in rates.items()}, file=sys.stderr)
    return {
        "images": len(pixels),
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio": spread([ours / theirs for ours, theirs in zip(rates["predict"], rates["bare"], strict=True)]),
    }


def main() -> None:
    """Measure, write the results, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--most", type=int, default=100_000, help="images of the largest folder; memory is measured")
    options.add_argument("--run", type=Path, help="a run folder; otherwise one is trained on horses-or-humans")
    arguments = options.parse_args()
    machine = hardware()
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        os.environ["FIELDMARK_CACHE_DIR"] = str(cache)
        run = arguments.run.absolute() if arguments.run else folder / "run"
        if not arguments.run:
            measure(["train", shared_data() / "horses-or-humans", "--out", run], folder, cache)
        results: dict[str, Any] = {"hardware": machine, "turns": arguments.turns}
        images = copies(folder / "images", arguments.images)
        one = sorted(images.iterdir())[0]
        results["first_answer"] = measure(["predict", run, one], folder, cache, runs=9)
        results["memory"] = {}
        for count in sorted({1000, 10_000, arguments.most}):
            if count <= arguments.most:
                many = copies(folder / f"many-{count}", count)
                results["memory"][count] = measure(["predict", run, many, "--json"], folder, cache)
        # Last, because a child's peak memory begins at that of the process that starts it.
        results["rate"] = take_turns(run, images, arguments.turns)
    write_results("predicting", results)
    rate = results["rate"]
    for contender, values in rate["images_per_second"].items():
        print(f"{contender:<14} {values['median']:7.1f} images/s ({values['least']:.1f}-{values['greatest']:.1f})")
    ratio, first = rate["ratio"], results["first_answer"]
    print(f"{'ratio':<14} {ratio['median']:7.2f} ({ratio['least']:.2f}-{ratio['greatest']:.2f})")
    print(f"{'first answer':<14} {first['seconds']:7.2f} s (slowest of {first['runs']}: {first['slowest']:.2f} s)")
    for count, row in results["memory"].items():
        print(f"{count:>7,} images {row['peak_mb']:7} MB {row['seconds']:9.1f} s")


if __name__ == "__main__":
    main()

"""`fieldmark predict` against ONNX Runtime alone, its first answer, and its memory for 1,000 to 100,000 images.

    python benchmarks/predicting.py [--turns 5] [--images 1000] [--most 100000]

Bare: one session with default options, batches of 16, input already in memory. Ours: from files, in the order given,
in a process that has loaded the classifier (the first answer, measured apart, is of the whole command).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from fieldmark import classifier
from fieldmark.images import formats
from fieldmark.images.listing import list_images
from hardware import hardware, write_results
from measuring import answering_options, bare_rate, copies, in_turns, measure, ratio, spread, trained


def our_rate(loaded: classifier.Classifier, folder: Path) -> float:
    """Images a second from files to answers."""
    start = time.perf_counter()
    answered = sum(prediction.problem is None for prediction in loaded.stream(list_images([str(folder)])))
    return answered / (time.perf_counter() - start)


def take_turns(run: Path, folder: Path, turns: int) -> dict[str, Any]:
    """Both contenders in turns; who begins changes every turn."""
    loaded = classifier.load(run)
    pixels = np.stack([formats.load(Path(path), loaded.preprocessing) for path in list_images([str(folder)])])
    contenders = {
        "bare": lambda: bare_rate(run / "model.onnx", pixels),
        "predict": lambda: our_rate(loaded, folder),
    }
    our_rate(loaded, folder)  # warm-up
    rates = in_turns(contenders, turns)
    return {
        "images": len(pixels),
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio": ratio(rates["predict"], rates["bare"]),
    }


def main() -> None:
    """Measure, write the results, print the table."""
    options = answering_options(__doc__)
    options.add_argument("--most", type=int, default=100_000, help="images of the largest folder; memory is measured")
    arguments = options.parse_args()
    machine = hardware()
    with trained(arguments.run) as (folder, cache, run):
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
    if not arguments.no_write:
        write_results("predicting", results)
    show(results)


def show(results: dict[str, Any]) -> None:
    """The table."""
    rate = results["rate"]
    for contender, values in rate["images_per_second"].items():
        print(f"{contender:<14} {values['median']:7.1f} images/s ({values['least']:.1f}-{values['greatest']:.1f})")
    times, first = rate["ratio"], results["first_answer"]
    print(f"{'ratio':<14} {times['median']:7.2f} ({times['least']:.2f}-{times['greatest']:.2f})")
    print(f"{'first answer':<14} {first['seconds']:7.2f} s (slowest of {first['runs']}: {first['slowest']:.2f} s)")
    for count, row in results["memory"].items():
        print(f"{count:>7,} images {row['peak_mb']:7} MB {row['seconds']:9.1f} s")


if __name__ == "__main__":
    main()

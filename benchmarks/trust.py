"""Can the numbers be trusted? Intervals, calibration and unfamiliar images, measured.

Run: python benchmarks/trust.py [intervals|calibration|unfamiliar ...] [--draws 1000] [--network NAME]. What is known of
other work with the same data: the intervals are those that metrics.json holds; validation is used to report only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fieldmark
from fieldmark.classifier import Classifier
from fieldmark.evaluation.curves import roc
from fieldmark.evaluation.intervals import grouped_intervals, wilson
from fieldmark.evaluation.predictions import read_csv
from fieldmark.images import formats
from hardware import RESULTS, hardware, shared_data, write_results

SETS = ("horses-or-humans", "happy-or-sad", "rice-leaf")
# Of groups: each of 8 images, each of 25, from 1 to 60 in equal ratios, and every image on its own.
SIZES = {
    "8 each": lambda groups: np.full(groups, 8),
    "25 each": lambda groups: np.full(groups, 25),
    "1 to 60": lambda groups: np.maximum(1, np.geomspace(1, 60, groups).round().astype(int)),
    "no groups": lambda groups: np.ones(8 * groups, dtype=int),
}
ACCURACIES = (0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
GROUPS = (10, 20, 40, 70)
LIKENESSES = (0.0, 0.1, 0.3, 0.5)


def interval_coverage(draws: int) -> list[dict[str, Any]]:
    """How often the 95 % interval holds the truth in each scenario, and how wide it is in the mean."""
    rows = []
    scenarios = itertools.product(SIZES, GROUPS, LIKENESSES, ACCURACIES)
    for seed, (kind, groups, likeness, accuracy) in enumerate(scenarios):
        if kind == "no groups" and likeness:
            continue
        bounds = _simulated(accuracy, SIZES[kind](groups), likeness, draws=draws, seed=seed)
        held = float(((bounds[:, 0] <= accuracy) & (accuracy <= bounds[:, 1])).mean())
        width = float((bounds[:, 1] - bounds[:, 0]).mean())
        scenario = {"sizes": kind, "groups": groups, "likeness": likeness, "accuracy": accuracy}
        rows.append(scenario | {"coverage": held, "width": width, "draws": draws})
    return rows


def _simulated(
    accuracy: float, sizes: npt.NDArray[np.int64], likeness: float, *, draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """Intervals (draws, 2) of evaluations drawn from a beta-binomial model; likeness 0: images are independent."""
    random = np.random.default_rng(seed)
    shares = np.full((draws, len(sizes)), accuracy)
    if likeness:
        strength = (1 - likeness) / likeness
        shares = random.beta(accuracy * strength, (1 - accuracy) * strength, shares.shape)
    right = random.binomial(sizes[None], shares)
    if (sizes == 1).all():
        distinct, place = np.unique(right.sum(axis=1), return_inverse=True)
        return np.array([wilson(int(total), len(sizes)) for total in distinct])[place.ravel()]
    if (sizes == sizes[0]).all():
        right = np.sort(right, axis=1)  # the order of groups of one size does not matter: many draws are the same
    distinct, place = np.unique(right, axis=0, return_inverse=True)
    return grouped_intervals(distinct, sizes)[place.ravel()]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the scenarios of `interval_coverage` say together; the range is checked within three deviations."""
    coverage = np.array([row["coverage"] for row in rows])
    slack = 3 * np.sqrt(0.95 * 0.05 / rows[0]["draws"])
    return {
        "scenarios": len(rows),
        "mean": float(coverage.mean()),
        "least": float(coverage.min()),
        "most": float(coverage.max()),
        "share_in_93_97": float(((coverage >= 0.93) & (coverage <= 0.97)).mean()),
        "share_below_93": float((coverage < 0.93).mean()),
        "share_surely_below_93": float((coverage < 0.93 - slack).mean()),
        "share_above_97": float((coverage > 0.97).mean()),
    }


def calibration(runs: dict[str, Path]) -> list[dict[str, Any]]:
    """Calibration error of each set's splits that were not trained on, with the temperature."""
    rows = []
    for name, folder in runs.items():
        metrics, temperature = fieldmark.Run(folder).metrics, fieldmark.load(folder).metadata["temperature"]
        for split in ("validation", "test"):
            numbers = metrics.get(split)
            if numbers:
                fields = ("n", "groups", "accuracy", "accuracy_interval", "ece", "log_loss", "brier", "unfamiliar")
                row = {"set": name, "split": split, "temperature": temperature}
                rows.append(row | {field: numbers[field] for field in fields})
    return rows


def unfamiliar(runs: dict[str, Path], most: int = 200) -> list[dict[str, Any]]:
    """For each classifier: false alarms on its validation, and how well images of the other sets are told from it."""
    rows = []
    for name, folder in runs.items():
        run, classifier = fieldmark.Run(folder), fieldmark.load(folder)
        own = read_csv(folder / "predictions.csv").select("validation")
        alarms = float(np.mean(own.unfamiliar)) if own.unfamiliar is not None else None
        inside = _similarity(classifier, [Path(run.info["root"]) / path for path in own.paths])
        for other in SETS:
            if other == name:
                continue
            paths = _some(shared_data() / other, most)
            outside, flagged = _similarity(classifier, paths), _flagged(classifier, paths)
            labels = np.array([1] * len(inside) + [0] * len(outside))
            curve = roc(np.concatenate([inside, outside]), labels, [str(row) for row in range(len(labels))])
            rows.append(
                {
                    "set": name,
                    "other": other,
                    "auroc": curve["auc"] if curve else None,
                    "flagged": flagged,
                    "n_other": len(paths),
                    "false_alarms": alarms,
                    "n_validation": len(own),
                }
            )
    return rows


def bank_cost(folder: Path, images: int = 160) -> dict[str, Any]:
    """What telling familiarity costs: images a second with and without it, and bytes of the file."""
    classifier = fieldmark.load(folder)
    size = (classifier.preprocessing.height, classifier.preprocessing.width)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *size, 3), dtype=np.uint8)
    rates = {}
    for name, answer in (("without", classifier.probabilities), ("with", classifier.answers)):
        answer(pixels[:16])
        started = time.perf_counter()
        answer(pixels)
        rates[f"images_per_second_{name}"] = images / (time.perf_counter() - started)
    return {
        **rates,
        "n": images,
        "bank_rows": classifier.metadata["familiarity"]["rows"],
        "file_bytes": (folder / "model.onnx").stat().st_size,
    }


def _similarity(classifier: Classifier, paths: list[Path]) -> npt.NDArray[np.float64]:
    """The similarity to the nearest class, which the familiarity is a rising function of."""
    parts = []
    for start in range(0, len(paths), 16):
        pixels = np.stack([formats.load(path, classifier.preprocessing) for path in paths[start : start + 16]])
        (similarity,) = classifier.session.run(["similarity"], {"images": pixels})
        parts.append(similarity.max(axis=1))
    return np.concatenate(parts).astype(np.float64)


def _flagged(classifier: Classifier, paths: list[Path]) -> float:
    return float(np.mean([answer.unfamiliar for answer in classifier.predict(paths)]))


def _some(folder: Path, most: int) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [paths[row] for row in np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)]


def main() -> None:
    """Measure what is asked for, print a table, and put it into results/trust.json beside what stands there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["intervals", "calibration", "unfamiliar"])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--network", default="efficientnet-lite0")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"hardware": hardware()}
    if "intervals" in arguments.parts:
        rows = interval_coverage(arguments.draws)
        results["intervals"] = {"summary": summary(rows), "scenarios": rows}
        print(json.dumps(results["intervals"]["summary"], indent=2))
    if {"calibration", "unfamiliar"} & set(arguments.parts):
        with tempfile.TemporaryDirectory() as folder:
            runs = {
                name: fieldmark.train(shared_data() / name, out=Path(folder) / name, network=arguments.network).folder
                for name in SETS
            }
            for part, measure in (("calibration", calibration), ("unfamiliar", unfamiliar)):
                if part in arguments.parts:
                    results[part] = measure(runs)
                    for row in results[part]:
                        print("  ".join(f"{name} {value}" for name, value in row.items()))
            results["bank"] = bank_cost(runs[SETS[0]])
            results["learning_curve"] = {
                name: fieldmark.Run(run).metrics["learning_curve"] for name, run in runs.items()
            }
    name = "trust" if arguments.network == "efficientnet-lite0" else f"trust-{arguments.network}"
    stored = RESULTS / f"{name}.json"
    before = json.loads(stored.read_text()) if stored.exists() else {}
    write_results(name, before | results)


if __name__ == "__main__":
    main()

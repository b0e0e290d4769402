"""How fast is the pretrained path, and what does fine-tuning bring? On horses-or-humans and rice-leaf.

    python benchmarks/pretrained.py            # about 20 minutes; writes results/pretrained.json
    python benchmarks/pretrained.py --quick    # every step once on little, to see that it runs; writes nothing

Trainings are processes of their own, as a user starts them. Embeddings are computed in turns with bare ONNX Runtime:
the same graph, batches of 16, pixels already in memory, as many threads as it likes. The images of rice-leaf come in
threes (one photograph, turned), which stay together; its test split is read once a seed, and nothing is chosen on it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fieldmark import runtime
from fieldmark.embedding import BATCH, embed, find_backbone
from fieldmark.images.read import Images, read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from fieldmark.runtime import open_session
from hardware import hardware, shared_data, write_results
from measuring import measure

TURNS = 6
IMAGES = 512  # of one turn


def trainings(data: Path, folder: Path, runs: int, options: list[str]) -> dict[str, list[dict[str, float]]]:
    """The whole command, with nothing in the cache and then again with another seed."""
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for number in range(runs):
        cache = folder / f"cache-{number}"
        for kind, seed in (("cold", 0), ("warm", 1)):
            arguments = ["train", data, "--out", f"{kind}-{number}", "--seed", str(seed), *options]
            rows[kind].append(measure(arguments, folder, cache))
            seconds = json.loads((folder / f"{kind}-{number}" / "run.json").read_text())["seconds"]
            print(
                f"train, {kind}: {rows[kind][-1]['seconds']} s, {rows[kind][-1]['peak_mb']} MB, {seconds}", flush=True
            )
    return rows


def embedding(images: Images, preprocessing: Preprocessing, folder: Path, turns: int) -> dict[str, Any]:
    """Images a second of `embed` and of bare ONNX Runtime, in turns, and the ratio of each turn."""
    backbone = find_backbone(preprocessing)
    session = open_session(backbone.path)
    pixels = images.pixels(range(len(images.dataset)))
    cache = os.environ["FIELDMARK_CACHE_DIR"]
    rows = []
    for turn in range(turns + 1):  # the first warms up and does not count
        start = time.perf_counter()
        for first in range(0, len(pixels), BATCH):
            session.run([runtime.EMBEDDING], {runtime.INPUT: pixels[first : first + BATCH]})
        middle = time.perf_counter()
        os.environ["FIELDMARK_CACHE_DIR"] = str(folder / f"embeddings-{turn}")  # an empty one: all is computed
        embed(images, backbone)
        bare, ours = len(pixels) / (middle - start), len(pixels) / (time.perf_counter() - middle)
        os.environ["FIELDMARK_CACHE_DIR"] = cache
        if turn:
            rows.append({"bare": round(bare, 1), "embed": round(ours, 1), "ratio": round(ours / bare, 3)})
    return {name: spread([row[name] for row in rows]) for name in ("bare", "embed", "ratio")}


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "least": min(values), "largest": max(values), "n": len(values)}


def fine_tuning(data: Path, folder: Path, cache: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """Frozen and fine-tuned: right answers on held-out groups of the training split and on the test split."""
    result: dict[str, Any] = {}
    for kind, more in (("frozen", []), ("fine-tuned", ["--fine-tune", *options])):
        out = f"{kind}-{seed}"
        size = options[options.index("--image-size") :][:2] if "--image-size" in options else []
        result[kind] = measure(["train", data, "--out", out, "--seed", str(seed), *(more or size)], folder, cache)
        metrics = json.loads((folder / out / "metrics.json").read_text())
        for split in ("validation", "test"):
            fields = ("accuracy", "accuracy_interval", "log_loss", "n", "groups")
            result[kind][split] = {name: metrics[split][name] for name in fields}
    with (folder / f"fine-tuned-{seed}" / "history.csv").open(newline="") as file:
        rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    result["images_per_second"] = spread(rates)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every step once, on little")
    parser.add_argument("--seeds", type=int, default=3, help="trainings on rice-leaf, frozen and fine-tuned each")
    parser.add_argument("--horses", type=Path, help="another dataset than horses-or-humans, for the times")
    parser.add_argument("--rice", type=Path, help="another dataset than rice-leaf, with a test split")
    arguments = parser.parse_args()
    quick = arguments.quick
    horses = arguments.horses or shared_data() / "horses-or-humans"
    rice = arguments.rice or shared_data() / "rice-leaf"
    size = 64 if quick else 224
    options = ["--image-size", str(size)] if quick else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FIELDMARK_CACHE_DIR"] = str(folder / "cache-0")
        results: dict[str, Any] = {"hardware": hardware()}
        results["train"] = trainings(horses, folder, 1 if quick else 3, options)

        preprocessing = Preprocessing(width=size, height=size, mean=127.0, deviation=128.0)
        dataset = scan(horses)
        images = read(dataset.keep(dataset.rows("train")[: 48 if quick else IMAGES]), preprocessing)
        results["embedding"] = embedding(images, preprocessing, folder, 1 if quick else TURNS)
        for what, row in results["embedding"].items():
            print(f"{what:<8} {row['median']:>8} ({row['least']}-{row['largest']}), {row['n']} turns", flush=True)

        short = [*options, "--epochs", "1"] if quick else []
        results["rice-leaf"] = []
        for seed in range(1 if quick else arguments.seeds):
            row = fine_tuning(rice, folder, folder / "cache-rice", seed, short)
            results["rice-leaf"].append(row)
            for kind in ("frozen", "fine-tuned"):
                right = {split: f"{row[kind][split]['accuracy']:.3f}" for split in ("validation", "test")}
                print(f"rice-leaf, seed {seed}, {kind}: {right}, {row[kind]['seconds']} s", flush=True)
            print(f"fine-tuning: {row['images_per_second']['median']} images/s", flush=True)
    if not quick:
        write_results("pretrained", results)


if __name__ == "__main__":
    main()

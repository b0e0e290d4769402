"""How fast images are read, against `keras.utils.image_dataset_from_directory`, in turns in one run.

    python benchmarks/reading.py [--turns 3] [--images 500] [--photos 500] [--files 200000]

Four questions: (a) the 300 px files of horses-or-humans as JPEG and as PNG, first pass (scan, decode, resize, write
the cache) and later passes (from the cache); (b) generated 12-megapixel JPEGs, resized to 224, and how far the result
is from full decoding; (c) GB/s out of the cache; (d) listing many small files. Keras's environment is that of
course_against_keras.py. About a quarter of an hour and 6 GB of temporary files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from course_against_keras import keras_python
from fieldmark.images import formats
from fieldmark.images.read import Images, read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from hardware import hardware, shared_data, write_results
from measuring import spread

HERE = Path(__file__).parent
BATCH = 32  # Keras's default
PHOTO = (4000, 3000)
ORIGINALS = 8  # generated photos; the others are these, flipped and with other contrast
COMPARED = 20  # photos also decoded in full

LISTING = """
import json, sys, time
from pathlib import Path
from fieldmark.images.scan import scan
start = time.perf_counter()
images = len(scan(Path(sys.argv[1])))
seconds = time.perf_counter() - start
# Not ru_maxrss, which begins at the memory of the process that started this one.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([images, seconds, int(peak) / 1024]))
"""


class Keras:
    """Keras in its own process; while it works we wait, and the other way round."""

    def __init__(self) -> None:
        command = [keras_python(), HERE / "keras_reading.py"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._answer()

    def rate(self, folder: Path, image_size: int) -> float:
        """Images a second of one pass."""
        print(json.dumps({"folder": str(folder), "image_size": image_size}), file=self.process.stdin, flush=True)
        answer = self._answer()
        return float(answer["images"] / answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"Keras ended with exit code {self.process.wait()}; its messages are above")
        return dict(json.loads(line))


def first_pass(folder: Path, image_size: int, cache: Path) -> tuple[float, Images]:
    """Images a second of scan, decode, resize and writing the cache; and the images."""
    os.environ["FIELDMARK_CACHE_DIR"] = str(cache)
    start = time.perf_counter()
    images = read(scan(folder), Preprocessing(width=image_size, height=image_size))
    assert images.decoded == len(images.dataset), "the cache was not empty, or some images are the same"
    return len(images.dataset) / (time.perf_counter() - start), images


def later_pass(images: Images) -> float:
    """Images a second of a pass over all images in batches, in another order, as an epoch of training reads them.

    One thread a core, as Keras has them, each with a batch's memory that it uses again.
    """
    order = np.random.default_rng(0).permutation(len(images.dataset))
    batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    memory = threading.local()

    def read_batch(rows: np.ndarray[Any, Any]) -> int:
        if not hasattr(memory, "batch"):
            memory.batch = images.pixels(rows[:1]).repeat(BATCH, axis=0)
        return len(images.pixels(rows, out=memory.batch[: len(rows)]))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        start = time.perf_counter()
        seen = sum(threads.map(read_batch, batches))
        return seen / (time.perf_counter() - start)


def compare(keras: Keras, folder: Path, image_size: int, turns: int) -> dict[str, Any]:
    """Both contenders in turns; who begins changes every turn."""
    rates: dict[str, list[float]] = {"keras": [], "first": [], "later": []}
    keras.rate(folder, image_size)  # warm-up: TensorFlow's threads, the system's file cache
    for turn in range(turns):
        with tempfile.TemporaryDirectory() as cache:
            if turn % 2 == 0:
                rates["keras"].append(keras.rate(folder, image_size))
            rate, images = first_pass(folder, image_size, Path(cache))
            rates["first"].append(rate)
            rates["later"].append(statistics.median(later_pass(images) for _ in range(5)))
            if turn % 2 == 1:
                rates["keras"].append(keras.rate(folder, image_size))
        print(folder.name, turn + 1, {name: round(values[-1], 1) for name, values in rates.items()}, file=sys.stderr)
    pairs = {name: list(zip(rates[name], rates["keras"], strict=True)) for name in ("first", "later")}
    row_bytes = image_size * image_size * 3
    return {
        "images": len(images.dataset),
        "image_size": image_size,
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio_first": spread([ours / theirs for ours, theirs in pairs["first"]]),
        "ratio_later": spread([ours / theirs for ours, theirs in pairs["later"]]),
        "cache_gb_per_second": spread([rate * row_bytes / 1e9 for rate in rates["later"]]),
    }


def course_files(folder: Path, count: int) -> tuple[Path, Path]:
    """The training images of horses-or-humans, `count` at most: as they are (JPEG), and the same as PNG."""
    data = shared_data() / "horses-or-humans" / "train"
    for name in ("horses", "humans"):
        for kind in ("JPEG", "PNG"):
            (folder / kind / name).mkdir(parents=True)
        for path in sorted((data / name).iterdir())[: -(-count // 2)]:
            (folder / "JPEG" / name / path.name).symlink_to(path)
            with Image.open(path) as image:
                image.save(folder / "PNG" / name / f"{path.stem}.png")
    return folder / "JPEG", folder / "PNG"


def photographs(count: int) -> Iterator[Image.Image]:
    """Pictures of 12 megapixels with structure at every scale, as in a photo: smooth noise, gradients and grain."""
    generator = np.random.default_rng(0)
    originals: list[Image.Image] = []
    for number in range(count):
        if number < min(ORIGINALS, count):
            picture = np.zeros((PHOTO[1], PHOTO[0], 3), np.float32)
            for cells, height in ((4, 90), (40, 60), (400, 40), (1600, 20)):
                noise = generator.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
                smooth = Image.fromarray(noise).resize(PHOTO, Image.Resampling.BICUBIC)
                picture += (np.asarray(smooth, np.float32) / 255 - 0.5) * height
            picture += np.linspace(60, 190, PHOTO[0], dtype=np.float32)[None, :, None]
            picture += generator.integers(-4, 5, (PHOTO[1], PHOTO[0], 1), dtype=np.int8)
            originals.append(Image.fromarray(picture.clip(0, 255).astype(np.uint8)))
        shown, number = originals[number % len(originals)], number // len(originals)
        shown = ImageOps.mirror(shown) if number % 2 else shown
        yield shown.point([min(255, round(value * (1 - 0.01 * number))) for value in range(256)] * 3)


def photo_files(folder: Path, count: int) -> Path:
    """Two classes of such photos as JPEG, quality 90."""
    for number, picture in enumerate(photographs(count)):
        path = folder / "photos" / ("a", "b")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)
    return folder / "photos"


def difference(folder: Path, image_size: int) -> dict[str, float]:
    """Mean difference of our pixels (0-255) from full decoding and the same resize, over some photos."""
    preprocessing = Preprocessing(width=image_size, height=image_size)
    means = []
    for path in sorted(folder.rglob("*.jpg"))[:COMPARED]:
        with Image.open(path) as image:
            full = image.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
        ours = formats.load(path, preprocessing).astype(np.int16)
        means.append(float(np.abs(ours - np.asarray(full, np.int16)).mean()))
    return spread(means)


def listing(folder: Path, count: int) -> dict[str, float]:
    """Files a second and peak memory of scanning many files, in a process of its own; second run of two."""
    for number in range(count):
        path = folder / "many" / str(number % 10) / str(number // 1000) / f"{number}.png"
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.touch()
    for _ in range(2):
        output = subprocess.run(
            [sys.executable, "-c", LISTING, folder / "many"], check=True, stdout=subprocess.PIPE
        ).stdout
        images, seconds, megabytes = json.loads(output)
    return {"files": images, "files_per_second": round(images / seconds), "peak_mb": round(megabytes)}


def main() -> None:
    """Measure, write the results, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--images", type=int, default=1000, help="300 px images")
    options.add_argument("--photos", type=int, default=500, help="12-megapixel photos")
    options.add_argument("--files", type=int, default=200_000, help="small files to list")
    arguments = options.parse_args()
    machine, keras = hardware(), Keras()
    results: dict[str, Any] = {"hardware": machine, "versions": keras.versions, "turns": arguments.turns}
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            jpeg, png = course_files(folder, arguments.images)
            results["jpeg_300"] = compare(keras, jpeg, 300, arguments.turns)
            results["png_300"] = compare(keras, png, 300, arguments.turns)
            photos = photo_files(folder, arguments.photos)
            results["photos_12_megapixels"] = compare(keras, photos, 224, arguments.turns)
            results["photos_mean_difference"] = difference(photos, 224)
            results["listing"] = listing(folder, arguments.files)
    finally:
        keras.process.kill()
    write_results("reading", results)
    for kind in ("jpeg_300", "png_300", "photos_12_megapixels"):
        row = results[kind]
        rates = {name: f"{values['median']:,.0f}" for name, values in row["images_per_second"].items()}
        print(
            f"{kind:<22} first pass {rates['first']:>7} images/s ({row['ratio_first']['median']:.2f} x Keras "
            f"{rates['keras']}), later {rates['later']:>7} ({row['ratio_later']['median']:.1f} x, "
            f"{row['cache_gb_per_second']['median']:.1f} GB/s)"
        )
    print(f"{'mean difference':<22} {results['photos_mean_difference']['greatest']:.2f} of 255 at most")
    found = results["listing"]
    print(f"{'listing':<22} {found['files_per_second']:,} files/s, {found['peak_mb']} MB for {found['files']:,}")


if __name__ == "__main__":
    main()

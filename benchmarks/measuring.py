"""What several benchmarks do: run a command, give contenders their turns, and work in a folder of their own."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hardware import shared_data

FIELDMARK = Path(sys.executable).parent / "fieldmark"
BARE_BATCH = 16


def measure(arguments: list[str | Path], folder: Path, cache: Path, runs: int = 1) -> dict[str, float]:
    """Run a command in `folder`; the median wall time in seconds and the largest peak memory in MB of `runs` runs."""
    seconds, megabytes = [], []
    for _ in range(runs):
        start = time.perf_counter()
        process = subprocess.Popen(
            [FIELDMARK, *arguments],
            cwd=folder,
            env={**os.environ, "FIELDMARK_CACHE_DIR": str(cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (arguments, process.returncode, errors)
        seconds.append(time.perf_counter() - start)
        megabytes.append(usage.ru_maxrss / 1024)
    return {
        "seconds": round(statistics.median(seconds), 2),
        "slowest": round(max(seconds), 2),
        "peak_mb": round(max(megabytes)),
        "runs": runs,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def in_turns(contenders: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each contender measures in every turn, by name; who begins changes every turn."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns):
        for name in list(contenders) if turn % 2 == 0 else list(reversed(contenders)):
            rates[name].append(contenders[name]())
        print(turn + 1, {name: round(values[-1], 1) for name, values in rates.items()}, file=sys.stderr)
    return rates


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """The spread of ours over theirs, turn by turn."""
    return spread([own / other for own, other in zip(ours, theirs, strict=True)])


def answering_options(description: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark of a classifier's answers."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--run", type=Path, help="a run folder; otherwise one is trained on horses-or-humans")
    options.add_argument("--no-write", action="store_true", help="only print")
    return options


@contextlib.contextmanager
def trained(run: Path | None) -> Iterator[tuple[Path, Path, Path]]:
    """A folder to work in, its cache, and a run: the one that is given, or one trained on horses-or-humans."""
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        os.environ["FIELDMARK_CACHE_DIR"] = str(cache)
        if run is None:
            measure(["train", shared_data() / "horses-or-humans", "--out", folder / "run"], folder, cache)
        yield folder, cache, run.absolute() if run else folder / "run"


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

"""`fieldmark serve`: throughput in turns with ONNX Runtime alone, latency, overload, start-up.

    python benchmarks/serve.py [--turns 5] [--images 1000] [--uploads 5000]

Bare: one session with default options, batches of 16, the images decoded beforehand, the server idle meanwhile. Ours: 8
clients in one process of raw sockets (`serve_client.py`), which shares the cores with the server. Overload: uploads in
an open loop at five times the throughput just measured, on 200 connections; every 200 is compared with `predict`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fieldmark import classifier
from fieldmark.images import formats
from fieldmark.images.listing import list_images
from hardware import hardware, shared_data, write_results
from measuring import FIELDMARK, answering_options, bare_rate, copies, in_turns, ratio, spread, trained

CLIENTS = 8
CONNECTIONS = 200
TIMES = 5  # capacity
EACH = 2  # images in an upload of the overload, so that the connections hold more than the queue takes
TOKEN = "a-token-for-benchmarks"


@contextlib.contextmanager
def serving(run: Path) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """A server, its port, and the seconds until it printed its address."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [FIELDMARK, "serve", run, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FIELDMARK_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - start
    try:
        yield process, int(line.split(":")[2].split("/")[0]), seconds
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def ask(port: int, paths: list[str], expected: dict[str, Any], **plan: Any) -> dict[str, Any]:
    """Run the clients; what they found."""
    plan = {"port": port, "token": TOKEN, "paths": paths, "expected": expected, "rate": 0, "images": 1, **plan}
    client = Path(__file__).parent / "serve_client.py"
    done = subprocess.run(
        [sys.executable, client], input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def take_turns(run: Path, port: int, paths: list[str], expected: dict[str, Any], turns: int) -> dict[str, Any]:
    """ONNX Runtime alone, one image a request, and 16 images a request, in turns."""
    preprocessing = classifier.load(run).preprocessing
    pixels = np.stack([formats.load(Path(path), preprocessing) for path in paths])
    cores: list[float] = []

    def ours(images: int) -> float:
        found = ask(port, paths, expected, requests=len(paths) // images, images=images, connections=CLIENTS)
        assert found["problems"] == {}, found
        assert set(found["statuses"]) == {"200"}, found
        cores.append(found["client_cores"])
        return float(found["images_per_second"])

    contenders = {
        "bare": lambda: bare_rate(run / "model.onnx", pixels),
        "one": lambda: ours(1),
        "sixteen": lambda: ours(16),
    }
    ours(1)  # warm-up
    rates = in_turns(contenders, turns)
    return {
        "images": len(paths),
        "clients": CLIENTS,
        "client_cores": spread(cores),
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio": {name: ratio(rates[name], rates["bare"]) for name in ("one", "sixteen")},
    }


def children(process: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(status.parent.name))
    return found


def resident(process: int) -> float:
    """Megabytes that a process holds."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
    return 0.0


class Memory(threading.Thread):
    """The most that a server, and a server with its workers, held while this ran."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.workers = children(process)
        self.server = self.together = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            server = resident(self.process)
            self.server = max(self.server, server)
            self.together = max(self.together, server + sum(map(resident, self.workers)))

    def stop(self) -> dict[str, int]:
        self.stopped.set()
        self.join()
        return {"server": round(self.server), "with_workers": round(self.together)}


def overload(
    process: int, port: int, paths: list[str], expected: dict[str, Any], *, capacity: float, uploads: int
) -> dict[str, Any]:
    """Uploads at five times the capacity; the memory before, during; and the latency afterwards."""
    memory = Memory(process)
    memory.start()
    time.sleep(0.5)
    before = memory.stop()
    memory = Memory(process)
    memory.start()
    rate = TIMES * capacity / EACH
    found = ask(port, paths, expected, requests=uploads, images=EACH, connections=CONNECTIONS, rate=rate)
    during = memory.stop()
    after = ask(port, paths, expected, requests=50, connections=1)
    answered = found["statuses"].get("200", 0)
    return {
        **found,
        "uploads": uploads,
        "connections": CONNECTIONS,
        "images_each": EACH,
        "uploads_per_second": round(rate, 1),
        "lost": found["statuses"].get("0", 0) + uploads - found["requests"],
        "goodput_of_capacity": round(found["images_per_second"] / capacity, 3),
        "answered": answered,
        "idle_mb": before,
        "peak_mb": during,
        "more_mb": {name: during[name] - before[name] for name in before},
        "p50_ms_afterwards": after["answered_ms"]["0.5"],
    }


def starts(run: Path, count: int) -> dict[str, Any]:
    """Seconds until the address is printed, and until the first answer."""
    printed, answered = [], []
    image = str(sorted((shared_data() / "horses-or-humans" / "validation").rglob("*.jpg"))[0])
    expected = expected_rows(run, [image])
    for _ in range(count):
        begun = time.perf_counter()
        with serving(run) as (_, port, seconds):
            printed.append(seconds)
            ask(port, [image], expected, requests=1, connections=1)
            answered.append(time.perf_counter() - begun)
    return {
        "starts": count,
        "address_seconds": round(statistics.median(printed), 2),
        "slowest": round(max(printed), 2),
        "first_answer_seconds": round(statistics.median(answered), 2),  # the client's own start among it
    }


def expected_rows(run: Path, paths: list[str]) -> dict[str, Any]:
    """What `fieldmark predict` says of each image."""
    rows = (prediction.to_json() for prediction in classifier.load(run).stream(paths))
    return {path: {**row, "path": None} for path, row in zip(paths, rows, strict=True)}


def main() -> None:
    """Measure, write the results, print the table."""
    options = answering_options(__doc__)
    options.add_argument("--uploads", type=int, default=5000)
    options.add_argument("--starts", type=int, default=9)
    arguments = options.parse_args()
    machine = hardware()
    with trained(arguments.run) as (folder, _, run):
        results: dict[str, Any] = {"hardware": machine, "turns": arguments.turns}
        results["start"] = starts(run, arguments.starts)
        paths = list(map(str, list_images([str(copies(folder / "images", arguments.images))])))
        expected = expected_rows(run, paths)
        with serving(run) as (process, port, _):
            ask(port, paths, expected, requests=20, connections=1)
            results["one_image"] = ask(port, paths, expected, requests=300, connections=1)["answered_ms"]
            results["throughput"] = take_turns(run, port, paths, expected, arguments.turns)
        with serving(run) as (process, port, _):
            ask(port, paths, expected, requests=1, connections=1)  # so that workers and session are there
            capacity = results["throughput"]["images_per_second"]["one"]["median"]
            results["overload"] = overload(
                process.pid, port, paths, expected, capacity=capacity, uploads=arguments.uploads
            )
    if not arguments.no_write:
        write_results("serve", results)
    show(results)


def show(results: dict[str, Any]) -> None:
    """The table."""
    throughput, over, start = results["throughput"], results["overload"], results["start"]
    for name, values in throughput["images_per_second"].items():
        print(f"{name:<16} {values['median']:7.1f} images/s ({values['least']:.1f}-{values['greatest']:.1f})")
    for name, values in throughput["ratio"].items():
        print(f"ratio, {name:<9} {values['median']:7.2f} ({values['least']:.2f}-{values['greatest']:.2f})")
    print(f"one image        {results['one_image']['0.5']:7.1f} ms p50, {results['one_image']['0.99']} ms p99")
    print(f"start            {start['address_seconds']:7.2f} s (slowest of {start['starts']}: {start['slowest']} s)")
    print(f"overload         {over['statuses']}, lost {over['lost']}, problems {over['problems']}")
    print(f"                 {over['answered_ms']} answered, {over['refused_ms']} refused, ms")
    print(
        f"                 memory +{over['more_mb']['server']} MB, with workers +{over['more_mb']['with_workers']} MB"
    )


if __name__ == "__main__":
    main()

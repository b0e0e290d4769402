"""Images a second of the course's network, Fieldmark and Keras in turns on this machine, and their losses side by side.

    python benchmarks/course_against_keras.py [--turns 6] [--steps 3] [--data DIR/horses-or-humans/train]
    python benchmarks/course_against_keras.py --follow --data DIR/horses-or-humans/train

One process a side, both kept; while one works the other waits. Both start from the same weights and train on the same
batches. Keras gets an environment of its own under benchmarks/.environments (made on the first run, about 2 GB), or
the interpreter that FIELDMARK_KERAS_PYTHON names. Let nothing else run meanwhile; a few minutes. Linux only.

The second form trains on the photographs that Keras was recorded with (record_keras_losses.py), in float32 and, which
takes minutes, in float64.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_course
from hardware import hardware, write_results
from measuring import spread

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".environments" / "keras"
PACKAGES = ("keras==3.15.1", "tensorflow==2.21.0", "pillow>=12")
RECORDED = HERE.parent / "tests" / "golden" / "keras_course_losses.json"
WARM_UP_STEPS = 2


@dataclass
class Side:
    """One contender: its process, and what it has answered."""

    name: str
    process: subprocess.Popen[str]
    versions: dict[str, str] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)  # of each turn, without the warm-up
    peak_bytes: int = 0

    def read(self) -> dict[str, Any]:
        """The next line it answers; SystemExit if it has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with exit code {self.process.wait()}; its messages are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def train(self, steps: int) -> float:
        """Let it train some steps; returns their seconds."""
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        answer = self.read()
        self.losses += answer["losses"]
        self.peak_bytes = answer["peak_bytes"]
        return float(answer["seconds"])


def main() -> None:
    """Compare, print the table and write the results."""
    options = keras_course.parser(__doc__)
    options.add_argument("--turns", type=int, default=6)
    options.add_argument("--steps", type=int, default=3, help="steps of one side in one turn")
    options.add_argument(
        "--follow", action="store_true", help="only compare losses with the recorded ones; needs --data"
    )
    options.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.side:
        answer_for_fieldmark(arguments)
        return
    if arguments.follow:
        follow(arguments.data)
        return
    machine = hardware()
    matrix_rates: list[float] = []
    sides = [start(name, command, arguments) for name, command in commands().items()]
    try:
        take_turns(sides, arguments, matrix_rates)
    finally:
        for side in sides:
            side.process.kill()
    results = {**summary(*sides, arguments), **limit(sides[0], matrix_rates, arguments), "hardware": machine}
    write_results("course_against_keras", results)
    print(table(results))


def commands() -> dict[str, list[str]]:
    """How to start each side."""
    return {
        "fieldmark": [sys.executable, str(HERE / "course_against_keras.py"), "--side"],
        "keras": [str(keras_python()), str(HERE / "keras_course.py")],
    }


def keras_python() -> Path:
    """The interpreter of Keras's environment, made with pip if there is none."""
    if given := os.environ.get("FIELDMARK_KERAS_PYTHON"):
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    # Written last, so that an installation that was cut off is made again.
    finished = ENVIRONMENT / "finished"
    if not finished.exists():
        print(f"installing {', '.join(PACKAGES)} into {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        finished.touch()
    return python


def start(name: str, command: list[str], arguments: argparse.Namespace) -> Side:
    """Start one side and wait until it is ready."""
    common = [
        f"--batch-size={arguments.batch_size}",
        f"--image-size={arguments.image_size}",
        f"--seed={arguments.seed}",
    ]
    if arguments.data:
        common.append(f"--data={arguments.data}")
    process = subprocess.Popen([*command, *common], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    side = Side(name, process)
    side.versions = side.read()
    return side


def take_turns(sides: list[Side], arguments: argparse.Namespace, matrix_rates: list[float]) -> None:
    """A warm-up, then the turns; who begins changes every turn. Each ends with a look at the machine's own rate."""
    for side in sides:
        side.train(WARM_UP_STEPS)
    for turn in range(arguments.turns):
        for side in sides if turn % 2 == 0 else reversed(sides):
            side.images_per_second.append(arguments.steps * arguments.batch_size / side.train(arguments.steps))
        matrix_rates.append(matrix_product_rate())
        print(turn + 1, *(f"{side.name} {side.images_per_second[-1]:.1f}" for side in sides), file=sys.stderr)


def matrix_product_rate(size: int = 2048, products: int = 6) -> float:
    """FLOP/s of float32 matrix products with all cores: what arithmetic can reach on this machine at this moment."""
    import torch

    a, b = torch.rand(size, size), torch.rand(size, size)
    torch.mm(a, b)
    started = time.perf_counter()
    for _ in range(products):
        torch.mm(a, b)
    return products * 2 * size**3 / (time.perf_counter() - started)


def limit(fieldmark: Side, matrix_rates: list[float], arguments: argparse.Namespace) -> dict[str, Any]:
    """The arithmetic of an image, forward and backward, and what share of the measured matrix rate it ran at."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from fieldmark.networks.table import build

    network = build("course", (arguments.image_size,) * 2, outputs=1, channels=keras_course.CHANNELS)
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, arguments.image_size, arguments.image_size)).sum().backward()
    flops = counter.get_total_flops()
    shares = [flops * rate / matrix for rate, matrix in zip(fieldmark.images_per_second, matrix_rates, strict=True)]
    return {
        "flops_an_image": flops,
        "matrix_product_flops_per_second": spread(matrix_rates),
        "share_of_matrix_rate": spread(shares),
    }


def summary(fieldmark: Side, keras: Side, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything worth keeping."""
    ratios = [a / b for a, b in zip(fieldmark.images_per_second, keras.images_per_second, strict=True)]
    differences = [abs(a - b) / b for a, b in zip(fieldmark.losses, keras.losses, strict=True)]
    return {
        "what": f"course network, {arguments.image_size} px, batch {arguments.batch_size}, training steps",
        "images": arguments.data.name if arguments.data else "generated",
        "turns": arguments.turns,
        "steps_a_turn": arguments.steps,
        "versions": {**fieldmark.versions, **keras.versions},
        "images_per_second": {side.name: spread(side.images_per_second) for side in (fieldmark, keras)},
        "ratio": spread(ratios),
        "peak_bytes": {side.name: side.peak_bytes for side in (fieldmark, keras)},
        "losses": {side.name: side.losses for side in (fieldmark, keras)},
        "steps_within_1e-3": steps_within(differences),
        "largest_relative_difference": max(differences),
    }


def table(results: dict[str, Any]) -> str:
    """The results as lines to read."""
    lines = [f"{results['what']}, {results['hardware']['processor']}, {results['hardware']['cores']} cores"]
    for name, rate in results["images_per_second"].items():
        memory = results["peak_bytes"][name] / 2**20
        rates = f"{rate['median']:6.1f} images/s ({rate['least']:.1f}-{rate['greatest']:.1f})"
        lines.append(f"{name:<10} {rates}  peak {memory:,.0f} MiB")
    ratio = results["ratio"]
    lines.append(
        f"{'ratio':<10} {ratio['median']:6.2f} ({ratio['least']:.2f}-{ratio['greatest']:.2f}), "
        f"{results['turns']} turns of {results['steps_a_turn']} steps"
    )
    matrix, share = results["matrix_product_flops_per_second"], results["share_of_matrix_rate"]
    lines.append(
        f"{'limit':<10} {results['flops_an_image'] / 1e9:.2f} GFLOP an image; matrix products reach "
        f"{matrix['median'] / 1e9:.0f} GFLOP/s; of that {share['median']:.0%} "
        f"({share['least']:.0%}-{share['greatest']:.0%}) was reached"
    )
    steps = len(results["losses"]["keras"])
    lines.append(
        f"losses within 1e-3 of Keras for {results['steps_within_1e-3']} of {steps} steps, "
        f"largest relative difference {results['largest_relative_difference']:.1e}"
    )
    return "\n".join(lines)


def answer_for_fieldmark(arguments: argparse.Namespace) -> None:
    """Be Fieldmark's side: answer until stdin ends."""
    import torch

    train_once = fieldmark_training(arguments.image_size, arguments.batch_size, arguments.seed, "float32")
    stream = keras_course.batches(keras_course.chosen_images(arguments), arguments.batch_size, arguments.seed)
    keras_course.answer(train_once, stream, {"torch": torch.__version__})


def fieldmark_training(size: int, batch_size: int, seed: int, floats: str) -> keras_course.TrainOnce:
    """One training step from the common first weights: a batch in, its mean loss before the step out."""
    import torch

    from fieldmark.networks.table import build
    from fieldmark.preprocessing import Preprocessing
    from fieldmark.training.optimizers import OPTIMIZERS
    from fieldmark.training.step import Loss, make_step

    network = build("course", (size, size), outputs=1, channels=keras_course.CHANNELS)
    weights = keras_course.torch_layout(keras_course.course_weights(seed, size))
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    network.to({"float32": torch.float32, "float64": torch.float64}[floats])
    step = make_step(network, Preprocessing(width=size, height=size), Loss(), batch_size)
    optimizer = OPTIMIZERS["rmsprop"](network.parameters(), keras_course.LEARNING_RATE, 0.0)
    return lambda batch: step.train(optimizer, batch.pixels, batch.targets)[0] / batch_size


def follow(folder: Path) -> None:
    """Train on the photographs that Keras was recorded with, and say how far our losses are from its."""
    for name, case in json.loads(RECORDED.read_text())["cases"].items():
        if case["noise"] is not None:
            continue
        images = keras_course.folder_images(folder, case["image_size"])
        stream = keras_course.batches(images, case["batch_size"], case["seed"])
        train_once = fieldmark_training(case["image_size"], case["batch_size"], case["seed"], case["floats"])
        losses = [train_once(next(stream)) for _ in case["losses"]]
        differences = [abs(ours - theirs) / theirs for ours, theirs in zip(losses, case["losses"], strict=True)]
        print(f"{name}: {steps_within(differences)} of {len(losses)} steps within 1e-3 of Keras,", end=" ")
        print(f"largest relative difference {max(differences):.1e}")
        if "keras_against_itself" in case:
            print(f"  (Keras against itself: {steps_within(case['keras_against_itself'])} steps)")


def steps_within(differences: list[float]) -> int:
    """How many steps pass before the losses differ by more than 1e-3."""
    return next((step for step, difference in enumerate(differences) if difference > 1e-3), len(differences))


if __name__ == "__main__":
    main()

"""The way to train on a GPU, run on the CPU: all of it but the recording of CUDA graphs and the copying streams."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fieldmark.errors import RecipeError, TrainingError
from fieldmark.images.augment import AUGMENTATIONS, Augmentation
from fieldmark.images.read import Images
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training import device as device_module
from fieldmark.training import feed as feed_module
from fieldmark.training import fit as fit_module
from fieldmark.training.augmentation import COLUMNS
from fieldmark.training.choices import choose
from fieldmark.training.device import CPU, describe, find_device, how_it_trains, is_recorded, trains_in_bfloat16
from fieldmark.training.device_step import Work, device_step
from fieldmark.training.feed import BATCHES_A_COPY, ResidentFeed, StreamFeed, device_feed
from fieldmark.training.fit import batch_rows, fit
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, make_step
from tests.training.test_fit import PREPROCESSING, SIZE, choices, images  # noqa: F401

BATCH = 8
SYNCHRONISING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique"}


def batches(count: int, size: int = BATCH) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(2)
    return [
        (random.integers(0, 256, (size, SIZE, SIZE, 3), dtype=np.uint8), random.integers(0, 2, size).astype(np.int32))
        for _ in range(count)
    ]


def on_device(pixels: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, ...]:
    return torch.from_numpy(pixels), torch.from_numpy(labels), torch.zeros(len(labels), len(COLUMNS))


class FakeRecorder:
    """As CUDA graphs: recording changes nothing, replaying writes new values into the recorded results."""

    def __init__(self, network: nn.Module) -> None:
        self.modules: tuple[nn.Module, ...] = (network,)
        self.log: list[str] = []

    def first(self, function: Callable[[], Work]) -> Work:
        self.log.append("first")
        return function()

    def record(self, function: Callable[[], Work]) -> tuple[Work, Callable[[], None]]:
        self.log.append("recorded")
        states = [{name: tensor.clone() for name, tensor in each.state_dict().items()} for each in self.modules]
        results = function()
        for module, state in zip(self.modules, states, strict=True):
            module.load_state_dict(state)
        places = (*results[:2], *results[2])
        for place in places:
            place.zero_()

        def replay() -> None:
            self.log.append("replayed")
            fresh = function()
            for place, tensor in zip(places, (*fresh[:2], *fresh[2]), strict=True):
                place.copy_(tensor)

        return results, replay


def losses_on_device(network: nn.Module, optimizer: str, data: list[Any], **changed: Any) -> list[float]:
    with device_step(network, PREPROCESSING, Augmentation(), None, len(data[0][1]), CPU, **changed) as step:
        if isinstance(step.recorder, FakeRecorder):
            step.recorder.modules = (network, *step.ghosts)
        rule = OPTIMIZERS[optimizer](network.parameters(), 1e-3, 0.01)
        return [float(step.train(rule, *on_device(*batch))[0]) for batch in data]


def losses_on_cpu(network: nn.Module, optimizer: str, data: list[Any]) -> list[float]:
    step = make_step(network, PREPROCESSING, Loss(), len(data[0][1]))
    rule = OPTIMIZERS[optimizer](network.parameters(), 1e-3, 0.01)
    try:
        return [step.train(rule, *batch)[0] for batch in data]
    finally:
        step.pool.shutdown()


@pytest.mark.parametrize("captured", [False, True], ids=["", "captured"])
@pytest.mark.parametrize(("name", "optimizer"), [("course", "rmsprop"), ("convnet", "adam")])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_same_losses_as_on_the_cpu(name: str, optimizer: str, outputs: int, captured: bool) -> None:
    data = [*batches(6), *batches(1, 5), *batches(1)]  # a smaller batch, and a full one after it
    first, second = (build(name, (SIZE, SIZE), outputs, channels=(8, 8), seed=1) for _ in range(2))
    recorder = FakeRecorder(first)
    found = losses_on_device(first, optimizer, data, recorder=recorder if captured else None)
    assert found == pytest.approx(losses_on_cpu(second, optimizer, data), rel=1e-4)
    # The smaller batch is the first of its size, so it runs as it is.
    log = ["first"] * 3 + ["recorded"] + ["replayed"] * 3 + ["first", "replayed"]
    assert recorder.log == (log if captured else [])


def test_class_weights_count_as_on_the_cpu() -> None:
    network = build("course", (SIZE, SIZE), 2, channels=(8,))
    (batch,) = batches(1)
    step = make_step(network, PREPROCESSING, Loss((0.5, 3.0)), BATCH)
    expected = step.evaluate(*batch)
    step.pool.shutdown()
    with device_step(network, PREPROCESSING, Augmentation(), (0.5, 3.0), BATCH, CPU) as on:
        loss, correct = on.evaluate(*on_device(*batch))
    assert (float(loss), int(correct)) == (pytest.approx(expected[0], rel=1e-5), expected[1])


@pytest.mark.parametrize("recorded", [False, True], ids=["", "recorded"])
def test_ghosts_are_those_of_the_cpu(recorded: bool) -> None:
    """Parts of a batch have their own statistics: 70 images are ghosts of 24, 23 and 23."""
    data = batches(5, 70)
    first, second = (build("convnet", (SIZE, SIZE), 2, channels=(8, 8), seed=1) for _ in range(2))
    found = losses_on_device(first, "adam", data, recorder=FakeRecorder(first) if recorded else None)
    assert found == pytest.approx(losses_on_cpu(second, "adam", data), rel=1e-4)
    for (name, one), other in zip(first.named_buffers(), second.buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), name


def test_bfloat16_stays_near() -> None:
    data = batches(4)
    first, second = (build("course", (SIZE, SIZE), 1, channels=(8,), seed=1) for _ in range(2))
    found = losses_on_device(first, "rmsprop", data, bfloat16=True)
    expected = losses_on_cpu(second, "rmsprop", data)
    assert found == pytest.approx(expected, rel=0.05)
    assert found != pytest.approx(expected, rel=1e-6)
    assert all(weight.dtype == torch.float32 for weight in first.parameters())


@pytest.mark.parametrize("augmentation", ["none", "lighten"])
def test_streamed_batches_are_the_resident_ones(images: Images, augmentation: str) -> None:  # noqa: F811
    made = choices(augmentation=augmentation, batch_size=3, steps_per_epoch=BATCHES_A_COPY + 2)
    # Rows of all splits mixed, so that a row's place on the device is not its row.
    splits = np.array(["test", "validation", "train", "train", "train"] * 6)[: len(images.dataset)]
    images = Images(images.dataset.replace(splits=splits), images.store, 0)
    feeds = [kind(images, AUGMENTATIONS[augmentation], 0, CPU) for kind in (ResidentFeed, StreamFeed)]
    for resident, streamed in zip(*(feed.training(batch_rows(images, made, 2), 2) for feed in feeds), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(resident, streamed, strict=True))
    rows = images.dataset.rows("validation")
    for feed in feeds:
        ((pixels, labels, changes),) = feed.plain([rows])
        assert np.array_equal(pixels.numpy(), images.pixels(rows))
        assert np.array_equal(labels.numpy(), images.dataset.labels[rows])
        assert not changes.any()


def test_pixels_stay_on_the_device_only_where_they_fit(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    assert isinstance(device_feed(images, choices(), CPU), ResidentFeed)
    monkeypatch.setattr(feed_module, "FREE_BYTES", feed_module.bytes_used(images))
    assert isinstance(device_feed(images, choices(), CPU), StreamFeed)


class Waits(TorchDispatchMode):
    """Counts what a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in SYNCHRONISING
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def on_device_path(network: nn.Module, read: Images, made: Any, preprocessing: Preprocessing, _: Any) -> Iterator[Any]:
    """What `fit` sets up for a GPU, on the CPU."""
    augmentation = AUGMENTATIONS[made.augmentation]
    with device_step(network, preprocessing, augmentation, None, made.batch_size, CPU) as step:
        yield step, device_feed(read, made, CPU)


@pytest.mark.parametrize("augmentation", ["none", "standard", "texture"])
def test_fit_learns_the_same_on_a_device(
    images: Images,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    augmentation: str,
) -> None:
    made = choices(augmentation=augmentation, keep="best")
    histories = []
    for path in ("cpu", "device"):
        if path == "device":
            monkeypatch.setattr(fit_module, "_set_up", on_device_path)
        network = build("course", (SIZE, SIZE), 1, channels=(8,))
        histories.append(fit(network, images, made, PREPROCESSING, folder=tmp_path / path).epochs)
    for cpu, device in zip(*histories, strict=True):
        # Augmented pixels may differ by rounding, so their losses are only near.
        near = functools.partial(pytest.approx, rel=1e-4 if augmentation == "none" else 1e-2)
        assert (device.train_loss, device.validation_loss) == (near(cpu.train_loss), near(cpu.validation_loss))
        assert device.train_accuracy == cpu.train_accuracy or augmentation != "none"


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_device_is_waited_for_four_times_an_epoch(
    images: Images,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
) -> None:
    """Loss and number right, of training and of validation, however many steps there are; and once before it all."""
    monkeypatch.setattr(fit_module, "_set_up", on_device_path)
    monkeypatch.setattr(fit_module, "write_checkpoint", lambda path, network: None)
    network = build("convnet", (SIZE, SIZE), 1, channels=(8,))
    recipe, preprocessing = choose("convnet", {"image_size": SIZE, "epochs": epochs, "batch_size": 4})
    made = fit_module.StepChoices.of(recipe)
    with Waits() as waits:
        fit(network, images, made, preprocessing, folder=tmp_path)
    assert waits.count == 1 + 4 * epochs


def test_divergence_is_found_at_the_end_of_the_epoch(
    images: Images,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit_module, "_set_up", on_device_path)
    network = build("course", (SIZE, SIZE), 1, channels=(8,))
    with pytest.raises(TrainingError, match=r"the loss turned (nan|inf) in epoch \d+: ") as caught:
        fit(network, images, choices(learning_rate=1e20, optimizer="sgd", epochs=30), PREPROCESSING, folder=tmp_path)
    assert "--learning-rate" in caught.value.hint


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [find_device(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [find_device(name).type for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]


@pytest.mark.parametrize(("built", "said"), [(None, "has no CUDA"), ("13.0", "finds no GPU")])
def test_cuda_without_a_gpu_is_refused_before_any_image_is_read(
    built: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(RecipeError, match=said) as caught:
        choose("course", {"device": "cuda"})
    assert "--device" in caught.value.hint
    with pytest.raises(RecipeError, match="not one of auto, cpu, cuda"):
        choose("course", {"device": "gpu"})


def test_run_json_says_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, own = torch.device("cuda"), nn.Flatten()
    course = build("course", (SIZE, SIZE), 1, channels=(8,))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert describe(gpu) == {"device": "cuda", "gpu": "NVIDIA H100"}
    assert trains_in_bfloat16(gpu)
    assert not trains_in_bfloat16(CPU)
    assert (is_recorded(course, gpu), is_recorded(own, gpu), is_recorded(course, CPU)) == (True, False, False)
    assert "NVIDIA H100, layers in bfloat16" in how_it_trains(course, gpu, "2 threads")
    assert "if all its layers" in how_it_trains(own, gpu, "2 threads")


def test_the_callers_cudnn_flags_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    with device_module.repeatable():
        assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.deterministic

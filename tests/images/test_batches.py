"""Batches: the epoch's order, and the generator that any framework can use."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fieldmark
from fieldmark.errors import DatasetError, RecipeError
from fieldmark.images import batches
from fieldmark.images.batches import Flow, epoch_order, flow_from_directory
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """13 images; the red value tells which one, the green value its class."""
    root = tmp_path / "photos"
    for number in range(13):
        path = root / ("horses", "humans")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (10 * number, 200 * (number % 2), 0)).save(path)
    return root


def seen(flow: Flow) -> list[int]:
    return [round(float(image[0, 0, 0]) * 255 / 10) for images, _ in flow for image in images]


def test_every_epoch_covers_every_image_once(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(6, 4), batch_size=4)
    first, second = seen(flow), seen(flow)
    assert sorted(first) == sorted(second) == list(range(13))
    assert first != second
    assert len(flow) == 4
    assert [len(images) for images, _ in flow] == [4, 4, 4, 1]


def test_the_dataset_is_sorted_once_an_epoch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_ = []

    def recorded(*arguments: Any, **rest: Any) -> Any:
        sorted_.append(rest["epoch"])
        return epoch_order(*arguments, **rest)

    monkeypatch.setattr(batches, "epoch_order", recorded)
    flow = flow_from_directory(photos, target_size=(6, 4), batch_size=4)
    first, second = seen(flow), seen(flow)
    assert sorted_ == [0, 1]
    flow.epoch = 1
    assert seen(flow) == second
    flow.epoch = 0
    assert seen(flow) == first


def test_shapes_types_and_ranges(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(6, 4), batch_size=8)
    images, labels = next(iter(flow))
    assert images.shape == (8, 6, 4, 3)
    assert images.dtype == labels.dtype == np.float32
    assert labels.shape == (8,)
    assert 0 <= images.min() <= images.max() <= 1
    assert np.array_equal(labels, (images[:, 0, 0, 1] > 0.5).astype(np.float32))
    assert flow.class_indices == {"horses": 0, "humans": 1}
    assert flow.filenames[0] == "horses/0.png"
    assert flow.classes.tolist() == [0] * 7 + [1] * 6


@pytest.mark.parametrize(
    ("class_mode", "shape"), [("binary", (13,)), ("sparse", (13,)), ("categorical", (13, 2)), (None, None)]
)
def test_class_modes(photos: Path, class_mode: str | None, shape: tuple[int, ...] | None) -> None:
    flow = flow_from_directory(photos, target_size=(4, 4), class_mode=class_mode, shuffle=False)  # type: ignore[arg-type]
    batch = next(iter(flow))
    if shape is None:
        assert batch.shape == (13, 4, 4, 3)
    else:
        assert batch[1].shape == shape
        wanted = flow.classes if class_mode != "categorical" else np.eye(2)[flow.classes]
        assert np.array_equal(batch[1], wanted)


def test_no_rescaling_and_grayscale(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(4, 4), rescale=None, color_mode="grayscale", shuffle=False)
    images, _ = next(iter(flow))
    assert images.shape == (13, 4, 4, 1)
    assert images.max() == pytest.approx(0.299 * 110 + 0.587 * 200, abs=1)


def test_a_seed_is_an_order_and_names_do_not_matter(photos: Path, tmp_path: Path) -> None:
    first = seen(flow_from_directory(photos, target_size=(4, 4), seed=3))
    assert first == seen(flow_from_directory(photos, target_size=(4, 4), seed=3))
    assert first != seen(flow_from_directory(photos, target_size=(4, 4), seed=4))
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        shutil.move(path, path.with_name(f"renamed-{100 - number}.png"))
    assert first == seen(flow_from_directory(photos, target_size=(4, 4), seed=3))


def test_epoch_order_is_a_permutation_of_its_rows(photos: Path) -> None:
    dataset = read(scan(photos), Preprocessing(width=4, height=4)).dataset
    rows = np.array([1, 3, 5, 7])
    orders = [tuple(epoch_order(dataset, rows, seed=0, epoch=epoch)) for epoch in range(30)]
    assert {tuple(sorted(order)) for order in orders} == {(1, 3, 5, 7)}
    assert len(set(orders)) > 10


def test_the_source_is_never_changed(photos: Path) -> None:
    def state() -> dict[str, tuple[str, int]]:
        files = sorted(photos.rglob("*"))
        return {
            str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files if f.is_file()
        }

    before = state()
    seen(flow_from_directory(photos, target_size=(4, 4)))
    assert state() == before


def test_bad_files_are_named_in_a_warning(photos: Path) -> None:
    (photos / "humans" / "bad.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 entries of .* such as humans/bad.png \(not_an_image\)"):
        flow = flow_from_directory(photos, target_size=(4, 4))
    assert [problem.path for problem in flow.problems] == ["humans/bad.png"]
    assert len(flow.filenames) == 13


def test_next_goes_on_without_end(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(6, 4), batch_size=4)
    other = flow_from_directory(photos, target_size=(6, 4), batch_size=4)
    for epoch in (list(other), list(other)):  # as a loop gives them
        for images, labels in epoch:
            found = next(flow)
            assert np.array_equal(found[0], images)
            assert np.array_equal(found[1], labels)
    third = next(flow)
    next(flow)
    flow.reset()
    assert np.array_equal(next(flow)[0], third[0])
    assert sorted(seen(flow)) == list(range(13)), "a loop gives an epoch, wherever next() is"
    assert flow.epoch == 3
    assert len(next(flow)[0]) == 4, "and the epoch behind it begins with its first batch"


def test_what_keras_s_iterator_tells(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(6, 4), color_mode="grayscale", batch_size=5)
    assert (flow.n, flow.samples, flow.num_classes, flow.image_shape) == (13, 13, 2, (6, 4, 1))
    assert [Path(path).relative_to(photos).as_posix() for path in flow.filepaths] == flow.filenames
    assert repr(flow) == "<Flow of 13 images in 2 classes (horses, humans), 6 x 4 x 1, 3 batches of 5>"


def test_classes_are_a_choice_and_an_order(photos: Path) -> None:
    (photos / "cats").mkdir()
    Image.new("RGB", (9, 9), (0, 0, 200)).save(photos / "cats" / "1.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that the cats are left out was asked for
        flow = flow_from_directory(photos, target_size=(4, 4), classes=["humans", "horses"])
    assert flow.class_indices == {"humans": 0, "horses": 1}
    images, labels = next(flow)
    assert np.array_equal(labels, (images[:, 0, 0, 1] < 0.5).astype(np.float32))
    assert [(problem.path, problem.code) for problem in flow.problems] == [("cats/1.png", "unknown_class")]
    with pytest.raises(DatasetError, match="no image of the class dogs") as caught:
        flow_from_directory(photos, classes=["humans", "dogs"])
    assert "cats, horses, humans" in caught.value.hint


def test_a_dataset_s_values_are_printed_in_one_line(faces: Path) -> None:
    found = fieldmark.audit(faces, quick=True)
    assert repr(found.dataset).startswith(f"<Dataset {faces}: {len(found.dataset)} images in 2 classes (happy, sad), ")
    assert repr(found).startswith(
        f"<Audit of {faces}: {len(found.dataset)} images in 2 classes (happy, sad); 1 problem, "
    )
    assert "1 leak, 0 suspected labels; to_json() holds all>" in repr(found)
    for value in (found, found.dataset, flow_from_directory(faces / "validation", target_size=(4, 4)).images):
        assert len(repr(value)) < 400


@pytest.mark.parametrize(
    "arguments",
    [
        {"target_size": 150},
        {"target_size": (150.0, 150)},
        {"target_size": "150"},
        {"batch_size": "32"},
        {"seed": None},
        {"classes": "ab"},
        {"classes": []},
        {"classes": ["humans", "humans"]},
        {"batch_size": 0},
        {"batch_size": -3},
        {"class_mode": "bin"},
        {"color_mode": "bgr"},
        {"target_size": (0, 5)},
        {"interpolation": "cubic"},
    ],
)
def test_arguments_are_checked(photos: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=next(iter(arguments))) as caught:
        flow_from_directory(photos, **arguments)  # type: ignore[arg-type]
    if arguments == {"target_size": 150}:
        assert caught.value.hint == "target_size=(150, 150)"


def test_refusals(photos: Path, tmp_path: Path) -> None:
    (photos / "third").mkdir()
    Image.new("RGB", (4, 4)).save(photos / "third" / "1.png")
    with pytest.raises(DatasetError, match="3 classes"):
        flow_from_directory(photos)
    shutil.copytree(photos, tmp_path / "split" / "train")
    with pytest.raises(DatasetError, match="holds train/"):
        flow_from_directory(tmp_path / "split")


def test_a_torch_loop_learns_from_it(photos: Path) -> None:
    flow = flow_from_directory(photos, target_size=(8, 8), batch_size=4)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        for images, labels in flow:
            logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


KERAS = """
import keras, sys
import fieldmark
flow = fieldmark.flow_from_directory(sys.argv[1], target_size=(8, 8), batch_size=4)
model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=["accuracy"])
history = model.fit(flow, epochs=20, verbose=0)
assert history.history["loss"][-1] < history.history["loss"][0] / 2, history.history
assert model.evaluate(flow, verbose=0)[1] > 0.9
"""


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_keras_fit_takes_it(photos: Path) -> None:
    subprocess.run([sys.executable, "-c", KERAS, str(photos)], check=True)

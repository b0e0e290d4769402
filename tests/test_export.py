"""Export and classifier: the file answers as the network does, carries what it needs, and shows any damage."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
import torch
from PIL import ExifTags, Image

from fieldmark import export, runtime
from fieldmark.classifier import load
from fieldmark.errors import ExportError, ModelFileError, RecipeError
from fieldmark.evaluation.familiarity import (
    Bank,
    Familiarity,
    Table,
    class_similarities,
    fit_channel_familiarity,
    unit,
)
from fieldmark.networks.deployed import Deployed
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.familiarity_graph import with_channels, with_familiarity

PREPROCESSING = Preprocessing(width=32, height=24, mean=10.0, deviation=50.0)
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)


def metadata(classes: list[str]) -> dict[str, object]:
    return {"format": 1, "classes": classes, "preprocessing": PREPROCESSING.to_json()}


@pytest.fixture(scope="module", params=[("course", 1), ("course", 3), ("convnet", 1), ("convnet", 3)], ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    name, outputs = request.param
    network = build(name, (24, 32), outputs, channels=(8, 12) if name == "course" else None).eval()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    classes = ["a", "b", "c"][: max(2, outputs)]
    export.write_model(export.network_graph(network, PREPROCESSING), path, metadata(classes))
    return network, path


def test_the_file_answers_as_the_network(exported: tuple[torch.nn.Module, Path]) -> None:
    network, path = exported
    with torch.no_grad():
        probabilities, embedding = Deployed(network, PREPROCESSING)(torch.from_numpy(PIXELS))
    classifier = load(path)
    np.testing.assert_allclose(classifier.probabilities(PIXELS), probabilities.numpy(), atol=1e-5)
    np.testing.assert_allclose(classifier.embeddings(PIXELS), embedding.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(classifier.probabilities(PIXELS).sum(axis=1), 1, atol=1e-6)


def test_each_image_is_answered_alike_in_any_batch(exported: tuple[torch.nn.Module, Path]) -> None:
    classifier = load(exported[1])
    many = RANDOM.integers(0, 256, (37, 24, 32, 3), dtype=np.uint8)
    one_by_one = np.concatenate([classifier.probabilities(image[None]) for image in many])
    assert np.array_equal(classifier.probabilities(many), one_by_one)


def test_the_graph_is_what_other_languages_rely_on(exported: tuple[torch.nn.Module, Path]) -> None:
    session = onnxruntime.InferenceSession(exported[1])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 24, 32, 3])
    assert [output.name for output in session.get_outputs()] == ["probabilities", "embedding"]
    assert str(Path.cwd()) not in str(onnx.load(exported[1]))


def test_no_images_no_answers(exported: tuple[torch.nn.Module, Path]) -> None:
    classifier = load(exported[1])
    assert classifier.probabilities(PIXELS[:0]).shape == (0, len(classifier.classes))
    assert classifier.predict([]) == []


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_a_head_on_a_backbone(tmp_path: Path, outputs: int) -> None:
    whole = export.network_graph(build("course", (24, 32), 1, channels=(8,)), PREPROCESSING)
    backbone = onnx.utils.Extractor(whole).extract_model([runtime.INPUT], [runtime.EMBEDDING])
    weights = RANDOM.normal(size=(outputs, 512)).astype(np.float32)
    bias = RANDOM.normal(size=outputs).astype(np.float32)
    path = tmp_path / "model.onnx"
    export.write_model(
        export.with_head(backbone, weights, bias), path, metadata(["a", "b", "c", "d"][: max(2, outputs)])
    )
    classifier = load(path)
    logits = classifier.embeddings(PIXELS).astype(np.float64) @ weights.T + bias
    if outputs == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.probabilities(PIXELS), wanted, atol=1e-5)
    probabilities, familiarity = export.head_answers(path, classifier.embeddings(PIXELS))
    np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
    assert familiarity is None


def test_no_bit_of_familiarity_depends_on_the_neighbours_in_a_batch(tmp_path: Path) -> None:
    model = export.network_graph(build("course", (24, 32), 2, channels=(8,)), PREPROCESSING)
    path = tmp_path / "model.onnx"
    export.write_model(model, path, metadata(["a", "b"]))
    embeddings = load(path).embeddings(PIXELS)
    bank = unit(RANDOM.normal(size=(16, embeddings.shape[1])).astype(np.float32)).astype(np.float16)
    # As many stretches as a training has, and no multiple of a vector register; every one of them below an image
    table = Table(tuple(np.linspace(-1.5, -1.0, 102)), tuple(np.linspace(0, 1, 102) ** 1.7))
    familiarity = Familiarity(Bank(bank, (9, 7)), None, table, "note")
    export.write_model(with_familiarity(model, familiarity), path, metadata(["a", "b"]))
    classifier = load(path)
    for size in (2, 3, 4):
        together = classifier.session.run(["familiarity"], {"images": PIXELS[:size]})[0]
        alone = [classifier.session.run(["familiarity"], {"images": PIXELS[row : row + 1]})[0] for row in range(size)]
        np.testing.assert_array_equal(together, np.concatenate(alone))


def channels_of(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(["channels"], {"images": pixels})[0]


@pytest.mark.parametrize(("network", "width"), [("convnet", 192), ("course", 2 * (16 + 32 + 64))])
def test_channels_are_means_and_deviations_of_the_first_layers(network: str, width: int) -> None:
    model = export.network_graph(build(network, (64, 64), 2), Preprocessing(64, 64))
    assert with_channels(model)
    pixels = RANDOM.integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    found = channels_of(model, pixels)
    assert found.shape == (3, width)
    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"][:3]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in relus)
    all_maps = onnxruntime.InferenceSession(model.SerializeToString()).run(relus, {"images": pixels})
    parts = [np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1) for maps in all_maps]
    wanted = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_file_tells_familiarity_by_channels(tmp_path: Path, classes: int) -> None:
    model = export.network_graph(build("convnet", (24, 32), classes), PREPROCESSING)
    assert with_channels(model)
    pixels = RANDOM.integers(0, 256, (60, 24, 32, 3)).astype(np.uint8)
    statistics, labels = channels_of(model, pixels), np.arange(60) % classes
    found = fit_channel_familiarity(statistics, None, labels, [str(row) for row in range(60)], classes=classes)
    path = tmp_path / "model.onnx"
    export.write_model(with_familiarity(model, found), path, metadata([f"c{label}" for label in range(classes)]))
    classifier = load(path)
    plain = np.full((4, 24, 32, 3), 200, np.uint8)  # no noise, as all the others are
    _, told = classifier.answers(np.concatenate([pixels[:4], plain]))
    assert "channels" not in {output.name for output in onnx.load(path).graph.output}
    wanted = found.channels.similarities(statistics[:4])
    np.testing.assert_allclose(classifier.session.run(["similarity"], {"images": pixels[:4]})[0], wanted, rtol=1e-3)
    np.testing.assert_allclose(told[:4], found.table.of(wanted), atol=1e-2)
    assert (told[:4] >= 0.01).all()
    assert (told[4:] < 0.01).all()


def two_convolutions() -> torch.nn.Sequential:
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.ReLU())
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 2))


@pytest.mark.parametrize("own", [True, False])
def test_no_bit_of_familiarity_by_channels_depends_on_the_neighbours_in_a_batch(tmp_path: Path, own: bool) -> None:
    model = export.network_graph(two_convolutions() if own else build("convnet", (24, 32), 2), PREPROCESSING)
    assert with_channels(model)
    pixels = RANDOM.integers(0, 256, (60, 24, 32, 3)).astype(np.uint8)
    found = fit_channel_familiarity(
        channels_of(model, pixels), None, np.arange(60) % 2, [str(row) for row in range(60)], classes=2
    )
    path = tmp_path / "model.onnx"
    export.write_model(with_familiarity(model, found), path, metadata(["a", "b"]))
    session, names = load(path).session, ["similarity", "familiarity"]
    together = session.run(names, {"images": pixels[:35]})
    for size in (1, 2, 3, 5, 7):
        pieces = [session.run(names, {"images": pixels[row : row + size]}) for row in range(0, 35, size)]
        for whole, parts in zip(together, zip(*pieces, strict=True), strict=True):
            np.testing.assert_array_equal(whole[: 35 // size * size], np.concatenate(parts)[: 35 // size * size])


class Patches(torch.nn.Module):
    """Halves of an image, each seen by itself: the maps inside have two rows an image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = x.reshape(-1, 3, 12, 32)
        seen = torch.relu(self.convolution(halves)).mean(dim=(2, 3))
        return self.head(seen.reshape(-1, 2, 4).mean(dim=1))


class Gated(torch.nn.Module):
    """SiLU, and channels weighed by a squeeze with ReLU, whose own maps have one position."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 6, 3)
        self.squeeze, self.excite = torch.nn.Conv2d(6, 2, 1), torch.nn.Conv2d(2, 6, 1)
        self.head = torch.nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.silu(self.convolution(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))))
        return self.head((x * gate).mean(dim=(2, 3)))


class ChannelsLast(torch.nn.Module):
    """A convolution, then layers over the last axis, as in ConvNeXt: maps (batch, height, width, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.wide = torch.nn.Conv2d(3, 6, 4, stride=4), torch.nn.Linear(6, 10)
        self.head = torch.nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x).permute(0, 2, 3, 1)
        return self.head(torch.nn.functional.gelu(self.wide(x)).mean(dim=(1, 2)))


class Wide(torch.nn.Module):
    """A first layer of few channels, and one of more than are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.Conv2d(4, 300, 3),
            torch.nn.Linear(300, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("own", "tensor", "channels"),
    [(Gated(), "Mul", 6), (ChannelsLast(), "Conv", 6), (Wide(), "Relu", 4)],
    ids=["SiLU and squeezes", "channels last", "wide"],
)
def test_maps_of_convolutions_are_looked_at_and_no_others(own: torch.nn.Module, tensor: str, channels: int) -> None:
    model = export.network_graph(own, PREPROCESSING)
    first = next(node.output[0] for node in model.graph.node if node.op_type == tensor)
    assert with_channels(model)
    pixels = RANDOM.integers(0, 256, (3, 24, 32, 3)).astype(np.uint8)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(first))
    found, maps = onnxruntime.InferenceSession(model.SerializeToString()).run(["channels", first], {"images": pixels})
    wanted = np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-4)
    assert found.shape == (3, 2 * channels)


@pytest.mark.parametrize(
    "own",
    [
        torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(24 * 32 * 3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        ),
        Patches(),
    ],
    ids=["no convolution", "patches"],
)
def test_networks_without_a_map_of_each_image_have_no_channels(own: torch.nn.Module) -> None:
    assert not with_channels(export.network_graph(own, PREPROCESSING))


@pytest.mark.parametrize("counts", [(9, 7), (9, 3, 5), (4, 0, 30)], ids=str)
def test_the_file_tells_how_familiar_an_image_is(tmp_path: Path, counts: tuple[int, ...]) -> None:
    model = export.network_graph(build("course", (24, 32), len(counts), channels=(8,)), PREPROCESSING)
    path = tmp_path / "model.onnx"
    classes = ["a", "b", "c"][: len(counts)]
    export.write_model(model, path, metadata(classes))
    older = load(path)
    embeddings = older.embeddings(PIXELS)
    similar = embeddings[0] + RANDOM.normal(size=(sum(counts), embeddings.shape[1])).astype(np.float32) * 0.1
    bank = unit(similar.astype(np.float32)).astype(np.float16)
    middle = float(np.median(class_similarities(embeddings, bank, counts).max(axis=1))) + 1e-5  # between two images
    table = Table((middle - 0.05, middle, middle + 0.05, 1.5), (0.0, 0.01, 0.5, 1.0))
    familiarity = Familiarity(Bank(bank, counts), None, table, "note")
    export.write_model(with_familiarity(model, familiarity), path, metadata(classes))
    classifier = load(path)
    probabilities, found = classifier.answers(PIXELS)
    np.testing.assert_array_equal(probabilities, older.probabilities(PIXELS))
    np.testing.assert_allclose(found, table.of(familiarity.bank.similarities(embeddings)), atol=1e-4)
    np.testing.assert_allclose(
        classifier.session.run(["similarity"], {"images": PIXELS})[0],
        class_similarities(embeddings, bank, counts),
        atol=1e-5,
    )
    assert [answer.unfamiliar for answer in classifier.predict(list(PIXELS))] == (found < 0.01).tolist()
    assert classifier.answers(PIXELS[:0])[1].shape == (0,)
    # The older file has no such output: it loads, and nothing is unfamiliar.
    assert older.answers(PIXELS)[1] is None
    assert {(answer.unfamiliar, answer.familiarity) for answer in older.predict(list(PIXELS))} == {(False, None)}


def test_a_difference_is_refused() -> None:
    same = np.array([[0.3, 0.7], [0.5, 0.5]], np.float32)
    export.check(same, same + np.float32(5e-5))
    with pytest.raises(ExportError, match=r"by up to 0\.001"):
        export.check(same, same + np.float32(1e-3))
    with pytest.raises(ExportError):
        export.check(same, np.full_like(same, np.nan))


def test_any_flipped_bit_is_detected(exported: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    content = exported[1].read_bytes()
    damaged = tmp_path / "damaged.onnx"
    places = random.Random(0)
    for _ in range(60):
        place = places.randrange(8 * len(content))
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        damaged.write_bytes(changed)
        with pytest.raises(ModelFileError):
            load(damaged)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_detected(exported: tuple[torch.nn.Module, Path], tmp_path: Path, keep: int) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported[1].read_bytes()[:keep])
    with pytest.raises(ModelFileError):
        load(damaged)


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    foreign = export.network_graph(build("course", (24, 32), 1, channels=(8,)), PREPROCESSING)
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ModelFileError, match="not a classifier made by Fieldmark") as caught:
        load(tmp_path / "foreign.onnx")
    assert "model.onnx" in caught.value.hint
    with pytest.raises(ModelFileError, match="no classifier here"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        (2, "format 2; this Fieldmark reads 1"),
        ("1", 'format "1", a string; this Fieldmark reads the number 1'),
        (True, "format true, a truth value; this Fieldmark reads the number 1"),
        (None, "format null; this Fieldmark reads the number 1"),
    ],
)
def test_a_file_of_a_format_to_come_is_refused(
    exported: tuple[torch.nn.Module, Path], tmp_path: Path, format_: object, said: str
) -> None:
    model = onnx.load(exported[1])
    export.write_model(model, tmp_path / "newer.onnx", {**metadata(["a", "b", "c"]), "format": format_})
    with pytest.raises(ModelFileError, match=f"a classifier file of {said}") as caught:
        load(tmp_path / "newer.onnx")
    assert "newer Fieldmark" in caught.value.hint


def test_a_file_without_a_format_is_read(exported: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    names = list(load(exported[1]).classes)
    first = metadata(names)
    del first["format"]
    export.write_model(onnx.load(exported[1]), tmp_path / "first.onnx", first)
    assert list(load(tmp_path / "first.onnx").classes) == names


def test_weights_have_a_name_of_their_own(exported: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    model = onnx.load(exported[1])
    assert load(exported[1]).metadata["weights_sha256"] == export.weights_sha256(model)
    biggest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    biggest.raw_data = bytes(len(biggest.raw_data))
    assert load(exported[1]).metadata["weights_sha256"] != export.weights_sha256(model)


def test_paths_arrays_and_pictures_are_answered_alike(exported: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    classifier = load(exported[1])
    picture = Image.fromarray(RANDOM.integers(0, 256, (50, 40, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    answers = classifier.predict(
        [tmp_path / "a.png", tmp_path / "b.png", np.asarray(picture), picture, tmp_path / "a.png"]
    )
    assert [answer.problem for answer in answers] == [None, "not_an_image", None, None, None]
    assert answers[0].probabilities == answers[2].probabilities == answers[3].probabilities == answers[4].probabilities
    assert answers[0].label == max(answers[0].probabilities, key=answers[0].probabilities.__getitem__)
    assert answers[0].to_json().keys() == {
        "path",
        "label",
        "probability",
        "probabilities",
        "unfamiliar",
        "familiarity",
        "problem",
    }
    assert (answers[1].label, answers[1].probability, answers[1].probabilities) == (None, None, {})
    assert classifier.predict(tmp_path / "a.png")[0] == answers[0]
    grey = np.asarray(picture.convert("L"))
    assert len(classifier.predict(grey)) == len(classifier.predict(grey[:, :, None])) == 1
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(RecipeError, match="expected uint8"):
            classifier.predict(wrong)


@pytest.mark.parametrize("name", ["turned_6.jpg", "profile.png", "gray16.png", "palette_transparent.png"])
def test_an_open_picture_is_answered_as_its_file(exported: tuple[torch.nn.Module, Path], name: str) -> None:
    classifier = load(exported[1])
    file = Path(__file__).parent / "images" / "files" / name
    with Image.open(file) as picture:
        (opened,) = classifier.predict(picture)
    (named,) = classifier.predict(file)
    assert opened.probabilities == pytest.approx(named.probabilities, abs=1e-3)


def test_an_open_phone_photo_with_profile_and_orientation_is_answered_as_its_file(
    exported: tuple[torch.nn.Module, Path], tmp_path: Path
) -> None:
    classifier = load(exported[1])
    with Image.open(Path(__file__).parent / "images" / "files" / "profile.png") as described:
        profile = described.info["icc_profile"]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    shades = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 48, 3))  # dark above, bright below
    file = tmp_path / "phone.png"
    Image.fromarray(shades).save(file, icc_profile=profile, exif=exif)
    with Image.open(file) as picture:
        (opened,) = classifier.predict(picture)
    (named,), (fallen,) = classifier.predict(file), classifier.predict(shades)
    assert opened.probabilities == pytest.approx(named.probabilities, abs=1e-4)
    assert opened.probabilities != pytest.approx(fallen.probabilities, abs=1e-4)

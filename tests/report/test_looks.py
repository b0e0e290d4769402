import re
import shutil

import numpy as np
import pytest
from PIL import Image

from fieldmark.explanation.graph import Layer
from fieldmark.explanation.pictures import feature_grid
from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.looks import chosen_rows, resolve_looks
from fieldmark.report.overlays import LAYERS_SHOWN, Drawn, Layers, Look, Overlays, no_layers, spread_layers
from fieldmark.report.render import _environment, render_report
from tests.report.fabricate import make_run, read


def of_run(run, draw, layers=no_layers):
    return resolve_looks(Context(read_contents(run), lambda paths: [None for _ in paths], draw, layers))


def draw_all(looks):
    return Drawn("a method", "", [{"file": "look-1.jpg", "width": 1, "height": 1} for _ in looks])


def test_mistakes_come_first_then_every_class_in_turn(tmp_path):
    run = make_run(tmp_path, classes=("a", "b", "c"), wrong=3, splits={"train": 2, "validation": 9})
    images = of_run(run, draw_all)["images"]
    assert [row["right"] for row in images] == [False] * 3 + [True] * 9
    assert [row["label"] for row in images[3:]] == ["a", "b", "c"] * 3
    assert len({row["path"] for row in images}) == 12


def test_a_mistake_is_held_against_the_truth(tmp_path):
    images = of_run(make_run(tmp_path), draw_all)["images"]
    wrong = images[0]
    assert (wrong["right"], wrong["against"]) == (False, wrong["label"])
    assert all(row["against"] != row["predicted"] for row in images)


def test_most_are_right_however_bad_the_run(tmp_path):
    run = make_run(tmp_path, wrong=60, splits={"train": 2, "validation": 60})
    part = read_contents(run).predictions.select("validation")
    rows = chosen_rows(part)
    assert len(rows) == 12
    assert int(np.sum(~part.correct[rows])) == 8


def test_why_nothing_is_shown_is_said(tmp_path):
    data = of_run(make_run(tmp_path), lambda looks: Drawn("", "no such thing", [None for _ in looks]))
    assert (data["skipped"], data["images"]) == ("no such thing", [])


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained run, to be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_real_run_shows_what_it_looks_at(copied):
    render_report(copied)
    data = read(copied / "report_files" / "looks.json")
    assert data["skipped"] == ""
    assert 4 <= len(data["images"]) <= 12
    for row in data["images"]:
        with Image.open(copied / "report_files" / row["overlay"]["file"]) as picture:
            assert picture.size == (row["overlay"]["width"], row["overlay"]["height"])
    assert "look-1.jpg" in (copied / "report.html").read_text(encoding="utf-8")
    (copied / "model.onnx").unlink()
    render_report(copied)
    assert list((copied / "report_files").glob("look-*.jpg")) == []
    assert "the classifier file is not here" in (copied / "report.html").read_text(encoding="utf-8")


def test_a_damaged_classifier_leaves_a_sentence(copied):
    (copied / "model.onnx").write_bytes(b"no classifier")
    render_report(copied)
    assert "cannot be drawn" in read(copied / "report_files" / "looks.json")["skipped"]


def test_an_image_that_is_gone_has_no_overlay(trained, faces, tmp_path):
    here = next((faces / "validation" / "sad").glob("*.png")).relative_to(faces).as_posix()
    drawn = Overlays(faces, trained, tmp_path)([Look("gone.png", 0, 1), Look(here, 1, 0)])
    assert drawn.pictures[0] is None
    assert drawn.pictures[1]["file"] == "look-1.jpg"
    gone = Overlays(faces, trained, tmp_path)([Look("gone.png", 0, 1)])
    assert "cannot be read" in gone.skipped


def test_one_right_image_is_followed_through_every_layer(copied):
    render_report(copied)
    data = read(copied / "report_files" / "looks.json")
    layers = data["layers"]
    assert layers["skipped"] == ""
    assert layers["right"]
    sure = max(row["probability"] for row in data["images"] if row["right"])
    assert layers["probability"] == pytest.approx(sure)
    # The course network with one block: a convolution and a pooling
    assert [layer["number"] for layer in layers["shown"]] == list(range(1, layers["total"] + 1))
    assert [(layer["channels"], layer["shown"]) for layer in layers["shown"]] == [(8, 8)] * layers["total"]
    page = (copied / "report.html").read_text(encoding="utf-8")
    for layer in layers["shown"]:
        picture = layer["picture"]
        assert picture["file"] in page
        with Image.open(copied / "report_files" / picture["file"]) as drawn:
            assert (drawn.format, drawn.size) == ("PNG", (picture["width"], picture["height"]))
            assert len(drawn.convert("RGB").getcolors(1 << 20)) > 10
    (copied / "model.onnx").unlink()
    render_report(copied)
    assert list((copied / "report_files").glob("layer-*.png")) == []
    assert "the classifier file is not here" in read(copied / "report_files" / "looks.json")["layers"]["skipped"]


def test_a_deep_network_shows_some_layers_from_first_to_last():
    for count in (1, 2, LAYERS_SHOWN, 13, 58, 500):
        places = spread_layers(count)
        assert places[0] == 0
        assert places[-1] == count - 1
        assert len(set(places)) == len(places) == min(count, LAYERS_SHOWN)


def test_an_image_that_is_gone_is_not_followed(trained, faces, tmp_path):
    assert "cannot be read" in Overlays(faces, trained, tmp_path).layers("gone.png").skipped
    assert Overlays(None, trained, tmp_path).layers("gone.png").skipped == "the images' folder is not known"


def followed(run):
    """The image that is followed, and what the panel says of it."""
    asked = []
    data = of_run(run, draw_all, lambda path: asked.append(path) or Layers("", 0, []))
    return asked, data["layers"]


def test_a_wrong_answer_is_followed_where_none_is_right(tmp_path):
    run = make_run(tmp_path, wrong=8)
    first = of_run(run, draw_all)["images"][0]
    asked, layers = followed(run)
    assert asked == [layers["path"]] == [first["path"]]
    assert (layers["right"], layers["label"], layers["predicted"]) == (False, first["label"], first["predicted"])
    assert layers["label"] != layers["predicted"]


def test_without_images_none_is_followed(tmp_path):
    run = make_run(tmp_path)
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("\n".join(line for line in lines if "validation" not in line) + "\n")
    asked, layers = followed(run)
    assert (asked, layers) == ([], {"skipped": "there is no image to follow"})


class Deep:
    """A graph of many layers, the maps of each wider than high."""

    maps = np.random.default_rng(0).normal(size=(40, 3, 5)).astype(np.float32)

    def __init__(self, layers):
        self.layers = layers

    def run(self, pixels):
        return {}

    def feature_maps(self, values):
        if self.layers is None:
            raise LookupError("Frobnicate")
        return [(Layer(f"layer{number}", "convolution", ""), self.maps + number) for number in range(self.layers)]


def through(layers, trained, faces, folder):
    """The way of an image through a network of so many layers."""
    overlays = Overlays(faces, trained, folder)
    overlays._opened = overlays._opened[0], Deep(layers)
    here = next((faces / "validation" / "sad").glob("*.png")).relative_to(faces).as_posix()
    return overlays.layers(here)


def test_some_layers_of_a_deep_network_and_some_of_their_channels_are_drawn(trained, faces, tmp_path):
    found = through(30, trained, faces, tmp_path)
    assert (found.skipped, found.total) == ("", 30)
    assert [layer["number"] for layer in found.shown] == [place + 1 for place in spread_layers(30)]
    for layer in found.shown:
        assert layer["name"] == f"layer{layer['number'] - 1}"
        assert [layer[size] for size in ("channels", "height", "width", "shown")] == [40, 3, 5, 32]
        with Image.open(tmp_path / layer["picture"]["file"]) as picture:
            expected = feature_grid(Deep.maps + (layer["number"] - 1), at_most=32, columns=8)
            assert np.array_equal(np.asarray(picture), np.asarray(expected))


@pytest.mark.parametrize(("layers", "why"), [(0, "no layer of this network makes a picture"), (None, "Frobnicate")])
def test_why_no_layer_is_drawn_is_said(trained, faces, tmp_path, layers, why):
    found = through(layers, trained, faces, tmp_path)
    assert why in found.skipped
    assert (found.total, found.shown) == (0, [])


def shown_layers(tmp_path, **fields):
    """The panel's text, spaces evened out, for an image that went through two of nine layers."""
    data = of_run(make_run(tmp_path, wrong=8), draw_all, lambda path: Layers("", 0, []))
    picture = {"file": "layer-7.png", "width": 10, "height": 10}
    layer = {"number": 4, "name": "<b>", "kind": "pooling", "channels": 40, "height": 3, "width": 5, "shown": 32}
    last = layer | {"number": 9, "channels": 1, "shown": 1}
    data["layers"] |= {"total": 9, "shown": [one | {"picture": picture} for one in (layer, last)], **fields}
    html = _environment().get_template("looks.html").render(data=data, files="files")
    return data["layers"], html, " ".join(re.sub(r"<[^>]*>", "", html).replace("&nbsp;", " ").split())


def test_layers_are_described_in_words(tmp_path):
    data, html, text = shown_layers(tmp_path)
    said = f"What one validation image, which is {data['label']} and was answered {data['predicted']} (90.0 %), turns"
    assert said in text
    assert "2 of the 9 layers, evenly spread from the first to the last" in text
    assert "5 × 3, the first 32 of 40 channels" in text
    assert "5 × 3, 1 channel" in text
    assert html.count("files/layer-7.png") == 2
    assert 'alt="Layer 4, pooling: 32 feature maps of 5 by 3"' in html
    assert data["path"].rsplit("/", 1)[-1] in text
    assert "&lt;b&gt;" in html


def test_all_layers_are_called_every_layer(tmp_path):
    _, _, text = shown_layers(tmp_path, total=2)
    assert "turns into after every layer." in text


def test_layers_that_are_missing_are_said_to_be(tmp_path):
    _, html, text = shown_layers(tmp_path, skipped="no such thing")
    assert "The feature maps, layer by layer, are not shown: No such thing." in text
    assert "layer-7.png" not in html

import shutil

import numpy as np
import pytest
from PIL import Image

from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.looks import chosen_rows, resolve_looks
from fieldmark.report.overlays import LAYERS_SHOWN, Drawn, Look, Overlays, spread_layers
from fieldmark.report.render import render_report
from tests.report.fabricate import make_run, read


def of_run(run, draw):
    return resolve_looks(Context(read_contents(run), lambda paths: [None for _ in paths], draw))


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

"""Explain as scripts rely on it: explain.json, the pictures beside it, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldmark
from fieldmark.errors import OutputError, RecipeError
from fieldmark.explanation import pictures
from fieldmark.explanation.vocabulary import class_names
from fieldmark.report.lines import explain_lines


def test_pictures_and_values_belong_together(trained: Path, faces: Path, tmp_path: Path) -> None:
    one, two = sorted((faces / "validation" / "happy").iterdir())[:2]
    found = fieldmark.explain(trained, [one, "absent.jpg", two], out=tmp_path / "seen")
    assert json.loads((tmp_path / "seen" / "explain.json").read_text("utf-8")) == found
    first, absent, second = found["images"]
    assert (absent["problem"], set(absent)) == ("unreadable_file", {"path", "problem", "detail"})
    (answer,) = fieldmark.load(trained).predict(one)
    assert (first["label"], first["probability"]) == (answer.label, pytest.approx(answer.probability, abs=1e-6))
    assert first["sentence"].startswith(f"{answer.label} (")
    for image, number in ((first, "001"), (second, "003")):
        files = [image["image"], image["activation"]["file"], image["occlusion"]["file"], image["features"]["file"]]
        files += [layer["file"] for layer in image["features"]["layers"]]
        assert {path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen" / number).rglob("*.png")}
        assert {file.split("/")[0] for file in files} == {number}
        for file in files:
            with Image.open(tmp_path / "seen" / file) as picture:
                picture.load()
    places = np.array(first["activation"]["places"])
    assert places.sum() + first["activation"]["rest"] == pytest.approx(first["activation"]["score"], abs=1e-9)
    assert [layer["channels"] for layer in first["features"]["layers"]] == [8, 8]


def test_an_unfamiliar_image_is_called_that(trained: Path, tmp_path: Path) -> None:
    Image.effect_noise((40, 40), 90).save(tmp_path / "noise.png")
    (answer,) = fieldmark.load(trained).predict(tmp_path / "noise.png")
    found = fieldmark.explain(trained, tmp_path / "noise.png", out=tmp_path / "seen")
    (image,) = found["images"]
    assert (image["unfamiliar"], image["familiarity"]) == (answer.unfamiliar, pytest.approx(answer.familiarity))
    for unfamiliar in (True, False):
        image["unfamiliar"] = unfamiliar
        assert ("do not trust that answer" in "\n".join(explain_lines(found, tmp_path))) == unfamiliar


def test_another_class_may_be_explained(trained: Path, faces: Path, tmp_path: Path) -> None:
    image = next((faces / "validation" / "sad").iterdir())
    scores = []
    for label in ("happy", "sad"):
        found = fieldmark.explain(trained, image, out=tmp_path / label, label=label)["images"][0]
        assert found["explained"] == label
        scores.append(found["activation"]["score"])
    assert scores[0] == pytest.approx(-scores[1])
    with pytest.raises(RecipeError, match="no class of the classifier"):
        fieldmark.explain(trained, image, out=tmp_path / "other", label="angry")
    with pytest.raises(OutputError, match="exists already"):
        fieldmark.explain(trained, image, out=tmp_path / "sad")


def test_a_turned_photograph_is_shown_upright(trained: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), "white")
    picture.paste("black", (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the black bar is at the bottom
    picture.save(tmp_path / "turned.png", exif=exif)
    fieldmark.explain(trained, tmp_path / "turned.png", out=tmp_path / "seen")
    with Image.open(tmp_path / "seen" / "001" / "image.png") as seen:
        gray = np.asarray(seen.convert("L"))
    assert gray[:50].mean() > 200
    assert gray[-50:].mean() < 50


def test_the_overlay_is_strongest_where_the_values_are() -> None:
    places = np.zeros((4, 4))
    places[0, 0], places[3, 3] = 1.0, -1.0
    drawn = np.asarray(pictures.overlay(np.full((16, 16, 3), 200, np.uint8), places, "orange, purple")).astype(int)
    drawn = drawn[pictures.CAPTION :]
    for (row, column), sign in (((20, 20), 1), ((-20, -20), -1)):
        red, _, blue = drawn[row, column]
        assert sign * (red - blue) > 30
    red, _, blue = drawn[20, -20]
    assert red == blue


def test_channels_that_are_constant_or_many_are_drawn() -> None:
    maps = np.random.default_rng(0).normal(size=(70, 5, 3)).astype(np.float32)
    maps[0] = 3.0
    page = pictures.feature_grid(maps, "layer", at_most=64)
    assert page.height == pictures.CAPTION + 4 * (pictures.CELL + pictures.GAP)
    assert page.getpixel((10, pictures.CAPTION + 10)) == tuple(bytes.fromhex(pictures.VIRIDIS[0]))


def test_a_thousand_names_none_twice() -> None:
    names = class_names()
    assert len(set(names)) == 1000
    assert all(name == name.strip() and name for name in names)


@pytest.mark.parametrize("wrong", [None, np.zeros((8, 8, 3), np.uint8), [Image.new("RGB", (8, 8))]])
def test_what_is_no_path_is_a_mistake(trained: Path, tmp_path: Path, wrong: object) -> None:
    with pytest.raises(RecipeError, match="expected the path of an image") as caught:
        fieldmark.explain(trained, wrong, out=tmp_path / "seen")  # type: ignore[arg-type]
    assert "save('image.png')" in caught.value.hint
    assert not (tmp_path / "seen").exists()

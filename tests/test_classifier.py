"""Classifier: what is no classifier file, or one whose metadata does not fit, is refused when it is loaded."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import onnx
import pytest

from fieldmark import export
from fieldmark.classifier import load
from fieldmark.errors import ModelFileError
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from tests.waiting import within_seconds

PREPROCESSING = Preprocessing(width=32, height=24)


def metadata(classes: list[str]) -> dict[str, object]:
    return {"format": 1, "classes": classes, "preprocessing": PREPROCESSING.to_json()}


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 32 × 24 pixels that knows two classes."""
    path = tmp_path_factory.mktemp("two") / "model.onnx"
    network = build("course", (24, 32), 1, channels=(8,)).eval()
    export.write_model(export.network_graph(network, PREPROCESSING), path, metadata(["a", "b"]))
    return path


def preprocessed(**changed: object) -> dict[str, object]:
    return {**metadata(["a", "b"]), "preprocessing": {**PREPROCESSING.to_json(), **changed}}


WRONG_METADATA: list[tuple[dict[str, object], str]] = [
    (metadata([]), "its classes are []; expected an array of names"),
    (metadata(["a"]), "1 classes are named; its graph answers for 2"),
    (metadata(["a", "b", "c"]), "3 classes are named; its graph answers for 2"),
    (metadata(["a", "a"]), "2 classes are called a; expected each name once"),
    (metadata(["a", ""]), 'a class is called ""; expected a string that is not empty'),
    ({**metadata([]), "classes": "ab"}, 'its classes are "ab"; expected an array of names'),
    ({**metadata([]), "classes": [1, 2]}, "a class is called 1; expected a string that is not empty"),
    ({**metadata([]), "classes": [["a"], {"b": 1}]}, 'a class is called ["a"]; expected a string'),
    ({**metadata([]), "classes": None}, "its classes are null; expected an array of names"),
    ({"format": 1, "classes": ["a", "b"]}, "its metadata lacks 'preprocessing'"),
    ({**metadata(["a", "b"]), "preprocessing": []}, "its preprocessing is an array; expected an object"),
    ({**metadata(["a", "b"]), "recipe": "course"}, "its recipe is a string; expected an object"),
    (preprocessed(width=33), "its graph takes images of 24 × 32 × 3; the preprocessing makes 24 × 33 × 3"),
    (preprocessed(height=32, width=24), "its graph takes images of 24 × 32 × 3; the preprocessing makes 32 × 24 × 3"),
    (preprocessed(color="grayscale"), "its graph takes images of 24 × 32 × 3; the preprocessing makes 24 × 32 × 1"),
    (preprocessed(fit="zzz"), "a preprocessing of fit 'zzz'; expected one of stretch, crop, pad"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG_METADATA)
def test_metadata_that_does_not_fit_is_refused_at_once(
    two_classes: Path, tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    export.write_model(onnx.load(two_classes), tmp_path / "wrong.onnx", wrong)
    with pytest.raises(ModelFileError, match=re.escape(said)):
        load(tmp_path / "wrong.onnx")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 200_000, "its brackets are nested too deeply"),
        ("[]", "expected an object, found an array"),
        ('"x"', "expected an object, found a string"),
        ("{", "Expecting property name"),
    ],
)
def test_metadata_that_is_no_object_is_refused(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(export.json, "dumps", lambda *arguments, **how: text)
    export.write_model(onnx.load(two_classes), tmp_path / "wrong.onnx", {})
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=re.escape(said)):
        load(tmp_path / "wrong.onnx")


def test_no_metadata_at_all_is_refused(two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "METADATA", "of others")
    export.write_model(onnx.load(two_classes), tmp_path / "wrong.onnx", metadata(["a", "b"]))
    with pytest.raises(ModelFileError, match="its metadata lacks 'fieldmark'"):
        load(tmp_path / "wrong.onnx")


def test_a_graph_of_other_values_is_refused(two_classes: Path, tmp_path: Path) -> None:
    for place, said in (("input", "its graph takes pictures"), ("output", "its graph answers shares, embedding")):
        model = onnx.load(two_classes)
        old, new = {"input": ("images", "pictures"), "output": ("probabilities", "shares")}[place]
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        getattr(model.graph, place)[0].name = new
        export.write_model(model, tmp_path / "wrong.onnx", metadata(["a", "b"]))
        with pytest.raises(ModelFileError, match=said):
            load(tmp_path / "wrong.onnx")


def test_names_where_no_classifier_can_be(two_classes: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no classifier here \(File name too long"):
        load("a" * 4_000)
    with pytest.raises(ModelFileError, match=r"no classifier here \(embedded null byte"):
        load("a\0b")
    with pytest.raises(ModelFileError, match="the path of the classifier is empty"):
        load("")
    with pytest.raises(ModelFileError, match="a device stands where a file belongs"):
        load(os.devnull)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_classifier_is_not_waited_on(two_classes: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    for path in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(ModelFileError, match="a pipe stands where a file belongs"):
            within_seconds(lambda path=path: load(path))
    copied = Path(shutil.copy(two_classes, tmp_path / "copied.onnx"))
    classifier = load(copied)
    copied.unlink()
    os.mkfifo(copied)
    with pytest.raises(ModelFileError, match=r"cannot be read any more \(a pipe"):
        within_seconds(classifier.read_file)


def test_an_unfinished_run_is_called_so(two_classes: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "history.csv").touch()
    for path in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(ModelFileError, match=f"{tmp_path}: an unfinished run: it has no model.onnx yet") as caught:
            load(path)
        assert "remove the folder or give another --out" in caught.value.hint
    (tmp_path / "run.json").touch()
    with pytest.raises(ModelFileError, match="no classifier here"):
        load(tmp_path)

"""Comparing runs whose files are damaged or a stranger's: one error that names the file, never a wait."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import fieldmark
from fieldmark.errors import ModelFileError
from fieldmark.evaluating import evaluate
from tests.waiting import within_seconds


@pytest.fixture
def damaged(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "damaged")


@pytest.mark.parametrize("content", ["", "[]", "null", "3", '"x"', "{}", "[" * 100_000, "\0\0"])
def test_run_json_of_another_kind(trained: Path, damaged: Path, content: str) -> None:
    (damaged / "run.json").write_text(content)
    for pair in ((trained, damaged), (damaged, trained)):
        with pytest.raises(ModelFileError, match=r"damaged/run\.json: damaged") as caught:
            fieldmark.compare(*pair)
        assert "copy the run folder again" in caught.value.hint


@pytest.mark.parametrize("root", [None, 3, [], {"a": 1}])
def test_a_root_that_is_no_path(trained: Path, damaged: Path, root: object) -> None:
    info = json.loads((damaged / "run.json").read_text("utf-8"))
    (damaged / "run.json").write_text(json.dumps({**info, "root": root}))
    with pytest.raises(ModelFileError, match="expected the dataset's folder"):
        fieldmark.compare(trained, damaged)


@pytest.mark.parametrize("seconds", [None, 3, []])
def test_times_of_another_kind_are_left_out(trained: Path, damaged: Path, seconds: object) -> None:
    info = json.loads((damaged / "run.json").read_text("utf-8"))
    (damaged / "run.json").write_text(json.dumps({**info, "seconds": seconds}))
    assert fieldmark.compare(trained, damaged)["b"]["training_seconds"] is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["predictions.csv", "dataset.csv", "model.onnx"])
def test_a_pipe_in_place_of_a_file(trained: Path, damaged: Path, name: str) -> None:
    (damaged / name).unlink()
    os.mkfifo(damaged / name)
    with pytest.raises(ModelFileError, match="a pipe stands where a file belongs"):
        within_seconds(lambda: fieldmark.compare(trained, damaged))


def test_a_missing_table_of_predictions_is_not_needed_for_a_folder(trained: Path, damaged: Path, faces: Path) -> None:
    (damaged / "predictions.csv").unlink()
    with pytest.raises(ModelFileError, match=r"predictions\.csv") as caught:
        fieldmark.compare(trained, damaged)
    assert "`fieldmark compare A B DIR` answers the images of DIR anew" in caught.value.hint
    assert fieldmark.compare(trained, damaged, faces / "validation")["n"] > 0


@pytest.mark.parametrize("content", ["", "a\n1\n", "split,sha256\n1,2\n", "path,sha256\n"])
def test_a_damaged_list_of_images(trained: Path, damaged: Path, content: str) -> None:
    (damaged / "dataset.csv").write_text(content)
    with pytest.raises(ModelFileError, match=r"dataset\.csv"):
        fieldmark.compare(trained, damaged)


@pytest.mark.parametrize("groups", [None, [], {"rule": ["a"]}, {"rule": 3}])
def test_an_audit_without_a_rule_of_groups(damaged: Path, faces: Path, groups: object) -> None:
    audit = json.loads((damaged / "audit.json").read_text("utf-8"))
    (damaged / "audit.json").write_text(json.dumps({**audit, "groups": groups}))
    assert evaluate(damaged, faces / "validation")["n"] > 0

"""Scan: real trees with everything that lies about in real folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from fieldmark.errors import DatasetError
from fieldmark.images.problems import PROBLEMS
from fieldmark.images.scan import scan, without_empty_classes


def put(root: Path, *names: str) -> Path:
    """Files below root; their content does not matter to a scan."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def codes(root: Path, **options: Path) -> dict[str, str]:
    return {problem.path: problem.code for problem in scan(root, **options).problems}


def test_folders_are_classes_in_natural_order(tmp_path: Path) -> None:
    dataset = scan(put(tmp_path, "10/a.jpg", "2/b.jpg", "1/c.jpg", "2/a.jpg"))
    assert dataset.classes == ("1", "2", "10")
    assert dataset.paths == ("1/c.jpg", "2/a.jpg", "2/b.jpg", "10/a.jpg")
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    assert set(dataset.splits) == {""}


def test_a_class_is_its_full_path(tmp_path: Path) -> None:
    dataset = scan(put(tmp_path, "a/good/1.jpg", "b/good/1.jpg", "b/bad/1.jpg"))
    assert dataset.classes == ("a/good", "b/bad", "b/good")
    assert dataset.problems == ()


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "Validation"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    dataset = scan(put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{validation}/a/2.jpg", "test/b/3.jpg"))
    assert dataset.classes == ("a", "b")
    assert dict(zip(dataset.paths, dataset.splits, strict=True)) == {
        "train/a/1.jpg": "train",
        "train/b/1.jpg": "train",
        f"{validation}/a/2.jpg": "validation",
        "test/b/3.jpg": "test",
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert scan(put(tmp_path, "bus/1.jpg", "train/1.jpg", "car/1.jpg")).classes == ("bus", "car", "train")


def test_what_lies_beside_the_splits_is_listed(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "runs/x/1.jpg", "notes.txt")
    assert codes(tmp_path) == {"runs": "beside_splits", "notes.txt": "loose_file"}


def test_validation_elsewhere(tmp_path: Path) -> None:
    put(tmp_path / "t", "a/1.jpg", "b/1.jpg")
    put(tmp_path / "v", "b/2.jpg", "c/1.jpg")
    dataset = scan(tmp_path / "t", validation=tmp_path / "v")
    assert dataset.classes == ("a", "b")
    assert list(dataset.splits) == ["train", "train", "validation"]
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.file(2) == tmp_path / "v" / "b" / "2.jpg"
    assert [problem.code for problem in dataset.problems] == ["unknown_class"]


def test_classes_are_matched_by_name_not_by_position(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/b/1.jpg", "val/c/1.jpg")
    dataset = scan(tmp_path)
    of = {path: dataset.classes[label] for path, label in zip(dataset.paths, dataset.labels, strict=True)}
    assert of["val/b/1.jpg"] == "b"
    assert of["val/c/1.jpg"] == "c"


def test_fixed_classes(tmp_path: Path) -> None:
    dataset = scan(put(tmp_path, "b/1.jpg", "x/1.jpg"), classes=("b", "a"))
    assert dataset.classes == ("b", "a")
    assert dataset.labels.tolist() == [0]


def test_clutter_is_listed_and_never_a_class(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", ".hidden/1.jpg", "a/.DS_Store", "a/Thumbs.db", "__MACOSX/a/1.jpg")
    put(tmp_path, "a/.ipynb_checkpoints/1.jpg", "loose.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    assert scan(tmp_path).classes == ("a", "b")
    assert codes(tmp_path) == {
        ".hidden": "hidden",
        "a/.DS_Store": "hidden",
        "a/Thumbs.db": "system_file",
        "a/.ipynb_checkpoints": "hidden",
        "__MACOSX": "system_file",
        "loose.jpg": "loose_file",
        "empty": "empty_class",
        "outer/inner": "empty_class",
    }


def test_links_pipes_and_sockets(tmp_path: Path) -> None:
    put(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    put(tmp_path / "elsewhere", "2.jpg")
    root = tmp_path / "root"
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "dead.jpg").symlink_to("nowhere.jpg")
    (root / "a" / "self.jpg").symlink_to("self.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        place = Path.cwd()
        os.chdir(root / "b")  # the name of a socket may only be short
        try:
            server.bind("s.jpg")
        finally:
            os.chdir(place)
    assert codes(root) == {
        "a/pipe.jpg": "not_regular_file",
        "a/dead.jpg": "broken_link",
        "a/self.jpg": "broken_link",
        "a/loop": "link_loop",
        "b/s.jpg": "not_regular_file",
    }
    assert scan(root).paths == ("a/1.jpg", "a/2.jpg", "b/1.jpg")


def test_a_linked_class_folder_counts_once(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert scan(tmp_path).classes == ("a", "b")
    assert codes(tmp_path) == {"c": "link_loop"}


def test_what_is_said_of_a_second_way_in_is_true_of_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path, "z/1.jpg", "b/1.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (problem,) = scan(tmp_path).problems  # `a` comes first, so that the folder itself is the second way in
    assert (problem.path, problem.code) == ("z", "link_loop")
    assert problem.detail == "by a link, this folder is read already under another name"
    assert "contains itself" not in PROBLEMS["link_loop"].meaning


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    put(tmp_path, os.fsdecode(b"a/\xff.jpg"), os.fsdecode(b"\xfe/1.jpg"))
    assert scan(tmp_path).classes == ("a", "b")
    assert codes(tmp_path) == {"a/\\xff.jpg": "name_not_utf8", "\\xfe": "name_not_utf8"}


def test_an_unreadable_folder_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path).name == "c":  # root may read everything, so permissions cannot be taken away here
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:  # pytest itself lists folders when it removes this one
        patch.setattr(os, "scandir", scandir)
        assert codes(tmp_path) == {"c": "unreadable_folder"}


def test_deep_nesting(tmp_path: Path) -> None:
    put(tmp_path, "/".join(["d"] * 300) + "/1.jpg", "a/1.jpg")
    assert len(scan(tmp_path).classes) == 2


def test_strays_do_not_turn_splits_into_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/stray.jpg", "validation/a/2.jpg")
    assert scan(tmp_path).classes == ("a", "b")
    assert codes(tmp_path) == {"train/stray.jpg": "loose_file"}


def test_a_validation_folder_inside_of_the_root_is_not_trained_on(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", "held/a/2.jpg", "held/b/2.jpg")
    dataset = scan(tmp_path, validation=tmp_path / "held")
    assert dataset.classes == ("a", "b")
    assert list(dataset.splits) == ["train", "train", "validation", "validation"]
    with pytest.raises(DatasetError, match="the same folder"):
        scan(tmp_path, validation=tmp_path / "a" / "..")


def test_earlier_runs_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", "runs/x-1/history.csv", "runs/x-1/report_files/1.jpg", "runs/x-2/run.json")
    assert scan(tmp_path).classes == ("a", "b")
    assert {"runs/x-1": "run_folder", "runs/x-2": "run_folder"}.items() <= codes(tmp_path).items()


def test_a_folder_without_usable_images_is_dropped_by_name(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/notes/1.txt", "val/b/2.jpg", "val/notes/2.txt")
    dataset = scan(tmp_path)
    usable = dataset.keep(np.array([row for row, path in enumerate(dataset.paths) if path != "train/notes/1.txt"]))
    left = without_empty_classes(usable)
    assert left.classes == ("a", "b")
    assert {path: left.classes[label] for path, label in zip(left.paths, left.labels, strict=True)} == {
        "train/a/1.jpg": "a",
        "train/b/1.jpg": "b",
        "val/b/2.jpg": "b",
    }
    assert [(problem.path, problem.code) for problem in left.problems] == [
        ("notes", "empty_class"),
        ("val/notes/2.txt", "unknown_class"),
    ]
    assert without_empty_classes(left) is left


def test_capital_letters_are_pointed_out(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/Cat/2.jpg")
    (problem,) = scan(tmp_path).problems
    assert "differs from cat in capital letters only" in problem.detail

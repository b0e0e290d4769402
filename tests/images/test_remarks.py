"""Remarks: what is to be known of splits and classes, in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldmark.images.remarks import remarks_on
from fieldmark.images.scan import scan
from tests.images.test_scan import put


def said(root: Path) -> list[str]:
    return remarks_on(scan(root), [])


def test_nothing_to_say(tmp_path: Path) -> None:
    assert said(put(tmp_path, "a/1.jpg", "b/1.jpg")) == []
    assert said(put(tmp_path / "split", "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg")) == []


def test_a_split_folder_without_an_image(tmp_path: Path) -> None:
    root = put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "Test/dog/1.jpg")
    (root / "valid" / "a").mkdir(parents=True)
    found = said(root)
    assert "Test/ holds no image that can be used" in found
    assert "valid/ holds no image that can be used, so a training holds out some of its own images instead" in found


def test_a_class_that_a_split_lacks_or_has_alone(tmp_path: Path) -> None:
    found = said(put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/dog/1.jpg"))
    assert found == [
        "validation has no image of b",
        "in validation or test, class dog is not one of the training classes",
    ]


def test_names_that_people_take_for_one(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    root = put(tmp_path, f"{composed}/1.jpg", f"{decomposed}/1.jpg", "Cat/1.jpg", "cat/1.jpg", "dog/1.jpg")
    if len(list(root.iterdir())) < 5:
        pytest.skip("this file system takes such names for one itself")
    assert said(root) == [
        f"{decomposed}, {composed} are classes whose names differ in how letters are encoded (Unicode) alone",
        "Cat, cat are classes whose names differ in capital letters alone",
    ]


def test_folders_in_class_folders_are_classes(tmp_path: Path) -> None:
    (remark,) = said(put(tmp_path, "horse/may/1.jpg", "horse/june/1.jpg", "dog/1.jpg"))
    assert remark == (
        "sub-folders count as classes of their own: horse/june, horse/may (2 of 3 classes); "
        "if horse should be one class each, move the images up"
    )


def test_one_picture_in_two_classes(tmp_path: Path) -> None:
    dataset = scan(put(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg"))
    assert remarks_on(dataset, [[0, 1], [1, 2]]) == ["the same image stands in two classes: a/2.jpg and b/1.jpg"]

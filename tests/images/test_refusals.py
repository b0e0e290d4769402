"""Refusals: what nothing can be made of is said in one sentence, with a hint at what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldmark.errors import DatasetError
from fieldmark.images.refusals import require_trainable, require_validation
from fieldmark.images.scan import scan
from tests.images.test_scan import put


def test_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match="no such directory") as caught:
        scan(tmp_path / "photo")
    assert "photos" in caught.value.hint


def test_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a file"):
        scan(put(tmp_path, "x") / "x")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images found"):
        scan(tmp_path)


def test_pointing_at_a_class_folder(tmp_path: Path) -> None:
    put(tmp_path / "photos", "cats/1.jpg", "cats/2.jpg", "dogs/1.jpg")
    with pytest.raises(DatasetError, match="2 loose images") as caught:
        scan(tmp_path / "photos" / "cats")
    assert caught.value.hint.endswith(f"(cats, dogs); point at {tmp_path / 'photos'}")


def test_loose_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1 loose image ") as caught:
        scan(put(tmp_path / "alone" / "photos", "1.jpg"))
    assert "one sub-directory per class" in caught.value.hint


def test_validation_without_train(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(DatasetError, match="no such directory"):
        scan(tmp_path, validation=tmp_path / "absent")


def test_one_class(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="one class only, a"):
        require_trainable(scan(put(tmp_path, "a/1.jpg", "a/2.jpg")))


def test_fewer_than_two_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fewer than two usable images in b \(1\)"):
        require_trainable(scan(put(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")))


def test_validation_beside_classes_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/1.jpg", "val/a/2.jpg", "val/b/2.jpg")
    with pytest.raises(DatasetError, match=r"beside val/") as caught:
        scan(tmp_path)
    assert "--validation" in caught.value.hint


def test_a_validation_folder_of_which_nothing_can_be_used(tmp_path: Path) -> None:
    root, other = put(tmp_path / "photos", "a/1.jpg", "b/1.jpg"), put(tmp_path / "more", "dog/1.jpg")
    with pytest.raises(
        DatasetError, match=r"--validation .*more: no image in it .*1 listed, such as .*dog/1.jpg"
    ) as caught:
        require_validation(scan(root, validation=other), other)
    assert "held out" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no image in it can be used; expected images in a, b"):
        require_validation(scan(root, validation=tmp_path / "empty"), tmp_path / "empty")


def test_a_validation_folder_with_one_image_will_do(tmp_path: Path) -> None:
    root, other = put(tmp_path / "photos", "a/1.jpg", "b/1.jpg"), put(tmp_path / "more", "b/1.jpg")
    require_validation(scan(root, validation=other), other)
    require_validation(scan(root), None)

"""Corrections: labels are set right by a table, wherever a folder is read, and a wrong table is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import fieldmark
from fieldmark.errors import DatasetError
from fieldmark.images.scan import scan


def put(root: Path, *names: str) -> Path:
    """Files below root; their content does not matter to a scan."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def labels(dataset) -> dict[str, str]:
    return {path: dataset.classes[label] for path, label in zip(dataset.paths, dataset.labels, strict=True)}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return put(tmp_path / "pets", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")


def test_the_root_s_own_table_is_honoured(pets: Path) -> None:
    (pets / "corrections.csv").write_text("path,label\ncat/1.jpg,dog\ndog/2.jpg,remove\ndog/1.jpg,dog\n")
    dataset = scan(pets)
    assert labels(dataset) == {"cat/1.jpg": "dog", "cat/2.jpg": "cat", "dog/1.jpg": "dog"}
    assert dataset.problems == ()
    assert [row.to_json() for row in dataset.corrections] == [
        {"path": "cat/1.jpg", "from": "cat", "to": "dog"},
        {"path": "dog/2.jpg", "from": "dog", "to": "remove"},
    ]


def test_in_a_split_layout(tmp_path: Path) -> None:
    root = put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "validation/a/2.jpg")
    (root / "corrections.csv").write_text("path,label\nvalidation/a/2.jpg,b\n")
    dataset = scan(root)
    assert labels(dataset)["validation/a/2.jpg"] == "b"
    assert dataset.problems == ()


def test_a_table_elsewhere_replaces_it_and_each_folder_has_its_own(pets: Path, tmp_path: Path) -> None:
    (pets / "corrections.csv").write_text("path,label\ncat/1.jpg,remove\n")
    other = tmp_path / "other.csv"
    other.write_text("\ufeffpath,label\r\ncat/2.jpg,dog\r\n", "utf-8")
    validation = put(tmp_path / "more", "cat/9.jpg", "dog/9.jpg")
    (validation / "corrections.csv").write_text("path,label\ncat/9.jpg,dog\n")
    dataset = scan(pets, validation=validation, corrections=other)
    assert [(Path(row.path).name, row.label) for row in dataset.corrections] == [("2.jpg", "dog"), ("9.jpg", "dog")]
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\ncat/7.jpg,dog\n", "no image has the path cat/7.jpg"),
        ("path,label\ncat/1.jpg,horse\n", "corrected to horse, which is no class"),
        ("path,label\ncat/1.jpg,dog\ncat/1.jpg,remove\n", "corrected twice"),
        ("cat/1.jpg,dog\n", "expected path,label"),
        ("path,label\ncat/1.jpg\n", "expected a path and a label"),
        ("path,label\ncat/1.jpg,\n", "expected a path and a label"),
        (
            "path,label\n" + "".join(f"{folder}/{n}.jpg,remove\n" for folder in ("cat", "dog") for n in (1, 2)),
            "no images",
        ),
    ],
)
def test_a_wrong_table_is_refused(pets: Path, table: str, message: str) -> None:
    (pets / "corrections.csv").write_text(table)
    with pytest.raises(DatasetError, match=message):
        scan(pets)


def test_a_table_that_is_no_text_or_not_there(pets: Path) -> None:
    (pets / "corrections.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a CSV file in UTF-8"):
        scan(pets)
    with pytest.raises(DatasetError, match="no such file"):
        scan(pets, corrections=pets / "missing.csv")


def test_a_corrected_frame_stays_with_its_sequence(tmp_path: Path) -> None:
    for name, shade in (("a", 60), ("b", 180)):
        for number in range(6):
            for frame in range(4):
                path = tmp_path / name / f"{name}{number}-{frame}.png"
                path.parent.mkdir(exist_ok=True)
                image = Image.new("RGB", (32, 32), (shade, 40 * number, 5 * frame))
                image.paste((255 - 30 * number, shade, 90), (3 * number, 2, 3 * number + 12, 20 + frame))
                image.save(path)
    (tmp_path / "corrections.csv").write_text("path,label\na/a2-1.png,b\n")
    found = fieldmark.audit(tmp_path, quick=True)
    group = dict(zip(found.dataset.paths, found.dataset.groups, strict=True))
    assert found.groups.rule == "sequence"
    assert group["a/a2-1.png"] == group["a/a2-0.png"]
    assert json.loads(json.dumps(found.to_json()))["corrections"] == [{"path": "a/a2-1.png", "from": "a", "to": "b"}]

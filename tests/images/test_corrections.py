"""Corrections: labels are set right by a table, wherever a folder is read, and a wrong table is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import fieldmark
from fieldmark.errors import ConflictError, DatasetError, OutputError
from fieldmark.images.corrections import correct, read_table
from fieldmark.images.refusals import require_trainable
from fieldmark.images.scan import scan
from fieldmark.storage import locked


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


@pytest.fixture
def split_pets(tmp_path: Path) -> Path:
    root = put(tmp_path / "pets", *(f"{split}/{name}/1.jpg" for split in ("train", "validation") for name in "ab"))
    (root / "corrections.csv").write_text("path,label\n./validation/a/1.jpg,b\ntrain/b/1.jpg,a\ntest/b/1.jpg,a\n")
    return root


@pytest.mark.parametrize("chosen", [False, True])
def test_a_split_folder_s_rows_of_the_table_beside_it(split_pets: Path, chosen: bool) -> None:
    table = split_pets / "corrections.csv" if chosen else None
    dataset = scan(split_pets / "validation", corrections=table)
    assert labels(dataset) == {"a/1.jpg": "b", "b/1.jpg": "b"}
    assert [row.to_json() for row in dataset.corrections] == [{"path": "a/1.jpg", "from": "a", "to": "b"}]
    both = scan(split_pets / "train", validation=split_pets / "validation", corrections=table)
    assert [(Path(row.path).as_posix()[-7:], row.label) for row in both.corrections] == [
        ("b/1.jpg", "a"),
        ("a/1.jpg", "b"),
    ]


def test_the_folder_s_own_row_is_nearer_than_the_one_beside(split_pets: Path) -> None:
    (split_pets / "validation" / "corrections.csv").write_text("path,label\na/1.jpg,remove\n")
    dataset = scan(split_pets / "validation")
    assert [row.to_json() for row in dataset.corrections] == [{"path": "a/1.jpg", "from": "a", "to": "remove"}]


def test_validation_inside_of_the_root_is_corrected_once(split_pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (split_pets / "corrections.csv").write_text("path,label\nvalidation/a/1.jpg,remove\n")
    monkeypatch.chdir(split_pets.parent)
    for root in (split_pets, Path("pets")):
        dataset = scan(root, validation=root / "validation")
        assert [row.path for row in dataset.corrections] == ["validation/a/1.jpg"]


def test_a_row_of_no_split_and_a_row_of_no_image_are_refused(split_pets: Path) -> None:
    for row in ("a/1.jpg,b", "validation/a/7.jpg,b"):
        (split_pets / "corrections.csv").write_text(f"path,label\n{row}\n")
        with pytest.raises(DatasetError, match=r"no image has the path .*a/"):
            scan(split_pets / "validation")


def test_a_table_elsewhere_replaces_it_and_each_folder_has_its_own(pets: Path, tmp_path: Path) -> None:
    (pets / "corrections.csv").write_text("path,label\ncat/1.jpg,remove\n")
    other = tmp_path / "other.csv"
    other.write_text("\ufeffpath,label\r\ncat/2.jpg,dog\r\n", "utf-8")
    validation = put(tmp_path / "more", "cat/9.jpg", "dog/9.jpg")
    (validation / "corrections.csv").write_text("path,label\ncat/9.jpg,dog\n")
    dataset = scan(pets, validation=validation, corrections=other)
    assert [(Path(row.path).name, row.label) for row in dataset.corrections] == [("2.jpg", "dog"), ("9.jpg", "dog")]
    assert dataset.problems == ()


def test_absolute_paths_hold_below_a_relative_root(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "corrections.csv").write_text(f"path,label\n{pets / 'cat' / '1.jpg'},dog\n./cat/1.jpg,dog\n")
    monkeypatch.chdir(pets.parent)
    assert labels(scan(Path(pets.name)))["cat/1.jpg"] == "dog"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\ncat/7.jpg,dog\n", "no image has the path cat/7.jpg"),
        ("path,label\ncat/1.jpg,horse\n", "corrected to horse, which is no class"),
        ("path,label\ncat/1.jpg,dog\ncat/1.jpg,remove\n", "corrected twice"),
        ("path,label\ncat/1.jpg,dog\n./cat/1.jpg,remove\n", "cat/1.jpg is corrected twice, to dog and to remove"),
        ("cat/1.jpg,dog\n", "expected path,label"),
        ("path,label\ncat/1.jpg\n", "expected a path and a label"),
        ("path,label\ncat/1.jpg,\n", "expected a path and a label"),
        (
            "path,label\n" + "".join(f"{folder}/{n}.jpg,remove\n" for folder in ("cat", "dog") for n in (1, 2)),
            r"the table of corrections removes every image to train on \(4 rows\)",
        ),
    ],
)
def test_a_wrong_table_is_refused(pets: Path, table: str, message: str) -> None:
    (pets / "corrections.csv").write_text(table)
    with pytest.raises(DatasetError, match=message):
        scan(pets)


@pytest.mark.parametrize(
    ("rows", "message", "hint"),
    [
        (
            "cat/1.jpg,dog\ncat/2.jpg,remove\n",
            r"one class only, dog .* needed; the table of corrections takes 2 images of cat away$",
            "look at the rows of that table",
        ),
        ("cat/1.jpg,remove\n", r"in cat \(1\).*; the table of corrections takes 1 image of cat away$", "add images"),
        ("cat/1.jpg,dog\ndog/1.jpg,cat\n", "", ""),
        ("cat/1.jpg,cat\n", "", ""),
    ],
)
def test_a_class_that_a_table_empties_is_told_with_the_table(pets: Path, rows: str, message: str, hint: str) -> None:
    (pets / "corrections.csv").write_text(f"path,label\n{rows}")
    if not message:
        require_trainable(scan(pets))
        return
    with pytest.raises(DatasetError, match=message) as caught:
        require_trainable(scan(pets))
    assert caught.value.hint is not None
    assert hint in caught.value.hint


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


def read(root: Path) -> str:
    return (root / "corrections.csv").read_bytes().decode()


def test_a_row_is_set_and_taken_out_and_the_others_stay_as_written(pets: Path) -> None:
    table = pets / "corrections.csv"
    written = '\ufeffPath , label\r\n"cat/1.jpg", dog \r\n\r\n\'=dog/1.jpg,remove\r\ndog/2.jpg,cat'
    table.write_bytes(written.encode())
    correct(table, "cat/2.jpg", "dog", expected=None)
    assert read(pets) == written + "\r\ncat/2.jpg,dog\r\n"
    correct(table, "dog/2.jpg", "remove", expected="cat")
    assert read(pets) == written[:-3] + "remove\r\ncat/2.jpg,dog\r\n"
    correct(table, "dog/2.jpg", "cat", expected="remove")
    correct(table, "cat/2.jpg", None, expected="dog")
    assert read(pets) == written + "\r\n"
    correct(table, "=dog/1.jpg", None, expected="remove")
    assert read_table(table) == {"cat/1.jpg": "dog", "dog/2.jpg": "cat"}


@pytest.mark.parametrize(
    "path", ["a,b/1.jpg", 'say "x"/1.jpg', "two\nlines\r/1.jpg", "=1+2.jpg", " 1.jpg", "\u202e犬/😀.jpg"]
)
def test_any_path_and_label_comes_back(tmp_path: Path, path: str) -> None:
    table = tmp_path / "corrections.csv"
    for label in ("=cmd", 'a,"b"', "remove", "<b>\u202e犬"):
        correct(table, path, label, expected=read_table(table).get(path) if table.exists() else None)
        assert read_table(table) == {path: label}
    correct(table, path, None, expected="<b>\u202e犬")
    assert read(tmp_path) == "path,label\n"


def test_what_a_table_cannot_hold_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be written into such a table"):
        correct(tmp_path / "corrections.csv", "1.jpg", " cat", expected=None)
    with pytest.raises(DatasetError, match="expected a path and a label"):
        correct(tmp_path / "corrections.csv", "1.jpg", " ", expected=None)
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_a_person_wrote_in_another_way_is_the_same_row(pets: Path) -> None:
    (pets / "corrections.csv").write_text("path,label\n./cat//1.jpg,dog\n")
    correct(pets / "corrections.csv", "cat/1.jpg", "remove", expected="dog")
    assert read(pets) == "path,label\ncat/1.jpg,remove\n"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_begun(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corrections.csv").write_bytes(content)
    correct(tmp_path / "corrections.csv", "1.jpg", "cat", expected=None)
    assert read(tmp_path) == content.decode() + "path,label\n1.jpg,cat\n"


def test_who_looked_at_an_older_row_changes_nothing(pets: Path) -> None:
    table = pets / "corrections.csv"
    correct(table, "cat/1.jpg", "dog", expected=None)
    with pytest.raises(
        ConflictError, match=r"cat/1\.jpg: corrected to dog meanwhile, where not corrected was expected"
    ):
        correct(table, "cat/1.jpg", "remove", expected=None)
    correct(table, "cat/1.jpg", "dog", expected=None)  # both wanted the same
    assert read(pets) == "path,label\ncat/1.jpg,dog\n"


def test_a_table_that_is_none_is_never_overwritten(pets: Path) -> None:
    table = pets / "corrections.csv"
    for content in (b"ssh-rsa AAAA\n", b"\xff\xfe\x00", b"path,label\na,b\na,c\n"):
        table.write_bytes(content)
        with pytest.raises(DatasetError):
            correct(table, "cat/1.jpg", "dog", expected=None)
        assert table.read_bytes() == content


def test_a_link_stays_one_and_makes_no_file(pets: Path, tmp_path: Path) -> None:
    table, other = pets / "corrections.csv", tmp_path / "other.csv"
    table.symlink_to(other)
    with pytest.raises(DatasetError, match="a link that leads to no file"):
        correct(table, "cat/1.jpg", "dog", expected=None)
    assert not other.exists()
    other.write_text("path,label\n")
    correct(table, "cat/1.jpg", "dog", expected=None)
    assert table.is_symlink()
    assert read_table(other) == {"cat/1.jpg": "dog"}


def test_a_folder_that_moved_is_not_made_again(pets: Path) -> None:
    table = pets / "corrections.csv"
    pets.rename(pets.with_name("moved"))
    with pytest.raises(OutputError, match=r"cannot write .*pets: No such file or directory"):
        correct(table, "cat/1.jpg", "dog", expected=None)
    assert not pets.exists()


WRITER = """
import sys
from pathlib import Path
from fieldmark.images.corrections import correct
for number in range(8):
    correct(Path(sys.argv[1]), f"{sys.argv[2]}/{number}.jpg", "dog", expected=None)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    table = tmp_path / "corrections.csv"
    arguments = [sys.executable, "-c", WRITER, str(table)]
    others = [subprocess.Popen([*arguments, name]) for name in "abc"]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert read_table(table) == {f"{name}/{number}.jpg": "dog" for name in "abc" for number in range(8)}
    assert [path.name for path in tmp_path.iterdir()] == ["corrections.csv"]


def test_a_lock_that_is_held_is_said(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(OutputError, match=r"locked for 0\.05 s"), locked(tmp_path, seconds=0.05):
        pass
    with locked(tmp_path, seconds=0.05):
        pass

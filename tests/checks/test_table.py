"""All checks together: every question is answered or says why not, on good and on degenerate datasets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fieldmark import auditing
from fieldmark.checks.context import Context, Copy
from fieldmark.checks.joining import join_within, joined_groups
from fieldmark.checks.labels import check_labels
from fieldmark.checks.quality import defects
from fieldmark.checks.table import CHECKS, run_checks
from fieldmark.images.audit import Audit, audit_images
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from fieldmark.report import text
from tests.checks.test_alignment import CHANGES, scene

SMALL = Preprocessing(width=112, height=112)


def checked(root: Path, *, embed: bool = True) -> Audit:
    """All checks, with small pictures for embeddings: what is tested here is not the backbone."""
    images = read(scan(root), SMALL)
    found = audit_images(images)
    small = images.thumbnails().reshape(len(found.dataset), -1).astype(np.float32) - 128
    return run_checks(images, found, small if embed else None, not_run="torch is missing", hint="install it")


def answers(found: Audit) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(json.dumps(found.to_json(), allow_nan=False))["checks"]}


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of eight different scenes each."""
    for number in range(16):
        save(scene(number), tmp_path / "scenes" / "ab"[number % 2] / f"{'xyzuvwrs'[number // 2]}.png")
    return tmp_path / "scenes"


def test_a_clean_dataset_is_not_accused(scenes: Path) -> None:
    found = answers(checked(scenes))
    assert list(found) == list(CHECKS)
    for name in ("files", "leaks", "exact_duplicates", "near_duplicates", "image_quality", "shortcuts"):
        assert found[name]["status"] == "done"
        assert found[name]["findings"] == [], found[name]


def test_copies_are_found_and_leaks_with_them(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    scenes.rename(tmp_path / "all" / "train")
    for change in ("brightened", "mirrored", "blurred", "grey", "turned by a quarter"):
        save(CHANGES[change](scene(4)), tmp_path / "all" / "validation" / "a" / f"{change}.png")
    save(scene(5), tmp_path / "all" / "validation" / "b" / "other format.bmp")
    found = checked(tmp_path / "all")
    assert found.duplicates == (("train/b/z.png", "validation/b/other format.bmp"),)
    leaking = {Path(leak.other).stem: leak.train for leak in found.leaks}
    assert leaking["other format"] == "train/b/z.png"
    for change in ("brightened", "mirrored", "blurred", "grey", "turned by a quarter"):
        assert leaking[change] == "train/a/z.png"
    assert len(answers(found)["leaks"]["findings"]) == len(found.leaks) == 6


def test_frames_of_one_sequence_are_no_copies(tmp_path: Path) -> None:
    for number in range(5):
        for frame in range(3):
            image = scene(number + 100)
            image.paste((200, 0, 0), (10 * frame, 5, 10 * frame + 8, 13))
            save(image, tmp_path / "a" / f"clip{number}-{frame}.png")
    found = checked(tmp_path)
    assert found.groups.rule == "sequence"
    assert found.near_duplicates == ()


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("tiny", scene(50).resize((20, 20))),
        ("dark", scene(50).point(lambda value: value // 6)),
        ("over-exposed", scene(50).point(lambda value: 215 + value // 7)),
        ("over-exposed", scene(50).point(lambda value: min(255, 4 * value))),
        ("nearly uniform", Image.new("RGB", (112, 112), (90, 120, 40))),
        ("odd shape", scene(50).resize((400, 100))),
        ("greyscale", scene(50).convert("L")),
        *[("blurred", scene(50).filter(ImageFilter.GaussianBlur(radius))) for radius in (4, 7, 14)],
    ],
)
def test_each_defect_is_found_where_it_is(scenes: Path, kind: str, image: Image.Image) -> None:
    save(image, scenes / "a" / "defect.png")
    images = read(scan(scenes), SMALL)
    found = defects(Context(images, audit_images(images)))
    assert [images.dataset.paths[row] for row in found[kind][1]] == ["a/defect.png"]
    for other, (_, rows) in found.items():
        assert other == kind or not len(rows), (other, kind)


def test_a_class_saved_at_another_quality_is_a_shortcut(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / "ab"[number % 2] / f"{chr(97 + number // 2)}.jpg"
        save(scene(number), path, quality=(70, 90)[number % 2])
    found = answers(checked(tmp_path, embed=False))["shortcuts"]
    assert "compression" in {finding["numbers"]["probe"] for finding in found["findings"]}
    assert found["numbers"]["probes"]["format"]["verdict"] == "none"


def test_a_coloured_border_on_one_class_is_a_shortcut(tmp_path: Path) -> None:
    for number in range(40):
        image = scene(number)
        if number % 2:
            framed = Image.new("RGB", image.size, (200, 30, 30))
            framed.paste(image.crop((4, 4, 108, 108)), (4, 4))
            image = framed
        save(image, tmp_path / "ab"[number % 2] / f"{number // 2}.png")
    found = answers(checked(tmp_path, embed=False))["shortcuts"]
    accused = {finding["numbers"]["probe"] for finding in found["findings"] if finding["weight"] == "problem"}
    assert "border" in accused
    assert "dimensions" not in accused


def test_without_embeddings_the_rest_is_answered(scenes: Path) -> None:
    found = answers(checked(scenes, embed=False))
    for name in ("near_duplicates", "wrong_labels"):
        assert (found[name]["status"], found[name]["reason"], found[name]["hint"]) == (
            "not run",
            "torch is missing",
            "install it",
        )
    assert found["shortcuts"]["status"] == "done"


@pytest.mark.parametrize(("classes", "each"), [(1, 3), (2, 1), (40, 1), (1, 1)])
def test_degenerate_datasets_are_answered_in_words(tmp_path: Path, classes: int, each: int) -> None:
    for label in range(classes):
        for number in range(each):
            save(scene(label * each + number), tmp_path / f"class <{label}>" / f"{'pqr'[number]}.png")
    found = checked(tmp_path)
    for check in answers(found).values():
        assert check["answer"]
    lines = text.check_lines(found.to_json())
    assert sum(line == check.question for line in lines for check in CHECKS.values()) == len(CHECKS)


def test_problems_stand_first_and_what_was_not_asked_last(faces: Path) -> None:
    found = auditing.audit(faces, quick=True)
    lines = text.check_lines(found.to_json())
    questions = [line for line in lines if line.endswith("?")]
    assert {CHECKS["files"].question, CHECKS["leaks"].question} <= set(questions[:4])
    assert set(questions[-2:]) == {CHECKS["near_duplicates"].question, CHECKS["wrong_labels"].question}
    assert any("not run: --quick" in line for line in lines)


def test_what_many_images_are_is_no_defect(tmp_path: Path) -> None:
    for number in range(12):
        save(scene(number).convert("L"), tmp_path / "ab"[number % 2] / f"{number}.png")
    images = read(scan(tmp_path), SMALL)
    assert len(defects(Context(images, audit_images(images)))["greyscale"][1]) == 0


def test_training_images_are_counted_and_judged(tmp_path: Path) -> None:
    for number in range(30):
        split = "train" if number < 10 else "validation"
        save(scene(number), tmp_path / split / "ab"[number % 2] / f"{number}.png")
    found = answers(checked(tmp_path, embed=False))["class_sizes"]
    assert [finding["numbers"]["images"] for finding in found["findings"]] == [5, 5]


def test_few_groups_and_uneven_classes_are_told(tmp_path: Path) -> None:
    for number in range(24):
        save(scene(number // 12), tmp_path / "few" / f"clip{number // 12}-{number % 12:02}.png", compress_level=1)
    for number in range(100):
        save(scene(number), tmp_path / "many" / f"{number}.png", compress_level=1)
    found = answers(checked(tmp_path, embed=False))["class_sizes"]["findings"]
    problems = [finding["numbers"] for finding in found if finding["weight"] == "problem"]
    assert [(each["class"], each["images"]) for each in problems] == [("few", 24)]
    assert problems[0]["groups"] < 5
    assert [finding["numbers"] for finding in found if finding["weight"] == "note"] == [
        {"largest": 100, "smallest": 24}
    ]


def test_the_same_image_in_two_classes_is_a_problem(scenes: Path) -> None:
    save(scene(0), scenes / "b" / "copy.bmp")
    save(scene(1), scenes / "b" / "another.bmp")
    found = answers(checked(scenes, embed=False))["exact_duplicates"]["findings"]
    assert [finding["weight"] for finding in found] == ["problem", "note"]
    assert "in the classes a and b" in found[0]["sentence"]


def test_classes_that_cannot_be_told_apart_accuse_no_label(scenes: Path) -> None:
    images = read(scan(scenes), SMALL)
    found = audit_images(images)
    noise = np.random.default_rng(0).normal(size=(16, 40)).astype(np.float32)
    _, sentence, table = check_labels(Context(images, found, noise))
    assert table == []
    assert sentence.startswith("Cannot be told: the check cannot tell these classes apart.")
    apart = noise + 20.0 * (images.dataset.labels[:, None] == 0)
    apart[0] = apart[-1]
    _, sentence, table = check_labels(Context(images, found, apart.astype(np.float32)))
    assert len(table) == 1
    assert sentence == (
        "No label is contradicted, of 16 images. For 1 label another class is a little likelier: most such labels are "
        "right, the most doubtful come first."
    )


def test_near_duplicates_belong_to_one_group(scenes: Path) -> None:
    images = read(scan(scenes), SMALL)
    context = Context(images, audit_images(images), copies=(Copy(0, 3, 0.9, 0.9), Copy(3, 7, 0.9, 0.9)))
    groups = joined_groups(context)
    assert groups[0] == groups[3] == groups[7]
    assert len(set(groups)) == len(groups) - 2


def test_shortcuts_are_judged_by_the_groups_of_the_split(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A chain of less sure pairs, of which the split keeps some apart: whatever connects would leave a one group.
    images = read(scan(scenes), SMALL)
    found = audit_images(images)
    chain = (Copy(0, 1, 0.99, 0.9), *(Copy(row, row + 1, 0.85, 0.9) for row in range(1, 7)))
    groups, _ = join_within(images.dataset, found.groups, chain, np.ones(16, dtype=bool))
    assert 2 <= len(set(groups.names[:8])) < 8
    assert joined_groups(Context(images, found, copies=chain)) == groups.names
    joined = dataclasses.replace(found, dataset=images.dataset.replace(groups=groups.names), groups=groups)
    assert joined_groups(Context(images, found, copies=chain, joined=True)) == found.groups.names  # taken as they are
    seen: list[Context] = []
    monkeypatch.setattr("fieldmark.checks.shortcuts.joined_groups", lambda context: seen.append(context) or ["x"] * 16)
    small = np.ones((16, 4), np.float32)
    run_checks(images, joined, small, copies=chain)
    run_checks(images, found, small)
    assert [context.joined for context in seen] == [True, False]

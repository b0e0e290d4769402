"""Groups are found in file names where the images agree, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fieldmark.errors import DatasetError
from fieldmark.images.groups import GROUP_RULES, Groups, find_groups
from tests.images.pictures import thumbnails

Bytes = np.ndarray


def scenes(numbers: Sequence[int], *, change: float = 12, seed: int = 0) -> Bytes:
    """One thumbnail a row: rows with the same number show the same scene, a little changed."""
    coarse = [np.random.default_rng((1, number)).integers(60, 190, (4, 4, 3)) for number in numbers]
    noise = np.random.default_rng(seed).normal(0, change, (len(numbers), 16, 16, 3))
    return np.clip(np.stack(coarse).repeat(4, axis=1).repeat(4, axis=2) + noise, 0, 255).astype(np.uint8)


def contents(images: Bytes) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def find(paths: Sequence[str], images: Bytes, **options: str) -> Groups:
    labels = [path.split("/")[-2] for path in paths]
    return find_groups(paths, contents(images), labels, images, **options)


def partition(names: Sequence[str]) -> set[frozenset[int]]:
    return {frozenset(row for row, other in enumerate(names) if other == name) for name in names}


def dataset(name: Callable[[int, int], str], sequences: int = 12, frames: int = 5) -> tuple[list[str], list[int]]:
    """Paths of two classes and the scene of each; `name` makes the file name from sequence and frame."""
    rows = [(sequence, frame) for sequence in range(sequences) for frame in range(frames)]
    return [f"{('cat', 'dog')[s % 2]}/{name(s, f)}.jpg" for s, f in rows], [s for s, _ in rows]


NAMINGS = {
    "sequence": lambda s, f: f"horse{s:02}-{f}",
    "frame": lambda s, f: f"garden{'abcdefghijkl'[s]}_frame_{f:04}",
    "individual": lambda s, f: f"P{s:03}_{'abcdefgh'[f]}side",
    "augmented": lambda s, f: f"leaf{'abcdefghijkl'[s]}" + ("", "_rot90", "_flip", "_aug3", "_crop")[f],
    "copy": lambda s, f: f"plate {'abcdefghijkl'[s]}" + ("", " (2)", " (3)", "_copy", " - copy")[f],
}


@pytest.mark.parametrize("rule", GROUP_RULES)
def test_every_rule_finds_its_groups(rule: str) -> None:
    paths, numbers = dataset(NAMINGS[rule])
    groups = find(paths, scenes(numbers))
    assert (groups.rule, groups.count, groups.sequences) == (rule, 12, 12)
    assert partition(groups.names) == partition([str(number) for number in numbers])
    assert GROUP_RULES[rule][1] in groups.meaning
    assert "12 groups of 5 images" in groups.meaning


@pytest.mark.parametrize("rule", GROUP_RULES)
def test_no_rule_is_believed_when_the_images_differ(rule: str) -> None:
    paths, numbers = dataset(NAMINGS[rule])
    mixed = np.random.default_rng(0).permutation(numbers)
    groups = find(paths, scenes(mixed.tolist()))
    assert (groups.rule, groups.count, groups.sequences) == ("none", 60, 0)
    assert GROUP_RULES[rule][1] in groups.meaning  # what was not believed is told


@pytest.mark.parametrize("rule", GROUP_RULES)
def test_a_known_rule_holds_for_too_few_images_to_find_it(rule: str) -> None:
    paths, numbers = dataset(NAMINGS[rule], sequences=1)
    images = scenes(numbers)
    assert find(paths, images).count > 1
    groups = find(paths, images, known_rule=rule)
    assert (groups.rule, groups.count) == (rule, 1)
    assert "the rule of the training" in groups.meaning


def test_a_known_rule_yields_where_the_images_contradict_it_or_no_name_follows_it() -> None:
    paths, numbers = dataset(NAMINGS["sequence"])
    mixed = np.random.default_rng(0).permutation(numbers)
    assert find(paths, scenes(mixed.tolist()), known_rule="sequence").rule == "none"
    assert find(paths, scenes(numbers), known_rule="frame").rule == "sequence"
    assert find(paths, scenes(numbers), known_rule="nothing_is_called_(so)").rule == "sequence"
    assert find(paths, scenes(numbers), known_rule="none").rule == "none"
    assert find(paths, scenes(numbers), known_rule="(cat|dog)/").count == 2


def test_a_rule_of_a_training_that_is_no_expression_is_told() -> None:
    paths, numbers = dataset(NAMINGS["sequence"])
    with pytest.raises(DatasetError, match=r"group_by \(cat of the training: not a regular expression") as caught:
        find(paths, scenes(numbers), known_rule="(cat")
    assert caught.value.hint


@pytest.mark.parametrize("stem", ["IMG_0001", "cat.17", "DSC01234", "photo-1", "0001", "IMG-20240517-WA0001"])
def test_plain_numbering_names_no_sequence(stem: str) -> None:
    for rule in ("sequence", "frame", "individual"):
        assert not re.fullmatch(GROUP_RULES[rule][0], stem, re.IGNORECASE)


@pytest.mark.parametrize(
    ("rule", "stem", "group"),
    [
        ("sequence", "human17-30", "human17"),
        ("sequence", "v_Bowling_g01_c02_0007", "v_Bowling_g01_c02"),
        ("sequence", "2024-05-17_001", "2024-05-17"),  # a day: only the images can tell
        ("frame", "clip3_frame_0001", "clip3"),
        ("frame", "garden-f12", "garden"),
        ("individual", "P012_003", "P012"),
        ("individual", "patient 7-left", "patient 7"),
        ("augmented", "leaf_rot90", "leaf"),
        ("augmented", "IMG_1_jpg.rf.0a1b2c", "IMG_1_jpg"),
        ("copy", "leaf (2)", "leaf"),
        ("copy", "leaf - Copy (3)", "leaf"),
    ],
)
def test_rules_name_the_group(rule: str, stem: str, group: str) -> None:
    match = re.fullmatch(GROUP_RULES[rule][0], stem, re.IGNORECASE)
    assert match
    assert match["group"] == group


def test_days_are_groups_only_where_the_images_say_so() -> None:
    paths, numbers = dataset(lambda s, f: f"2024-05-{s + 1:02}_{f:03}")
    assert find(paths, scenes(numbers)).rule == "sequence"
    assert find(paths, scenes(range(len(paths)))).rule == "none"


def test_images_outside_of_the_rule_are_no_group() -> None:
    paths, numbers = dataset(NAMINGS["sequence"])
    mixed = np.random.default_rng(0).permutation(numbers).tolist()
    images = np.concatenate([scenes(mixed), scenes([50] * 180)])
    paths += [f"{('cat', 'dog')[row % 2]}/IMG_{row:03}.jpg" for row in range(180)]
    assert find(paths, images).rule == "none"


def test_an_original_without_copies_is_named_by_its_content() -> None:
    paths, numbers = dataset(NAMINGS["copy"])
    images = np.concatenate([scenes(numbers), scenes([50])])
    assert find([*paths, "cat/lonely.jpg"], images).names[-1] == f"image:{contents(images)[-1]}"


def test_few_groups_are_no_rule() -> None:
    paths, numbers = dataset(NAMINGS["sequence"], sequences=3, frames=20)
    assert find(paths, scenes(numbers)).rule == "none"


def test_one_group_a_class_is_no_evidence() -> None:
    # As in ImageNet, where n02123045_17 names the class itself.
    paths = [f"n{c}/n{c}_{frame}.jpg" for c in range(6) for frame in range(8)]
    groups = find(paths, scenes([row // 8 for row in range(48)]))
    assert groups.rule == "none"
    assert "not believed" not in groups.meaning


def test_two_images_of_each_of_many_groups_are_enough() -> None:
    paths, numbers = dataset(NAMINGS["sequence"], sequences=60, frames=2)
    assert find(paths, scenes(numbers, change=45)).sequences == 60


def test_the_coarser_of_two_good_rules_is_taken() -> None:
    # 12 patients with 2 recordings each: P001_2_07 is a frame of a recording and an image of a patient
    rows = [(p, recording, frame) for p in range(12) for recording in range(2) for frame in range(3)]
    paths = [f"{('cat', 'dog')[p % 2]}/P{p:03}_{recording}_{frame:02}.jpg" for p, recording, frame in rows]
    groups = find(paths, scenes([p for p, _, _ in rows]))
    assert (groups.rule, groups.sequences) == ("individual", 12)


def test_folders_that_count_anew_do_not_share_groups() -> None:
    rows = [(label, s, f) for label in range(2) for s in range(8) for f in range(4)]
    paths = [f"{('cat', 'dog')[label]}/video{s}_{f}.jpg" for label, s, f in rows]
    groups = find(paths, scenes([100 * label + s for label, s, _ in rows]))
    assert groups.count == 16
    assert set(groups.names[:4]) == {"cat/video0"}


def test_a_video_sorted_into_two_classes_is_one_group() -> None:
    rows = [(label, s, f) for label in range(2) for s in range(8) for f in range(4)]
    paths = [f"{('happy', 'sad')[label]}/video{s}_{4 * label + f}.jpg" for label, s, f in rows]
    groups = find(paths, scenes([s for _, s, _ in rows]))
    assert groups.count == 8
    assert {name for name, (_, s, _) in zip(groups.names, rows, strict=True) if s == 3} == {"video3"}


@pytest.mark.parametrize("leaks", [True, False])
def test_the_same_name_in_train_and_validation(leaks: bool) -> None:
    rows = [(v, label, s, f) for v in range(2) for label in range(2) for s in range(6) for f in range(4)]
    paths = [f"{('train', 'validation')[v]}/{'ab'[label]}/clip{s}_{4 * v + f}.jpg" for v, label, s, f in rows]
    scene = [1000 * label + s + (0 if leaks else 100 * v) for v, label, s, _ in rows]
    groups = find(paths, scenes(scene))
    assert groups.count == (12 if leaks else 24)
    assert groups.names[0] == ("a/clip0" if leaks else "train/a/clip0")


def test_order_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldmark.images.agreement.IMAGES_LOOKED_AT", 40)  # fewer than there are
    paths, numbers = dataset(NAMINGS["sequence"], sequences=20)
    images = scenes(numbers, change=70)
    order = np.random.default_rng(0).permutation(len(paths))
    shuffled = find([paths[row] for row in order], images[order])
    straight = find(paths, images)
    assert shuffled.names == tuple(straight.names[row] for row in order)
    assert shuffled.meaning == straight.meaning
    assert straight.rule == "sequence"
    assert "for 100 %" not in straight.meaning


def test_new_files_and_new_names_leave_the_names_of_groups() -> None:
    paths, numbers = dataset(NAMINGS["sequence"], sequences=24)
    plain = [f"cat/IMG_{row:04}.jpg" for row in range(20)]
    images = np.concatenate([scenes(numbers), scenes(range(500, 520))])
    before = find(paths + plain, images).names
    kept = np.flatnonzero(np.random.default_rng(0).random(len(before)) < 0.9)
    old = [(paths + plain)[row] for row in kept]
    renamed = [path.replace("IMG_", "DSC_9") for path in old]
    assert find(old, images[kept]).names == find(renamed, images[kept]).names
    assert find(old, images[kept]).names == tuple(before[row] for row in kept)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r"(\w+)/(?P<group>\w+?)\d_", ["tom", "tom", "rex"]),  # the group called "group"
        (r"([a-z]+)\d_(\d)", ["tom", "tom", "rex"]),  # the first group
        (r"\w+/[a-z]+", ["cat/tom", "cat/tom", "dog/rex"]),  # all of it
        (r"^[^/]+", ["cat", "cat", "dog"]),  # folders too
    ],
)
def test_an_expression_of_the_user(expression: str, expected: list[str]) -> None:
    paths = ["cat/tom1_1.jpg", "cat/tom2_2.jpg", "dog/rex1_1.jpg"]
    groups = find(paths, scenes([1, 2, 3]), group_by=expression)
    assert (list(groups.names), groups.rule) == (expected, expression)


def test_images_that_the_expression_does_not_match_stand_alone() -> None:
    images = scenes([1, 2, 3, 4])
    paths = ["cat/tom_1.jpg", "cat/tom_2.jpg", "cat/other.jpg", "cat/_3.jpg"]
    groups = find(paths, images, group_by=r"/(\w*)_\d")
    assert groups.names == ("tom", "tom", *(f"image:{content}" for content in contents(images[2:])))
    assert "2 images that it does not match" in groups.meaning


def test_one_group_of_the_user_may_cross_classes() -> None:
    groups = find(["cat/P1_1.jpg", "dog/P1_2.jpg"], scenes([1, 2]), group_by=r"P\d+")
    assert groups.count == 1


@pytest.mark.parametrize(
    ("expression", "says"),
    [("(unclosed", "not a regular expression"), ("zebra", "none|no group"), ("(x)?cat", "no group")],
)
def test_a_wrong_expression_is_the_users_mistake(expression: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        find(["cat/a.jpg", "cat/b.jpg"], scenes([1, 2]), group_by=expression)
    assert expression in str(caught.value)
    assert "--group-by" in caught.value.hint


def test_identical_files_and_near_copies_are_always_joined() -> None:
    images = scenes([1, 2, 3, 4, 5, 6])
    images[3] = images[0]  # the same file
    images[4] = np.rot90(images[1])  # a turned copy
    paths = [f"cat/IMG_{row}.jpg" for row in range(6)]
    for group_by in (None, "none"):
        groups = find_groups(paths, contents(images), ["cat"] * 6, images, group_by=group_by)
        assert partition(groups.names) == {frozenset({0, 3}), frozenset({1, 4}), frozenset({2}), frozenset({5})}
        assert (groups.rule, groups.count, groups.sequences) == ("none", 4, 0)
        assert "2 groups of 2 images" in groups.meaning
    smallest = min(contents(images)[1], contents(images)[4])
    assert groups.names[1] == f"image:{smallest}"


def test_identical_files_are_joined_however_plain_they_are() -> None:
    blank = np.full((3, 16, 16, 3), 255, dtype=np.uint8)
    groups = find_groups(["a/1.jpg", "a/2.jpg", "a/3.jpg"], ["x", "x", "y"], ["a"] * 3, blank)
    assert groups.names == ("image:x", "image:x", "image:y")
    named = find_groups(["a/tom1", "a/rex1", "a/max1"], ["x", "x", "y"], ["a"] * 3, blank, group_by=r"\w+1")
    assert partition(named.names) == {frozenset({0, 1}), frozenset({2})}


def test_a_name_from_file_names_goes_before_one_from_content() -> None:
    paths, numbers = dataset(NAMINGS["sequence"])
    images = np.concatenate([scenes(numbers), scenes([99])])
    images[-1] = np.rot90(images[0])
    names = find([path.replace("cat", "zebra") for path in [*paths, "dog/holiday.jpg"]], images).names
    assert names[0] == names[-1] == "zebra/horse00"


def test_a_copy_joins_two_sequences_under_the_smaller_name() -> None:
    paths, numbers = dataset(NAMINGS["sequence"])
    images = np.concatenate([scenes(numbers), scenes([99])])
    images[40] = images[3][::-1]
    images[60] = np.rot90(images[41])
    groups = find([*paths, "cat/holiday.jpg"], images)
    joined = {row for row, name in enumerate(groups.names) if name == groups.names[3]}
    assert groups.names[3] == "cat/horse00"
    assert joined == {*range(5), *range(40, 45), 60}
    assert (groups.count, groups.sequences) == (11, 12)


def test_known_copies_are_not_searched_again() -> None:
    groups = find_groups(["a/1", "a/2", "a/3"], list("xyz"), ["a"] * 3, scenes([1, 2, 3]), copies=[(0, 2, 0.1)])
    assert partition(groups.names) == {frozenset({0, 2}), frozenset({1})}


def test_no_images() -> None:
    groups = find_groups([], [], [], scenes([0])[:0])
    assert (groups.names, groups.count) == ((), 0)


def test_names_that_are_not_utf8() -> None:
    paths, numbers = dataset(lambda s, f: f"caf\udce9{s}-{f}")
    assert find(paths, scenes(numbers)).names[0] == "cat/caf\udce90"


def real(root: Path, pattern: str) -> Groups:
    paths = sorted(root.rglob(pattern))
    images = thumbnails(
        np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB").reduce(2)) for path in paths
    )
    return find([path.relative_to(root).as_posix() for path in paths], images)


def test_horses_or_humans_is_67_sequences(shared_data: Path) -> None:
    groups = real(shared_data / "horses-or-humans/train", "*.jpg")
    assert (groups.rule, groups.count, groups.sequences) == ("sequence", 67, 67)
    assert len({name for name in groups.names if name.startswith("horses/horse")}) == 50


def test_the_validation_of_horses_or_humans_is_sequences_too(shared_data: Path) -> None:
    groups = real(shared_data / "horses-or-humans/validation", "*.jpg")
    assert (groups.rule, groups.count, groups.sequences) == ("sequence", 11, 11)


def test_happy_or_sad_is_four_animations(shared_data: Path) -> None:
    groups = real(shared_data / "happy-or-sad", "*.png")
    assert (groups.rule, groups.count) == ("sequence", 4)


def test_rice_leaf_is_copies_under_names_that_mislead(shared_data: Path) -> None:
    groups = real(shared_data / "rice-leaf/train", "*.[jJ]*")
    assert (groups.rule, groups.count, groups.sequences) == ("none", 180, 0)
    assert {groups.names.count(name) for name in groups.names} == {3}

"""Copies: pairs become sets that are of use, and a frame does not hide a copy."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fieldmark.checks import alignment
from fieldmark.checks.candidates import Compared, candidates
from fieldmark.checks.context import Context, Copy
from fieldmark.checks.copies import copied_leaks, find_copies, leaks, sets_of
from fieldmark.images.audit import Leak, audit_images
from fieldmark.images.cache import cache_folder
from fieldmark.images.read import read
from fieldmark.images.scan import scan
from fieldmark.preprocessing import Preprocessing
from tests.checks.test_alignment import scene


def copies(*pairs: tuple[int, int], likeness: float = 0.9) -> tuple[Copy, ...]:
    return tuple(Copy(i, j, likeness, 0.9) for i, j in pairs)


def test_a_chain_is_no_set() -> None:
    chain = copies(*itertools.pairwise(range(100)))
    found = [rows for rows, _ in sets_of(chain)]
    assert max(len(rows) for rows in found) == 3
    together = [set(rows) for rows in found]
    assert all(any({copy.i, copy.j} <= rows for rows in together) for copy in chain)


def test_copies_of_one_picture_are_one_set() -> None:
    clique = copies(*itertools.combinations(range(4), 2))
    ((rows, likeness),) = sets_of(clique)
    assert (sorted(rows), likeness) == ([0, 1, 2, 3], 0.9)


def test_every_member_matches_the_first_one_and_every_pair_is_shown() -> None:
    random = np.random.default_rng(0)
    pairs = {tuple(sorted(pair)) for pair in random.integers(0, 60, (150, 2)).tolist() if pair[0] != pair[1]}
    found = tuple(Copy(i, j, float(random.uniform(0.8, 1)), 0.9) for i, j in sorted(pairs))
    alike = {(copy.i, copy.j): copy.likeness for copy in found}
    sets = sets_of(found)
    for rows, likeness in sets:
        assert all(tuple(sorted((rows[0], other))) in alike for other in rows[1:])
        assert likeness == max(alike.get((i, j), 0) for i, j in itertools.product(rows, rows))
    assert pairs <= {pair for rows, _ in sets for pair in itertools.combinations(sorted(rows), 2)}
    assert [likeness for _, likeness in sets] == sorted((likeness for _, likeness in sets), reverse=True)


def found_pairs(folder: Path, pictures: dict[str, Image.Image], embeddings: np.ndarray) -> set[tuple[str, ...]]:
    """The pairs that are found among named pictures, whose embeddings (n, d) stand in the order of their names."""
    for name, picture in pictures.items():
        (folder / "a").mkdir(exist_ok=True, parents=True)
        picture.save(folder / "a" / f"{name}.png")
    images = read(scan(folder), Preprocessing(width=112, height=112))
    context = Context(images, audit_images(images), embeddings.astype(np.float32))
    paths = [Path(path).stem for path in context.dataset.paths]
    return {tuple(sorted((paths[copy.i], paths[copy.j]))) for copy in find_copies(context)}


def test_a_crop_is_found_by_its_embedding_and_another_scene_is_not(tmp_path: Path) -> None:
    crop = scene(0).crop((22, 0, 112, 90))
    pictures = {"crop": crop, "other": scene(1), "whole": scene(0)}
    assert found_pairs(tmp_path / "alike", pictures, np.ones((3, 4))) == {("crop", "whole")}
    assert found_pairs(tmp_path / "unlike", pictures, np.eye(3)) == set()


def test_a_framed_copy_is_found_by_its_look(tmp_path: Path) -> None:
    framed = ImageOps.expand(scene(0).resize((224, 224)), 24, "black")
    pictures = {"framed": framed, "other": scene(1), "whole": scene(0)}
    assert found_pairs(tmp_path, pictures, np.eye(3)) == {("framed", "whole")}


def test_across_splits_only_copies_of_training_images_are_found(tmp_path: Path) -> None:
    for name, picture in {
        "train/a/whole": scene(0),
        "train/a/again": scene(0).crop((0, 0, 104, 104)),
        "train/b/other": scene(1),
        "validation/a/crop": scene(0).crop((22, 0, 112, 90)),
        "validation/b/crops": scene(0).crop((20, 0, 112, 92)),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        picture.save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    found = audit_images(images)
    context = Context(dataclasses.replace(images, dataset=found.dataset), found, np.ones((5, 4), np.float32))
    paths = context.dataset.paths
    everything = {frozenset((paths[copy.i], paths[copy.j])) for copy in find_copies(context)}
    across = {frozenset((paths[copy.i], paths[copy.j])) for copy in find_copies(context, across_splits=True)}
    assert across == {pair for pair in everything if len({path.split("/")[0] for path in pair}) == 2}
    assert {"train/a/whole.png", "validation/a/crop.png"} in across
    assert len(across) < len(everything)


def test_an_audit_and_a_training_find_the_same_leaks_however_many_copies_crowd(tmp_path: Path) -> None:
    places = {f"validation/a/{name}": (left, 0, left + 92, 100) for left, name in enumerate("bcdefghk", start=4)}
    for name, box in {"train/a/whole": (0, 0, 112, 112), "train/b/other": None, **places}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (scene(0).crop(box) if box else scene(1)).save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    audit = audit_images(images)
    near = audit.dataset.splits == "validation"
    embeddings = np.where(near[:, None], [[1.0, 0.0]], [[0.8, 0.6]]).astype(np.float32)
    context = Context(dataclasses.replace(images, dataset=audit.dataset), audit, embeddings)
    of_audit, of_training = (
        copied_leaks(dataclasses.replace(context, copies=find_copies(context, across_splits=across)))
        for across in (False, True)
    )
    found = [*audit.leaks, *of_audit]
    assert of_audit == of_training
    assert {leak.other for leak in found} == {f"{name}.png" for name in places}
    assert len(found) == len(places)
    assert {leak.train for leak in found} == {"train/a/whole.png"}


def test_what_is_no_leak_is_compared_with_the_leaks(tmp_path: Path) -> None:
    # The embeddings put the first crop between the whole picture and the second crop.
    places = {
        "train/a/whole": ((0, 0, 112, 112), (1.0, 0.0)),
        "validation/a/first": ((20, 0, 112, 92), (0.8, 0.6)),
        "validation/a/second": ((20, 14, 112, 106), (0.0, 1.0)),
    }
    for name, (box, _) in places.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        scene(0).crop(box).save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    embeddings = np.array([embedding for _, embedding in places.values()], dtype=np.float32)
    context = Context(images, audit_images(images), embeddings)
    for across in (False, True):
        copies = find_copies(context, across_splits=across)
        assert [(copy.i, copy.j) for copy in copies] in ([(0, 1), (1, 2)], [(1, 2), (0, 1)])
        found = copied_leaks(dataclasses.replace(context, copies=copies))
        assert [Path(leak.other).stem for leak in found] == ["first", "second"]


def test_a_copy_of_a_leak_is_a_leak_and_goes_no_further(tmp_path: Path) -> None:
    for name in ("train/a/x", "train/b/y", "validation/a/p", "validation/a/q", "validation/b/r"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        scene(ord(name[-1])).save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    chain = (Copy(0, 2, 0.9, 0.9), Copy(2, 3, 0.82, 0.9), Copy(3, 4, 0.95, 0.9))
    assert copied_leaks(Context(images, audit_images(images), copies=chain)) == (
        Leak("train/a/x.png", "validation/a/p.png", 0.1),
        Leak("train/a/x.png", "validation/a/q.png", 0.18),
    )


def test_pictures_are_laid_over_each_other_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    similarity = alignment.similarity

    def counted(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        compared.append(len(pairs))
        return similarity(pictures, pairs)

    monkeypatch.setattr(alignment, "similarity", counted)
    originals = [scene(number) for number in range(4)]
    pictures = {f"a/{'pqrs'[number]}": image for number, image in enumerate(originals)}
    pictures |= {f"b/{'wxyz'[number]}": image.crop((4, 4, 108, 108)) for number, image in enumerate(originals)}
    first = find_copies(context_of(tmp_path / "one", pictures, None))
    before = sum(compared)
    assert len(first) == 4
    assert find_copies(context_of(tmp_path / "two", pictures, None)) == first
    assert sum(compared) == before > 0
    for path in cache_folder().glob("likenesses/*/*.rows"):
        np.full(path.stat().st_size // 4, np.nan, np.float32).tofile(path)
    # What is damaged is compared again.
    assert find_copies(context_of(tmp_path / "two", pictures, None)) == first
    assert sum(compared) == 2 * before
    compared.clear()
    pictures["b/z"] = scene(9)
    changed = find_copies(context_of(tmp_path / "three", pictures, None))
    assert 0 < sum(compared) < before
    assert set(changed) <= set(first)
    assert len(changed) == 3


def test_a_leak_by_likeness_is_called_one(tmp_path: Path) -> None:
    for name, number in (("train/a/x", 0), ("train/b/y", 1), ("validation/a/z", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        scene(number).crop((11 * len(name.split("/")[0]) % 20, 0, 112, 100)).save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    found = audit_images(images)
    leak = Leak("train/a/x.png", "validation/a/z.png", 0.1)
    context = Context(images, dataclasses.replace(found, leaks=(leak,)), copies=(Copy(0, 2, 0.9, 0.9),))
    (finding,), sentence = leaks(context)
    assert finding.sentence.startswith("validation/a/z.png looks like a copy of train/a/x.png")
    assert sentence.startswith("1 of 1 image outside of training look like copies of training images: where they are,")
    (finding,), sentence = leaks(dataclasses.replace(context, copies=()))  # the twin of a copy: no pair of its own
    assert finding.sentence.startswith("validation/a/z.png looks like a copy of a copy of train/a/x.png")
    assert "look like copies" in sentence
    together = found.dataset.replace(groups=("one", "other", "one"))
    grouped = Context(images, dataclasses.replace(context.audit, dataset=together), copies=())
    (finding,), sentence = leaks(grouped)
    assert finding.sentence.startswith("validation/a/z.png belongs with train/a/x.png")
    assert "too good" in sentence


def test_blank_pages_are_no_candidates() -> None:
    pages = np.full((4, 16, 16, 3), 250, np.uint8)
    pages[:, 3, 3] -= 1
    pairs = candidates(np.eye(4, dtype=np.float32), pages, Compared(np.arange(4), None), np.zeros(4, dtype=bool))
    assert len(pairs) == 0


def context_of(folder: Path, pictures: dict[str, Image.Image], rule: str | None) -> Context:
    """The pictures {path: image}, written and audited, with embeddings that are all alike."""
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        picture.save(folder / f"{name}.png")
    images = read(scan(folder), Preprocessing(width=112, height=112))
    found = audit_images(images, known_rule=rule)
    assert rule in (None, found.groups.rule)
    return Context(images, found, np.ones((len(pictures), 4), np.float32))


def found_under(folder: Path, pictures: dict[str, Image.Image], rule: str | None = None) -> set[tuple[str, ...]]:
    """The pairs that are found among pictures {path: image} by embeddings that are all alike."""
    context = context_of(folder, pictures, rule)
    paths = [path.removesuffix(".png") for path in context.dataset.paths]
    return {tuple(sorted((paths[copy.i], paths[copy.j]))) for copy in find_copies(context)}


def test_copies_of_what_is_there_twice_are_found(tmp_path: Path) -> None:
    crop = scene(0).crop((22, 0, 112, 90))
    pictures = {f"{label}/{name}": picture for label in "ab" for name, picture in (("crop", crop), ("whole", scene(0)))}
    found = found_under(tmp_path, pictures)
    assert {tuple(sorted(path[2:] for path in pair)) for pair in found} == {("crop", "whole")}


def test_a_frame_that_is_there_twice_has_no_mate_in_its_twin(tmp_path: Path) -> None:
    # Two sequences, of which the second begins with a crop of the first's first frame; each first frame twice.
    firsts = (scene(0), scene(0).crop((11, 0, 112, 101)))
    pictures = {f"a/clip{clip}-{frame}": first for clip, first in enumerate(firsts) for frame in (0, 1)}
    pictures |= {f"a/clip{clip}-2": scene(10 + clip) for clip in (0, 1)}
    found = found_under(tmp_path, pictures, rule="sequence")
    assert {tuple(path.split("-")[0] for path in pair) for pair in found} == {("a/clip0", "a/clip1")}


def test_turned_copies_by_name_do_not_hide_a_copy(tmp_path: Path) -> None:
    pictures = {}
    for name, image in (("leaf", scene(0)), ("other", scene(0).crop((22, 0, 112, 90)))):
        pictures |= {f"a/{name}": image, f"a/{name}_rot90": image.rotate(90)}
    found = found_under(tmp_path, pictures, rule="augmented")
    assert {tuple(path[2:].split("_")[0] for path in pair) for pair in found} == {("leaf", "other")}


def leaks_under(folder: Path, pictures: dict[str, Image.Image], rule: str | None = None) -> list[dict[str, str]]:
    """{image outside of training: training image} of the leaks of an audit and of a training, embeddings all alike."""
    context = context_of(folder, pictures, rule)
    both = []
    for across in (False, True):
        copies = find_copies(context, across_splits=across)
        leaked = (*context.audit.leaks, *copied_leaks(dataclasses.replace(context, copies=copies)))
        assert len({leak.other for leak in leaked}) == len(leaked)
        both.append({leak.other.removesuffix(".png"): leak.train.removesuffix(".png") for leak in leaked})
    return both


def test_a_leak_that_is_there_twice_is_two(tmp_path: Path) -> None:
    crop = scene(0).crop((22, 0, 112, 90))
    pictures = {"train/a/t": scene(0), "train/b/other": scene(1), "validation/a/v": crop, "validation/b/v": crop}
    expected = {"validation/a/v": "train/a/t", "validation/b/v": "train/a/t"}
    assert leaks_under(tmp_path, pictures) == [expected, expected]


def test_what_has_the_content_of_a_leak_is_one(tmp_path: Path) -> None:
    crop = scene(0).crop((22, 0, 112, 90))
    for name, picture in (("train/a/t", scene(0)), ("validation/a/v", crop), ("validation/a/w", crop)):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        picture.save(tmp_path / f"{name}.png")
    images = read(scan(tmp_path), Preprocessing(width=112, height=112))
    context = Context(images, audit_images(images), copies=(Copy(0, 1, 0.9, 0.9),))  # the other was crowded out
    assert copied_leaks(context) == (
        Leak("train/a/t.png", "validation/a/v.png", 0.1),
        Leak("train/a/t.png", "validation/a/w.png", 0.1),
    )


def test_every_frame_that_resembles_a_training_image_is_a_leak(tmp_path: Path) -> None:
    pictures = {f"validation/a/clip1-{frame}": scene(0).crop((9 + frame, 0, 109, 100)) for frame in range(3)}
    pictures |= {f"train/b/{name}": scene(20 + ord(name)) for name in "xyz"}
    found = leaks_under(tmp_path, {"train/a/t": scene(0), **pictures}, rule="sequence")
    expected = {f"validation/a/clip1-{frame}": "train/a/t" for frame in range(3)}
    assert found == [expected, expected]


def test_of_two_sides_only_pairs_across_are_compared() -> None:
    never = Compared(np.arange(4), np.array([0, 0, 1, -1])).never(slice(0, 4))
    assert np.argwhere(~never).tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]

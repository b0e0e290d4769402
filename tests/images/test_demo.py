import hashlib
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from fieldmark.errors import OutputError
from fieldmark.images.demo import (
    COPY_OF,
    IMAGES_PER_CLASS,
    PLANTED,
    draw_demo,
    file_content,
)
from fieldmark.images.faces import SIZE, draw_face


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "faces"
    draw_demo(folder)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.*"))}


def decoded(folder):
    """Every readable image as float (n, 20, 20, 3), and 1 for those in folders called sad."""
    images, labels = [], []
    for name, path in files(folder).items():
        if name in PLANTED:
            continue
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((20, 20), Image.Resampling.BOX), float))
        labels.append(name.split("/")[1] == "sad")
    return np.stack(images), np.array(labels)


def test_folders_and_counts(demo):
    found = Counter(name.rsplit("/", 1)[0] for name in files(demo))
    assert found == {f"{split}/{mood}": n for split, n in IMAGES_PER_CLASS.items() for mood in ("happy", "sad")}


def test_files_are_what_their_names_say(demo):
    formats = {".png": "PNG", ".jpg": "JPEG"}
    used = Counter()
    for path in files(demo).values():
        with Image.open(path) as image:
            assert image.size == (SIZE, SIZE)
            assert image.format == formats[path.suffix]
            used[path.parent, path.suffix] += 1
    assert len(used) == 8  # both formats in every folder
    assert all(used[folder, ".jpg"] == used[folder.parent / "happy", ".jpg"] for folder, _ in used)


def test_the_same_seed_gives_the_same_bytes(demo):
    for name in ("train/happy/face_001.png", "train/sad/face_003.jpg", *PLANTED):
        assert file_content(name, seed=0) == (demo / name).read_bytes()
        assert file_content(name, seed=1) != (demo / name).read_bytes()


def test_global_random_state_is_neither_used_nor_touched():
    random.seed(1)
    state = random.getstate()
    first = file_content("train/happy/face_001.png", seed=0)
    assert random.getstate() == state
    random.seed(2)
    assert file_content("train/happy/face_001.png", seed=0) == first


def test_only_the_planted_copy_is_a_copy(demo):
    by_content = {}
    for name, path in files(demo).items():
        by_content.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), []).append(name)
    [(copy, fault)] = [(name, fault) for name, fault in PLANTED.items() if fault.startswith(COPY_OF)]
    source = fault.removeprefix(COPY_OF)
    assert [names for names in by_content.values() if len(names) > 1] == [sorted([copy, source])]
    assert copy.split("/")[0] == "validation"
    assert source.split("/")[0] == "train"
    assert copy.split("/")[1] == source.split("/")[1]


def test_only_the_planted_file_is_truncated(demo):
    planted = [name for name, fault in PLANTED.items() if fault.startswith("truncated")]
    assert len(planted) == 1
    for name, path in files(demo).items():
        with Image.open(path) as image:
            if name in planted:
                with pytest.raises(OSError, match="truncated"):
                    image.load()
            else:
                image.load()


def test_the_planted_wrong_label_is_a_happy_face(monkeypatch):
    [name] = [name for name, fault in PLANTED.items() if fault.startswith("wrong label")]
    assert name.split("/")[1] == "sad"
    planted = file_content(name, seed=0)
    monkeypatch.delitem(PLANTED, name)
    assert file_content(name, seed=0) != planted
    monkeypatch.setattr("fieldmark.images.demo.draw_face", lambda rng, mood: draw_face(rng, "happy"))
    assert file_content(name, seed=0) == planted


def test_no_short_cut_leads_to_the_label(demo):
    """No mean colour, spread or coarse place tells the classes apart better than chance does."""
    images, labels = decoded(demo)
    coarse = images.reshape(len(images), 4, 5, 4, 5, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    shortcuts = np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2)), coarse], axis=1)
    happy, sad = shortcuts[~labels], shortcuts[labels]
    spread = np.sqrt(happy.var(axis=0) / len(happy) + sad.var(axis=0) / len(sad))
    scores = (happy.mean(axis=0) - sad.mean(axis=0)) / spread
    assert abs(scores).max() < 4  # of 54; chance alone stays below 4 in 99.7 % of all seeds


def test_faces_vary(demo):
    images, _ = decoded(demo)
    flat = images.reshape(len(images), -1)
    distances = np.sqrt(((flat[:, None, ::7] - flat[None, :, ::7]) ** 2).mean(axis=2))
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 15  # grey levels: no two are near-duplicates
    assert images.mean(axis=(1, 2)).std(axis=0).min() > 20


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not an empty directory") as error:
        draw_demo(tmp_path)
    assert "another place" in error.value.hint
    with pytest.raises(OutputError, match=r"mine\.txt"):
        draw_demo(tmp_path / "mine.txt")
    with pytest.raises(OutputError):
        draw_demo(tmp_path / "mine.txt" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr("fieldmark.images.demo.IMAGES_PER_CLASS", {"train": 1})
    (tmp_path / "faces").mkdir()
    draw_demo(tmp_path / "faces")
    assert sorted(files(tmp_path / "faces")) == ["train/happy/face_001.png", "train/sad/face_001.png"]

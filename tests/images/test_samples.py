import numpy as np
import pytest
from PIL import Image, ImageFont

from fieldmark.errors import DatasetError, FieldmarkError
from fieldmark.images.samples import MAXIMUM_PICTURE, PAPER, TILE, choose, legible, sample_grid, shorten

COLORS = ["red", "lime", "blue", "yellow", "magenta", "cyan"]


@pytest.fixture
def folder(tmp_path):
    """Six images of one colour each for the classes `a` and `b`, 40 × 20 pixels."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number, color in enumerate(COLORS):
            Image.new("RGB", (40, 20), color).save(tmp_path / name / f"{number}.png")
    return tmp_path


def paths_by_class(folder):
    return {name: sorted((folder / name).iterdir()) for name in ("a", "b")}


def colors_of_row(picture, row, *, thumbnail, per_class):
    """The colour in the middle of each tile of one row, from the documented layout: gap 1/16, heading 1/4."""
    gap, heading = thumbnail // 16, thumbnail // 4
    y = gap + row * (heading + thumbnail + gap) + heading + thumbnail // 2
    return [picture.getpixel((gap + column * (thumbnail + gap) + thumbnail // 2, y)) for column in range(per_class)]


def test_each_class_has_its_row_of_distinct_images_under_its_name(folder):
    picture, problems = sample_grid(paths_by_class(folder), per_class=4, thumbnail=64)
    assert picture.size == (4 + 4 * 68, 4 + 2 * (16 + 64 + 4))
    assert problems == []
    known = {tuple(Image.new("RGB", (1, 1), color).getpixel((0, 0))) for color in COLORS}
    for row in range(2):
        colors = colors_of_row(picture, row, thumbnail=64, per_class=4)
        assert len(set(colors)) == 4
        assert set(colors) <= known
        heading = np.asarray(picture)[4 + row * 84 : 4 + row * 84 + 16]
        assert heading.min() < 100 < heading.max()


def test_images_keep_their_proportions(folder):
    picture, _ = sample_grid(paths_by_class(folder), per_class=1, thumbnail=64)
    tile = np.asarray(picture)[20:84, 4:68]
    assert (tile[:14] == 255).all()
    assert (tile[-14:] == 255).all()
    assert (tile[20:-20] != 255).any(axis=2).all()


def test_fewer_images_than_asked_for_are_all_shown(folder):
    picture, _ = sample_grid(paths_by_class(folder), per_class=8, thumbnail=32)
    colors = colors_of_row(picture, 0, thumbnail=32, per_class=8)
    assert len(set(colors[:6])) == 6
    assert colors[6:] == [(255, 255, 255)] * 2


def test_choice_ignores_the_order_of_files_and_where_the_folder_stands(folder, tmp_path_factory):
    paths = paths_by_class(folder)
    first, _ = sample_grid(paths, per_class=3, seed=1, thumbnail=32)
    turned, _ = sample_grid({name: found[::-1] for name, found in paths.items()}, per_class=3, seed=1, thumbnail=32)
    assert first.tobytes() == turned.tobytes()
    elsewhere = folder.rename(tmp_path_factory.mktemp("other") / "place")
    moved, _ = sample_grid(paths_by_class(elsewhere), per_class=3, seed=1, thumbnail=32)
    assert first.tobytes() == moved.tobytes()


def test_choice_is_the_same_for_relative_paths(folder, monkeypatch):
    absolute = choose(sorted((folder / "a").iterdir()), 6, seed=0)
    for start in (folder, folder / "a"):
        monkeypatch.chdir(start)
        relative = choose([path.relative_to(start) for path in absolute[::-1]], 6, seed=0)
        assert [path.name for path in relative] == [path.name for path in absolute]


def test_seeds_choose_differently_and_evenly(folder):
    paths = sorted((folder / "a").iterdir())
    chosen = [tuple(choose(paths, 3, seed=seed)) for seed in range(200)]
    assert len(set(chosen)) > 60  # of 120 possible orders
    for path in paths:
        assert 70 <= sum(path in choice for choice in chosen) <= 130


def test_a_new_image_replaces_one_at_most(folder):
    paths = sorted((folder / "a").iterdir())
    before = choose(paths[:-1], 3, seed=0)
    after = choose(paths, 3, seed=0)
    assert len(set(before) & set(after)) >= 2


def test_bad_images_become_gray_tiles_and_rows(folder):
    whole = (folder / "a" / "0.png").read_bytes()
    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.png").write_bytes(b"")
    (bad / "text.jpg").write_text("no image at all")
    (bad / "half.png").write_bytes(whole[: len(whole) // 2])
    missing = bad / "missing.png"
    picture, problems = sample_grid({"bad": [*sorted(bad.iterdir()), missing]}, per_class=4, thumbnail=96)
    assert {row.path.name: row.code for row in problems} == {
        "empty.png": "empty_file",
        "text.jpg": "not_an_image",
        "half.png": "truncated",
        "missing.png": "unreadable_file",
    }
    row = np.asarray(picture)[6 + 24 : 6 + 24 + 96]
    for column in range(4):
        tile = row[:, 6 + column * 102 : 6 + column * 102 + 96]
        assert (tile[:20] == TILE).all()
        assert tile.min() < 100  # the code is written on it


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zoé Müller", "Zoe Muller"),
        ("horses/white", "horses/white"),
        ("猫/白猫", "7: ?/??"),
        ("a\nb", "7: a?b"),
        ("\udcff", "7: ?"),
        ("", ""),
    ],
)
def test_legible(name, shown):
    assert legible(name, 7) == shown


def test_names_that_the_font_does_not_have_are_drawn(folder):
    images = sorted((folder / "a").iterdir())
    names = ["猫", "\udcff", "a\nb", "", "مرحبا", "x" * 5000, "🐎"]
    picture, problems = sample_grid(dict.fromkeys(names, images), per_class=2, thumbnail=32)
    assert problems == []
    assert picture.height == 2 + 7 * (8 + 32 + 2)
    shown = [legible(name, number + 1) for number, name in enumerate(names)]
    same, _ = sample_grid(dict.fromkeys(shown, images), per_class=2, thumbnail=32)
    assert picture.tobytes() == same.tobytes()


def test_shorten_keeps_both_ends_within_the_width():
    font = ImageFont.load_default(14)
    assert shorten("short", 200, font) == "short"
    for length in (40, 400, 4000):
        text = "begin" + "m" * length + "end"
        short = shorten(text, 150, font)
        assert font.getlength(short) <= 150 < font.getlength(short.replace("…", "mm…"))
        assert short.startswith("begin")
        assert short.endswith("end")
        head, tail = short.split("…")
        assert len(head) - len(tail) in (0, 1)


def test_long_names_stay_inside_the_picture(folder):
    images = sorted((folder / "a").iterdir())[:1]
    picture, _ = sample_grid({"m" * 300: images}, per_class=2, thumbnail=64)
    heading = np.asarray(picture)[:20]
    assert (heading[:, :3] == 255).all()
    assert (heading[:, -3:] == 255).all()


def test_what_cannot_be_drawn_is_refused(folder):
    paths = paths_by_class(folder)
    with pytest.raises(DatasetError, match="no classes"):
        sample_grid({})
    with pytest.raises(FieldmarkError, match="0 images of 128 pixels"):
        sample_grid(paths, per_class=0)
    with pytest.raises(FieldmarkError, match="8 images of 15 pixels"):
        sample_grid(paths, thumbnail=15)
    with pytest.raises(FieldmarkError, match=f"more than {MAXIMUM_PICTURE:,}"):
        sample_grid(paths, thumbnail=3000)


def test_a_class_without_images_keeps_its_row():
    picture, problems = sample_grid({"none": []}, per_class=2, thumbnail=32)
    assert picture.size == (2 + 2 * 34, 2 + 42)
    assert picture.getpixel((40, 30)) == Image.new("RGB", (1, 1), PAPER).getpixel((0, 0))
    assert problems == []

"""The cache: whole or not at all, found by content, bounded in size."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fieldmark.errors import OutputError
from fieldmark.images import cache
from fieldmark.images.cache import RowStore
from fieldmark.images.cache_limit import limit_cache

DTYPE = np.dtype([("pixels", np.uint8, (4, 3)), ("thumbnail", np.uint8, (2,))])


def row(value: int) -> np.ndarray:
    filled = np.zeros((), DTYPE)
    filled["pixels"], filled["thumbnail"] = value, value + 1
    return filled


def write(store: RowStore, **rows: int) -> None:
    with store.writer() as writer:
        for key, value in rows.items():
            writer.add(key, row(value), {"width": value})


def damage(path: Path, row: int) -> None:
    """Change one bit in the middle of a row."""
    content = bytearray(path.read_bytes())
    content[row * DTYPE.itemsize + DTYPE.itemsize // 2] ^= 8
    path.write_bytes(content)


def test_rows_come_back_in_the_order_asked(tmp_path: Path) -> None:
    write(RowStore(tmp_path, DTYPE), a=1, b=2, c=3)
    again = RowStore(tmp_path, DTYPE)
    assert again.take(["c", "a", "c"], "pixels")[:, 0, 0].tolist() == [3, 1, 3]
    assert again.take(["b"], "thumbnail").tolist() == [[3, 3]]
    assert again.find("b").note == {"width": 2}  # type: ignore[union-attr]
    assert again.find("d") is None


def test_a_row_may_come_field_by_field(tmp_path: Path) -> None:
    with RowStore(tmp_path, DTYPE).writer() as writer:
        writer.add("a", (np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(4, 3)), np.array([7, 8], np.uint8)))
        writer.add("b", row(2))
        with pytest.raises(ValueError, match="12 bytes; expected 14"):
            writer.add("c", (np.zeros((4, 3), np.uint8),))
    again = RowStore(tmp_path, DTYPE)
    assert again.take(["b", "a"], "pixels")[1].ravel().tolist() == list(range(12))
    assert again.take(["a", "b"], "thumbnail").tolist() == [[7, 8], [3, 3]]


def test_the_disk_is_given_work_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(cache, "WRITTEN_OUT_BYTES", 2 * DTYPE.itemsize)
    monkeypatch.setattr(
        os, "posix_fadvise", lambda file, start, length, what: told.append((start, length)), raising=False
    )
    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    write(RowStore(tmp_path, DTYPE), a=1, b=2, c=3, d=4, e=5)
    assert told == [(0, 2 * DTYPE.itemsize), (2 * DTYPE.itemsize, 2 * DTYPE.itemsize)]
    assert RowStore(tmp_path, DTYPE).take(list("abcde"), "pixels")[:, 0, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_system_that_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WRITTEN_OUT_BYTES", 1)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    write(RowStore(tmp_path, DTYPE), a=1)
    assert RowStore(tmp_path, DTYPE).take(["a"], "pixels")[:, 0, 0].tolist() == [1]


def test_rows_of_several_shards(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1)
    write(store, b=2)
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert store.take(["b", "a"], "pixels")[:, 0, 0].tolist() == [2, 1]


def test_content_without_a_row_is_remembered(tmp_path: Path) -> None:
    with RowStore(tmp_path, DTYPE).writer() as writer:
        writer.add("broken", None, {"code": "truncated"})
    entry = RowStore(tmp_path, DTYPE).find("broken")
    assert entry is not None
    assert (entry.row, entry.note) == (None, {"code": "truncated"})


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)

    def work() -> None:
        with store.writer() as writer:
            writer.add("a", row(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    with RowStore(tmp_path, DTYPE).writer():
        pass
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_manifest_never_existed(tmp_path: Path) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    next(tmp_path.glob("*.json")).unlink()
    assert RowStore(tmp_path, DTYPE).find("a") is None


@pytest.mark.parametrize("damage", ["cut", "garbage", "other size"])
def test_damaged_shards_are_made_again(tmp_path: Path, damage: str) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    manifest = next(tmp_path.glob("*.json"))
    if damage == "cut":
        rows = manifest.with_suffix(".rows")
        rows.write_bytes(rows.read_bytes()[:-1])
    elif damage == "garbage":
        manifest.write_text("{")
    else:
        content = {**json.loads(manifest.read_text())["shard"], "itemsize": 5}
        manifest.write_bytes(cache._sealed(json.dumps(content).encode()))
    assert RowStore(tmp_path, DTYPE).find("a") is None


def test_no_bit_flips_unseen(tmp_path: Path) -> None:
    """Each bit of the rows and of the manifest, one after the other: a store then knows less, and nothing wrong."""
    write(RowStore(tmp_path, DTYPE), a=1, b=2, c=3)
    (manifest,) = tmp_path.glob("*.json")
    seen = 0
    for path, known in ((manifest.with_suffix(".rows"), 2), (manifest, 0)):
        good = path.read_bytes()
        for bit in range(8 * len(good)):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            store = RowStore(tmp_path, DTYPE)
            assert sum(store.find(key) is not None for key in "abc") == known, (path, bit)
            seen += 1
        path.write_bytes(good)
    assert seen > 8 * (3 * DTYPE.itemsize + 100)
    assert RowStore(tmp_path, DTYPE).take(list("abc"), "pixels")[:, 0, 0].tolist() == [1, 2, 3]


def test_no_damaged_row_is_taken(tmp_path: Path) -> None:
    write(RowStore(tmp_path, DTYPE), a=1, b=2)
    damage(next(tmp_path.glob("*.rows")), row=1)
    store = RowStore(tmp_path, DTYPE)
    for field in (None, "pixels", "thumbnail"):
        assert len(store.take(["a"], field)) == 1
        with pytest.raises(KeyError, match="b: this content is not known"):
            store.take(["a", "b"], field)
    assert store.hold(["b"]) == frozenset()


@pytest.mark.parametrize("first", ["0", "f"])
def test_a_damaged_row_is_made_again_once(tmp_path: Path, first: str) -> None:
    """The shard that has the good row may be read before or after the one with the damage."""
    write(RowStore(tmp_path, DTYPE), a=1, b=2)
    for path in tmp_path.iterdir():
        path.rename(tmp_path / f"{first}{path.suffix}")
    damage(tmp_path / f"{first}.rows", row=0)
    store = RowStore(tmp_path, DTYPE)
    assert store.find("a") is None
    write(store, a=7)
    for found in (store, RowStore(tmp_path, DTYPE)):
        assert found.take(["a", "b"], "pixels")[:, 0, 0].tolist() == [7, 2]


def test_a_row_is_checked_once_and_a_new_one_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    check = RowStore._read_crc32
    monkeypatch.setattr(RowStore, "_read_crc32", lambda *place: checked.append(place[2]) or check(*place))
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1, b=2, c=3)
    store.take(list("abc"))
    assert checked == []
    again = RowStore(tmp_path, DTYPE)
    for _ in range(3):
        again.take(["c", "a", "c"], "thumbnail")
        again.touch(["a"])
    assert checked == [2, 0]


def test_rows_that_can_no_longer_be_read_are_made_again(tmp_path: Path) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    store = RowStore(tmp_path, DTYPE)
    limit_cache(tmp_path, 0)  # another process
    assert store.find("a") is None


SEALED_NONSENSE = {
    "rows beyond the file": {"itemsize": 14, "rows": 1, "entries": {"a": [10**9, 0, {}]}},
    "rows before the file": {"itemsize": 14, "rows": 1, "entries": {"a": [-1, 0, {}]}},
    "entries in a list": {"itemsize": 14, "rows": 1, "entries": ["x", "y"]},
    "an entry too short": {"itemsize": 14, "rows": 1, "entries": {"a": [0]}},
    "a row that is none": {"itemsize": 14, "rows": 1, "entries": {"a": ["0", 0, {}]}},
    "no entries": {"itemsize": 14, "rows": 1},
    "a list": [],
}


@pytest.mark.parametrize("nonsense", SEALED_NONSENSE)
def test_a_sealed_manifest_of_nonsense_is_passed_over(tmp_path: Path, nonsense: str) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    content = json.dumps(SEALED_NONSENSE[nonsense]).encode()
    next(tmp_path.glob("*.json")).write_bytes(cache._sealed(content))
    assert RowStore(tmp_path, DTYPE).find("a") is None


@pytest.mark.parametrize("content", ["", "[" * 200_000, '{"itemsize": 14, "rows": 1, "entries": {"a": [0, {}]}}'])
def test_what_has_no_seal_is_passed_over(tmp_path: Path, content: str) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    next(tmp_path.glob("*.json")).write_text(content)
    assert RowStore(tmp_path, DTYPE).find("a") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among files")
@pytest.mark.parametrize("suffix", [".json", ".rows"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_holds_nothing_up(tmp_path: Path, kind: str, suffix: str) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    path = next(tmp_path.glob(f"*{suffix}"))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    found: list[object] = []
    # In a thread, so that a store that waits fails this test and not the whole suite.
    opening = threading.Thread(target=lambda: found.append(RowStore(tmp_path, DTYPE).find("a")), daemon=True)
    opening.start()
    opening.join(20)
    assert found == [None]


def test_a_manifest_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    size = next(tmp_path.glob("*.json")).stat().st_size
    monkeypatch.setattr(cache, "MANIFEST_BYTES_AT_MOST", size)
    assert RowStore(tmp_path, DTYPE).find("a") is not None
    monkeypatch.setattr(cache, "MANIFEST_BYTES_AT_MOST", size - 1)
    assert RowStore(tmp_path, DTYPE).find("a") is None


def test_a_row_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 14"), RowStore(tmp_path, DTYPE).writer() as writer:
        writer.add("a", np.zeros(3, np.uint8))


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    def work(number: int) -> None:
        write(RowStore(tmp_path, DTYPE), **{f"k{number}": number, "same": 9})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = RowStore(tmp_path, DTYPE)
    assert [int(store.take([f"k{n}"], "pixels")[0, 0, 0]) for n in range(8)] == list(range(8))
    assert not list(tmp_path.glob(".*"))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot write") as caught,
        RowStore(tmp_path / "file" / "cache", DTYPE).writer() as writer,
    ):
        writer.add("a", row(1))
    assert "FIELDMARK_CACHE_DIR" in caught.value.hint


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    ids = []
    for number, key in enumerate("abc"):
        store = RowStore(tmp_path / "x", DTYPE)
        write(store, **{key: number})
        ids.append(store.find(key).shard)  # type: ignore[union-attr]
        os.utime(tmp_path / "x" / f"{ids[-1]}.json", (1000 + number, 1000 + number))
    RowStore(tmp_path / "x", DTYPE).touch(["a"])
    size = sum(path.stat().st_size for path in (tmp_path / "x").iterdir())
    assert limit_cache(tmp_path, size) == []
    assert limit_cache(tmp_path, size - 1) == [ids[1]]
    assert limit_cache(tmp_path, 0, keep=frozenset({ids[0]})) == [ids[2]]
    left = RowStore(tmp_path / "x", DTYPE)
    assert left.find("a") is not None
    assert left.find("b") is None


def test_a_held_shard_outlives_its_removal(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1)
    other = RowStore(tmp_path, DTYPE)
    assert len(other.hold(["a"])) == 1
    assert len(limit_cache(tmp_path, 0)) == 1
    assert other.take(["a"], "pixels")[0, 0, 0] == 1


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    write(RowStore(tmp_path, DTYPE), a=1)
    for name in (".abc.rows.x.tmp", "abc.rows"):
        (tmp_path / name).write_bytes(bytes(100))
    limit_cache(tmp_path, 10**9)
    assert len(list(tmp_path.iterdir())) == 4  # a day has not passed: it may be at work
    for name in (".abc.rows.x.tmp", "abc.rows"):
        os.utime(tmp_path / name, (1000, 1000))
    limit_cache(tmp_path, 10**9)
    assert len(list(tmp_path.iterdir())) == 2
    assert RowStore(tmp_path, DTYPE).find("a") is not None


def test_a_row_is_read_into_what_is_given(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1, b=2)
    out = np.zeros((2, 4, 3), np.uint8)
    assert store.take(["b", "a"], "pixels", out=out) is out
    assert out[:, 0, 0].tolist() == [2, 1]
    with pytest.raises(ValueError, match="expected 1 contiguous rows"):
        store.take(["a"], "pixels", out=out)
    with pytest.raises(ValueError, match="contiguous"):
        store.take(["a", "b"], "pixels", out=np.zeros((2, 4, 6), np.uint8)[:, :, ::2])


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1)
    with store.writer() as writer:
        writer.add("broken", None, {"code": "truncated"})
    assert store.take([], "pixels").shape == (0, 4, 3)
    for key in ("unknown", "broken"):
        with pytest.raises(KeyError, match=key):
            store.take([key])


def test_rows_cut_short_after_they_were_opened(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1, b=2)
    store.hold(["a"])
    os.truncate(next(tmp_path.glob("*.rows")), DTYPE.itemsize + 3)
    assert store.take(["a"], "pixels")[0, 0, 0] == 1
    with pytest.raises(OutputError, match="cut short"):
        store.take(["b"], "pixels")


def test_rows_that_another_process_has_removed(tmp_path: Path) -> None:
    store = RowStore(tmp_path, DTYPE)
    write(store, a=1)
    limit_cache(tmp_path, 0)
    with pytest.raises(OutputError, match="cannot read"):
        store.take(["a"])


def test_threads_read_together(tmp_path: Path) -> None:
    keys = {f"k{number}": number for number in range(100)}
    write(RowStore(tmp_path, DTYPE), **keys)
    store = RowStore(tmp_path, DTYPE)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda key: int(store.take([key] * 20, "pixels")[:, 3, 2].max()), keys))
    assert taken == list(keys.values())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell resident pages")
def test_what_was_read_is_not_held(tmp_path: Path) -> None:
    """A memory map's touched pages count as the process's memory: a training then seems to hold its whole cache."""
    large = np.dtype((np.uint8, (2**20,)))
    store = RowStore(tmp_path, large)
    with store.writer() as writer:
        for number in range(64):
            writer.add(str(number), np.full(2**20, number, np.uint8))
    before = resident_bytes()
    for number in range(64):
        assert store.take([str(number)])[0, -1] == number
    assert resident_bytes() - before < 16 * 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

"""Fixtures for all tests: an own cache for each test, no network, one place for real data."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldmark.images.demo import COPY_OF, PLANTED, draw_demo
from fieldmark.pipeline import train

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("caches")
    # Not mktemp for each test: it reads the names of all folders before it to find its number, 18 s in all.
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(_caches: Iterator[Path], _backbones: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own, so that none depends on what ran before, but for converted backbones.

    Whatever makes a split asks the backbone; to convert it takes 5 s, for each test where links are refused, as
    Windows does without a privilege.
    """
    folder = next(_caches)
    folder.mkdir()
    (_backbones / "backbones").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        (folder / "backbones").symlink_to(_backbones / "backbones", target_is_directory=True)
    monkeypatch.setenv("FIELDMARK_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in Fieldmark asks the network; a test that would is stopped."""

    def refuse(*arguments: object) -> None:
        raise OSError("tests have no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def _backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture
def backbones(_backbones: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that tests share, so that the pretrained backbone is converted once for each image size."""
    monkeypatch.setenv("FIELDMARK_CACHE_DIR", str(_backbones))
    return _backbones


@pytest.fixture
def shared_data() -> Path:
    """The folder of real datasets beside the checkout; a test that needs it is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared datasets are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset in small, its planted faults with it; never to be changed by a test."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    draw_demo(folder)
    copied = {fault.removeprefix(COPY_OF) for fault in PLANTED.values() if fault.startswith(COPY_OF)}
    planted = {folder / name for name in {*PLANTED, *copied}}
    for split in ("train", "validation"):
        for name in ("happy", "sad"):
            for path in sorted((folder / split / name).iterdir())[12:]:
                if path not in planted:
                    path.unlink()
    return folder


@pytest.fixture(scope="session")
def trained(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small network trained on `faces`; never to be changed by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDMARK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "faces-1"
        return train(faces, out=out, network="course", image_size=24, channels=(8,), epochs=3, batch_size=16).folder

"""Fixtures for all tests: an own cache for each test, no network, one place for real data."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own, so that none depends on what ran before."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FIELDMARK_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in Fieldmark asks the network; a test that would is stopped."""

    def refuse(*arguments: object) -> None:
        raise OSError("tests have no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real datasets beside the checkout; a test that needs it is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared datasets are not on this machine")
    return SHARED_DATA

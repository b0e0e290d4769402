"""Debian's Chromium for tests; `make test` installs it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A running browser. For a module's fixture: meanwhile no other test of this thread may start an event loop."""
    program = shutil.which("chromium")
    if program is None:
        assert "CI" not in os.environ, "chromium is not installed; `make test` installs it"
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
        yield running
        running.close()

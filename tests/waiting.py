"""Waiting: a call that must come back, made in a thread, lest a test that finds the fault waits for ever itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def within_seconds(call: Callable[[], object], *, seconds: float = 20) -> Any:
    """What `call` returns or raises; AssertionError where it has not come back by then."""
    results: list[tuple[object, BaseException | None]] = []

    def work() -> None:
        try:
            results.append((call(), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, f"still waiting after {seconds:g} s"
    result, error = results[0]
    if error is not None:
        raise error
    return result

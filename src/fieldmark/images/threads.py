"""Work on many images at once in threads: decoding and hashing release Python's lock."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results waiting to be taken, a thread: enough to even out slow images, few enough to hold in memory.
AHEAD = 16


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int = AHEAD,
) -> Iterator[Result]:
    """Yield function(item) in the order of the items, computed in threads, at most `ahead` a thread before its turn.

    >>> list(ordered_map(abs, [-2, 1, -3]))
    [2, 1, 3]
    """
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[Future[Result]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

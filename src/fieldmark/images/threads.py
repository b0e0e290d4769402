"""Work on many images at once in threads: decoding and hashing release Python's lock."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results waiting to be taken, a thread: enough to even out slow images, few enough to hold in memory.
AHEAD = 16
# At the end the feeder is waited for so long: most have ended by then, and one that waits for stdin may wait for ever.
FEEDER_ENDS_SECONDS = 0.5


class Ahead(Generic[Item, Result]):
    """Results of function(item) in the order of the items, computed in threads before they are asked for.

    The items are drawn in a thread of their own, so that one that is late (a path typed on stdin) keeps no finished
    result back. At most `ahead` results a worker wait at a time. Owns its threads: use it in a `with` block.

    >>> with Ahead(abs, [-2, 1, -3]) as results:
    ...     list(results)
    [2, 1, 3]
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        workers: int | None = None,
        ahead: int = AHEAD,
    ) -> None:
        workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers)
        self._waiting: queue.Queue[Future[Result] | None] = queue.Queue(ahead * workers)
        self._stopped = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        # A daemon, since a read from stdin cannot be broken off.
        self._feeder = threading.Thread(target=self._feed, args=(function, items), daemon=True)

    def __enter__(self) -> Ahead[Item, Result]:
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        # A thread still inside of somebody's C++ iterator (a tensor's) when Python ends takes the process with it.
        self._feeder.join(FEEDER_ENDS_SECONDS)

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        future = None if self._ended else self._waiting.get()
        if future is None:
            self._ended = True
            if self._error is not None:
                raise self._error
            raise StopIteration
        return future.result()

    def _feed(self, function: Callable[[Item], Result], items: Iterable[Item]) -> None:
        try:
            for item in items:
                if self._stopped.is_set() or not self._put(self._pool.submit(function, item)):
                    return
        except BaseException as error:  # handed to whoever asks for the next result
            self._error = error
        self._put(None)

    def _put(self, future: Future[Result] | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._waiting.put(future, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int = AHEAD,
    together: int = 1,
) -> Iterator[Result]:
    """Yield function(item) in the order of the items, computed ahead in threads; see `Ahead`.

    A thread is given so many items `together`: handing over costs about 0.1 ms of Python's lock each time.

    >>> list(ordered_map(abs, [-2, 1, -3], together=2))
    [2, 1, 3]
    """

    def several(group: list[Item]) -> list[Result]:
        return [function(item) for item in group]

    groups = _groups(items, together)
    with Ahead(several, groups, workers=workers, ahead=max(1, ahead // together)) as results:
        for group in results:
            yield from group


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while group := list(itertools.islice(rest, size)):
        yield group

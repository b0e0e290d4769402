"""Work in threads: the order, what is handed over together, errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from fieldmark.images.threads import ordered_map


@pytest.mark.parametrize("together", [1, 3, 7, 100])
def test_results_come_in_the_order_of_the_items(together: int) -> None:
    assert list(ordered_map(lambda x: x * x, range(7), workers=3, together=together)) == [x * x for x in range(7)]
    assert list(ordered_map(abs, [], together=together)) == []


def test_what_is_handed_over_together_is_done_by_one_thread() -> None:
    both_at_it = threading.Barrier(2)

    def thread_of(item: int) -> int:
        if item % 3 == 0:  # neither may begin with its three before the other has
            both_at_it.wait(10)
        return threading.get_ident()

    threads = list(ordered_map(thread_of, range(6), workers=2, together=3))
    assert len(set(threads[:3])) == len(set(threads[3:])) == 1
    assert threads[0] != threads[3]


@pytest.mark.parametrize("together", [1, 2])
def test_an_error_arrives_where_its_item_is_asked_for(together: int) -> None:
    results = ordered_map(lambda x: 1 // x, [1, 1, 0, 1], workers=2, together=together)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("together", [1, 4])
def test_few_results_wait(together: int) -> None:
    done: list[int] = []
    results = ordered_map(done.append, range(1_000), workers=2, ahead=8, together=together)
    next(results)
    before = 0
    while len(done) > before:  # until the threads stop by themselves
        before = len(done)
        time.sleep(0.1)
    results.close()  # type: ignore[attr-defined]
    # Those that wait, those in two threads, those the feeder holds and those that were taken
    assert len(done) <= 2 * 8 + 4 * together


@pytest.mark.parametrize("items", [range(10_000), iter(int, 1)], ids=["many", "for ever"])
def test_no_thread_is_left_where_the_work_breaks_off(items: Iterable[int]) -> None:
    """One that still draws items when Python ends can take the process with it."""
    before = threading.active_count()
    for _ in range(20):
        results = ordered_map(lambda x: x, items, workers=2)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before


def test_an_item_that_never_comes_holds_nothing_up() -> None:
    never = threading.Event()

    def waiting() -> Iterator[int]:
        yield 1
        never.wait(60)

    results = ordered_map(abs, waiting(), workers=2)
    started = time.monotonic()
    assert next(results) == 1
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10
    never.set()

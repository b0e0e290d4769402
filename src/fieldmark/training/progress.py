"""Progress: live bars on a terminal, plain lines elsewhere, nothing with --quiet. Always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

# Bars are redrawn this often; more would cost time that training needs.
REDRAWS_PER_SECOND = 4


class Progress:
    """Tells a person how far the work is; owns the terminal's bar while a stage runs.

    From Python nothing is told unless one is given: `fieldmark.train("photos/", progress=fieldmark.Progress())`, and
    likewise to `audit`, `evaluate`, `compare` and `sweep`. Afterwards it knows how long each stage took.

    >>> progress = Progress(quiet=True)
    >>> with progress.stage("read") as step:
    ...     step(1, 2)
    >>> list(progress.seconds)
    ['read']
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}  # of each stage, by name
        self._console = Console(file=sys.stderr, highlight=False, quiet=quiet)

    def line(self, text: str) -> None:
        """Write one line; names from outside are never read as markup."""
        self._console.print(text, markup=False, soft_wrap=True)

    def lines(self, texts: Iterable[str]) -> None:
        """Write several lines."""
        for text in texts:
            self.line(text)

    @contextlib.contextmanager
    def stage(self, name: str, unit: str = "images") -> Iterator[Callable[[int, int], None]]:
        """Time a stage; yields `step(done, total)`, which draws the bar where there is a terminal."""
        start = time.perf_counter()
        try:
            if self.quiet or not self._console.is_terminal:
                yield lambda done, total: None
            else:
                with self._bar(name, unit) as step:
                    yield step
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextlib.contextmanager
    def _bar(self, name: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
        )
        drawn = 0.0
        with Bars(*columns, console=self._console, transient=True, refresh_per_second=REDRAWS_PER_SECOND) as bars:
            task = bars.add_task(name, total=None, count="")  # a stage that never counts shows none

            def step(done: int, total: int) -> None:
                nonlocal drawn
                now = time.monotonic()
                if now - drawn > 1 / REDRAWS_PER_SECOND or done == total:
                    drawn = now
                    bars.update(task, completed=done, total=total, count=f"{done}/{total} {unit}")

            yield step

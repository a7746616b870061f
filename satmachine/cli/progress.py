"""Progress bars on stderr, for what reads for seconds; nothing where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: What is read within a moment needs no bar; and a bar that is moved for every row would cost more than the row.
_WORTH_A_BAR = 20_000
_STEP = 1_000
_MOMENT_S = 0.7
_LARGE_BYTES = 200_000_000


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], object]]:
    """Give a function to call for each of many things that are read."""
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda: None
        return
    with _bar(what, total) as show:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1
            if count % _STEP == 0:
                show(count)

        yield step


@contextmanager
def stepwise(what: str, steps: int, *, at_once: bool = False) -> Iterator[Callable[[], object]]:
    """Give a function to call after each of some steps of unknown size. The bar appears after the first step that ends
    later than in a moment; where a step is known to take long, `at_once`."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    began, count = time.monotonic(), 0
    show: Callable[[int], object] | None = None
    with ExitStack() as opened:
        if at_once:
            show = opened.enter_context(_bar(what, steps))

        def step() -> None:
            nonlocal count, show
            count += 1
            if show is None and time.monotonic() - began > _MOMENT_S:
                show = opened.enter_context(_bar(what, steps))
            if show is not None:
                show(count)

        yield step


def is_large(database: Path) -> bool:
    """Whether to read all of a database takes seconds."""
    return database.stat().st_size > _LARGE_BYTES


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], object]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.update(task, completed=min(count, total))

"""A progress bar on stderr, for what reads for seconds; nothing where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What is read within a moment needs no bar; and a bar that is moved for every row would cost more than the row.
_WORTH_A_BAR = 20_000
_STEP = 1_000


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], object]]:
    """Give a function to call for each thing that was read."""
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        count = 0

        def step() -> None:
            nonlocal count
            count += 1
            if count % _STEP == 0:
                bar.update(task, completed=min(count, total))

        yield step

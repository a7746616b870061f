"""`satmachine demo`: the whole system on this computer, with real parts. In a checkout only: see testkit/."""

from __future__ import annotations

import importlib.util
import signal
from typing import Annotated

import typer

from satmachine.errors import SatmachineError


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="A fleet with a history and some problems, kept running, and a tour.")
    ] = False,
    hours: Annotated[int, typer.Option("--hours", min=1, max=24, help="How many hours --keep runs at most.")] = 8,
) -> None:
    """Show the main job on this computer: a sale arrives and is shared out.

    Everything is real: a Nostr relay, an LNbits (with its FakeWallet, no real bitcoin), a simulated machine that
    signs its sale, and the daemon. The first run installs LNbits into a cache; nothing else is left behind.
    It comes with the source, not with the installed package.

    With --keep there are three machines with sales, a jam, a dead payee and more, and it keeps running until Ctrl-C: a
    list of commands, for another terminal, shows you around.

    Examples:

        satmachine demo

        satmachine demo --keep
    """
    if importlib.util.find_spec("testkit") is None or importlib.util.find_spec("nostr_sdk") is None:
        raise SatmachineError("the demo comes with satmachine's source: in a checkout of it, run  make demo")
    import anyio
    from rich.console import Console

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script that starts it with `&` has it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # nothing that was started stays
    if keep:
        from testkit import tour

        anyio.run(tour.keep, Console(), hours)
        return
    from testkit.demo import show

    anyio.run(show, Console())

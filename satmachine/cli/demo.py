"""`satmachine demo`: the whole system on this machine, with real parts. In a checkout only: see testkit/."""

from __future__ import annotations

import importlib.util
import signal
from typing import Annotated

import typer

from satmachine.errors import SatmachineError


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="A fleet with a past and troubles, kept running, and a tour.")
    ] = False,
    hours: Annotated[int, typer.Option("--hours", min=1, max=24, help="How long --keep runs at the most.")] = 8,
) -> None:
    """Show the main job on this machine: a sale arrives and is shared out.

    Everything is real: a Nostr relay, an LNbits (with its FakeWallet, no real bitcoin), a simulated machine that
    signs its sale, and the daemon. The first run installs LNbits into a cache; nothing else is left behind.
    It comes with the source, not with the installed package.

    With --keep it becomes three machines with sales, a jam, a dead payee and more, and stays: a list of commands leads
    you through, in another terminal, until Ctrl-C.

    Examples:

        satmachine demo

        satmachine demo --keep
    """
    if importlib.util.find_spec("testkit") is None or importlib.util.find_spec("nostr_sdk") is None:
        raise SatmachineError("the demo comes with satmachine's source: in a checkout of it, run  make demo")
    import anyio
    from rich.console import Console

    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # nothing that was started stays
    if keep:
        from testkit import tour

        anyio.run(tour.keep, Console(), hours)
        return
    from testkit.demo import show

    anyio.run(show, Console())

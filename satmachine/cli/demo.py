"""`satmachine demo`: the whole system on this machine, with real parts. In a checkout only: see testkit/."""

from __future__ import annotations

import importlib.util

from satmachine.errors import SatmachineError


def demo() -> None:
    """Show the main job on this machine: a sale arrives and is shared out.

    Everything is real: a Nostr relay, an LNbits (with its FakeWallet, no real bitcoin), a simulated machine that
    signs its sale, and the daemon. The first run installs LNbits into a cache; nothing else is left behind.
    It comes with the source, not with the installed package.

    Example:  satmachine demo
    """
    if importlib.util.find_spec("testkit") is None or importlib.util.find_spec("nostr_sdk") is None:
        raise SatmachineError("the demo comes with satmachine's source: in a checkout of it, run  make demo")
    import anyio
    from rich.console import Console

    from testkit.demo import show

    anyio.run(show, Console())

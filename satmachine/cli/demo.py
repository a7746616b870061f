"""`satmachine demo`: the whole system on this machine, with real parts."""

from __future__ import annotations

import importlib.util

from satmachine.errors import SatmachineError


def demo() -> None:
    """Show the main job on this machine: a sale arrives and is shared out.

    Everything is real: a Nostr relay, an LNbits (with its FakeWallet, no real bitcoin), a simulated machine that
    signs its sale, and the daemon. The first run installs LNbits into a cache; nothing else is left behind.

    Example:  satmachine demo
    """
    if importlib.util.find_spec("nostr_sdk") is None:
        raise SatmachineError("the demo needs nostr-sdk: install it with  pip install '.[demo]'")
    import anyio
    from rich.console import Console

    from satmachine.demo.show import show

    anyio.run(show, Console())

"""The demo ends, and takes everything with it, however it was started."""

from __future__ import annotations

import signal
import subprocess
import sys

#: The demo with a fleet that is only waited for.
_WAITS = """
import anyio
from satmachine.cli.demo import demo
from testkit import tour

async def keep(console, hours):
    try:
        print("runs", flush=True)
        await anyio.sleep(50)
    finally:
        print("stopped", flush=True)

tour.keep = keep
demo(keep=True, hours=1)
"""


def test_sigterm_ends_a_demo_that_was_started_in_the_background_of_a_script() -> None:
    """Such a shell has it ignore SIGINT."""
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    started = [sys.executable, "-c", ignore, sys.executable, "-c", _WAITS]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        try:
            assert demo.stdout is not None
            assert demo.stdout.readline() == "runs\n"
            demo.send_signal(signal.SIGTERM)
            assert demo.communicate(timeout=30)[0] == "stopped\n"
        finally:
            demo.kill()

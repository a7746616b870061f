"""`satmachine run`: the daemon, in the foreground."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from satmachine import logs
from satmachine.errors import SatmachineError
from satmachine.logs import LogFormat


def run(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
    log_format: Annotated[
        LogFormat | None, typer.Option("--log-format", help="How the log looks; else as [log] format says.")
    ] = None,
) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    It subscribes to the relays, enters every sale once, and pays it out. SIGHUP loads the configuration again.
    A second daemon on the same database is refused.

    Example:

        satmachine --config /etc/satmachine/config.toml run
    """
    hangups = _Hangups()
    signal.signal(signal.SIGHUP, hangups.note)

    import anyio

    from satmachine.config import find_config, load, warnings
    from satmachine.daemon import run_daemon
    from satmachine.hardening import forbid_core_dumps

    forbid_core_dumps()
    logs.set_up(verbose=verbose, log_format=log_format or LogFormat.TEXT)
    try:
        config = load(find_config(ctx.obj.config_path))
        logs.set_up(verbose=verbose, log_format=log_format or LogFormat(config.log.format))
        for warning in warnings(config):
            logging.getLogger(__name__).warning(warning)
        anyio.run(run_daemon, config, hangups.seen)
    except SatmachineError as error:
        if not logs.is_journal(sys.stderr):
            raise
        # Under systemd each line says its level, so that `journalctl -p err` shows why it does not start.
        for line in str(error).splitlines():
            typer.echo(f"<3>{line}", err=True)
        raise typer.Exit(error.exit_code) from None


class _Hangups:
    """SIGHUP from the first moment on: otherwise it would end the process. One that comes this early is done later."""

    def __init__(self) -> None:
        self._seen = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        self._seen = True

    def seen(self) -> bool:
        """Whether one came before the daemon listened."""
        return self._seen

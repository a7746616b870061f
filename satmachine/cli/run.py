"""`satmachine run`: the daemon, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    It subscribes to the relays, lands every sale once, and pays it out. SIGHUP reads the configuration again.
    A second daemon on the same database is refused.

    Example:  satmachine --config /etc/satmachine/config.toml run
    """
    import anyio

    from satmachine import logs
    from satmachine.config import find_config, load, warnings
    from satmachine.daemon import run_daemon

    logs.set_up(verbose=verbose)
    config = load(find_config(ctx.obj.config_path))
    for warning in warnings(config):
        typer.echo(f"Warning: {warning}", err=True)
    anyio.run(run_daemon, config)

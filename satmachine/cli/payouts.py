"""`satmachine payouts`: the red button."""

from __future__ import annotations

import typer

from satmachine.cli.kit.commands import Act, Done, acting
from satmachine.cli.kit.options import OfMachine

app = typer.Typer(help="Stop and resume payouts.", no_args_is_help=True)


@acting(app, "pause", reason=True)
def pause(act: Act, machine: OfMachine = None) -> Done:
    """Stop all payouts: nothing is sent until `payouts resume`. What is on its way cannot be stopped.

    Examples:

        satmachine payouts pause --reason "LNbits is being moved"

        satmachine payouts pause --machine panajachel-1 --reason "keys are being replaced" --yes
    """
    from satmachine.settlements.correct import stops

    who = _whose(act, machine)
    act.ask(f"stop all payouts of {who}")
    act.write(stops.pause, machine, act.by)
    more = f" --machine {machine}" if machine else ""
    return _done(machine, True, f"Payouts of {who} are paused. To continue: `satmachine payouts resume{more}`")


@acting(app, "resume", reason=True)
def resume(act: Act, machine: OfMachine = None) -> Done:
    """Continue payouts that were paused.

    Examples:

        satmachine payouts resume --reason "LNbits has moved"

        satmachine payouts resume --machine panajachel-1 --reason "new keys work" --yes
    """
    from satmachine.settlements.correct import stops

    who = _whose(act, machine)
    act.ask(f"continue payouts of {who}")
    act.write(stops.resume, machine, act.by)
    return _done(machine, False, f"Payouts of {who} continue.")


def _whose(act: Act, machine_id: str | None) -> str:
    """One operator's people must not stop another's machines."""
    if machine_id is None and act.books.scope is not None:
        raise typer.BadParameter("--operator is set: name one of its machines with --machine")
    return machine_id or "all machines"


def _done(machine_id: str | None, paused: bool, words: str) -> Done:
    return Done({"machine_id": machine_id, "paused": paused}, words)

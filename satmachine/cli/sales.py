"""`satmachine settlements`, put together: showing and correcting sales, payments that are none yet, the ways out."""

from __future__ import annotations

from satmachine.cli import corrections, operations, settlements, unmatched

app = settlements.app
app.add_typer(corrections.app)
app.add_typer(operations.settlements_app)
app.add_typer(unmatched.app)

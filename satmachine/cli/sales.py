"""`satmachine settlements`, put together: what shows sales, what corrects them, and the ways out."""

from __future__ import annotations

from satmachine.cli import corrections, operations, settlements

app = settlements.app
app.add_typer(corrections.app)
app.add_typer(operations.settlements_app)

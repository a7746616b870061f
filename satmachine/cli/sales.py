"""`satmachine settlements`, put together: what shows sales, and what corrects them."""

from __future__ import annotations

from satmachine.cli import corrections, settlements

app = settlements.app
app.add_typer(corrections.app)

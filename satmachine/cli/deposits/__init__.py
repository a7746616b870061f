"""`satmachine deposits ...` (SPEC section 8): the cash that LPs bring, and take home.

lists.py   list, show      change_deposit.py   add, edit, confirm, reject, delete, reverse, withdraw
"""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="The cash that liquidity providers bring, and take home: pending, then confirmed or rejected.",
)

#: Each adds its verbs, in this order, when the noun is used.
MODULES = ("lists", "change_deposit")

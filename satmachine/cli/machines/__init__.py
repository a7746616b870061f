"""`satmachine machines ...`: the registry with live state.

lists.py            list, show       reconcile.py   what a wallet shows but not the books
wallets_command.py  sweep, top-up    stand.py       a machine in a word
add.py              add (what it asks is in cli/setup)
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The machines, with wallet balance and open work.")

#: Each adds its verbs, in this order, when the noun is used.
MODULES = ("lists", "add", "wallets_command", "reconcile")

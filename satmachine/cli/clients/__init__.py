"""`satmachine clients ...` (SPEC sections 8 and 10): liquidity providers.

lists.py          list, show, balance    settle.py             settle
change_client.py  add, update, remove    statement_command.py  statement
messages.py       messages               signed_statement.py   the daemon's signature under a statement
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Liquidity providers: who brings cash to a machine and gets its sats.")

#: Each adds its verbs, in this order, when the noun is used.
MODULES = ("lists", "change_client", "settle", "statement_command", "messages")

"""`satmachine settlements ...`: the sales, and where every sat of them went.

lists.py               list                     sheet.py      one sale on a screen
show.py                show, explain, note      ways_out.py   retry, hold, release, resolve
correct.py             partial-dispense, close, redistribute, refund
shortfall_command.py   shortfall
unmatched_command.py   unmatched, land, dismiss
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The sales, and where every sat of them went.")

#: Each adds its verbs, in this order, when the noun is used.
MODULES = ("lists", "show", "correct", "shortfall_command", "ways_out", "unmatched_command")

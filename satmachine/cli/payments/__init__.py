"""`satmachine payments ...`: the payments that sales cause.

lists.py     list       resolve.py           retry, resolve, cancel
approve.py   approve    repoint_command.py   repoint
"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The payments that sales cause.")

#: Each adds its verbs, in this order, when the noun is used.
MODULES = ("lists", "resolve", "repoint_command", "approve")

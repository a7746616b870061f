"""What is asked of a person, and of the daemon. The command line itself never pays: what stops, redirects or makes a
payment is an order that the daemon carries out (SPEC section 6.5)."""

from __future__ import annotations

import sys
import time

import typer

from satmachine import orders
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.wrap import on_stderr
from satmachine.errors import Refused
from satmachine.orders import Order
from satmachine.plain_text import printable
from satmachine.store import intent_rows, notes
from satmachine.store.database import atomic
from satmachine.store.intent_rows import Intent

#: A reason goes into the notes, together with the figures.
MAX_REASON_CHARS = 500
#: How long a command waits for the daemon to carry out a request.
WAIT_S = 10.0
#: Before a payment is stopped or redirected, the daemon waits until no other one can be paying it (the pay timeout).
WAIT_WITHDRAWN_S = 180.0
#: After this time a person is told what the command waits for.
_TELL_AFTER_S = 5.0
_POLL_S = 0.1


def confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr, unless `--yes` was given; "no" leaves with 1."""
    if not yes:
        typer.confirm(on_stderr(question), abort=True, err=True)


def at_a_terminal() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty()


def reason_of(text: str | None) -> str:
    """A reason on one line, asked for on a terminal if it was not given. Raises BadParameter."""
    if not text and at_a_terminal():
        text = typer.prompt("Why (kept in the audit log)", err=True)
    try:
        reason = notes.cleaned(text or "")
    except ValueError:
        raise typer.BadParameter("--reason says why, in plain words; it cannot be empty") from None
    if len(reason) > MAX_REASON_CHARS:
        raise typer.BadParameter(f"--reason can have at most {MAX_REASON_CHARS} characters; use a note for more")
    return reason


#: Orders that stop, reduce or redirect a payment.
_STOPS = (
    orders.PartialDispense,
    orders.Close,
    orders.UndoShortfall,
    orders.Repoint,
    orders.CancelPayout,
    orders.DeclarePaid,
    orders.DeclareUnpaid,
)


def request(books: Books, order: Order) -> Intent:
    """Give the daemon an order, and wait a while for its answer if it runs (SPEC section 6.5).

    Needs books that were opened for writing. The answer may still be open. Raises Refused if the order was refused, and
    ConfigError if there is a key for orders that this user cannot read.
    """
    secret = books.config.payouts.order_key
    order_key = None if secret is None else secret.resolve(books.config.environ)
    with atomic(books.conn) as conn:
        intent_id = intent_rows.add(conn, books.now, books.actor, order, order_key=order_key)
    intent = intent_rows.get(books.conn, intent_id)
    began, told = time.monotonic(), False
    wait_s = WAIT_WITHDRAWN_S if isinstance(order, _STOPS) else WAIT_S
    while intent.status == "open" and books.daemon_runs and time.monotonic() < began + wait_s:
        if not told and isinstance(order, _STOPS) and time.monotonic() > began + _TELL_AFTER_S:
            told = True
            typer.echo(
                f"Request {intent_id}: the daemon waits for a minute or two, until no other daemon can be paying "
                "this. You may leave with Ctrl-C; the request stays.",
                err=True,
            )
        time.sleep(_POLL_S)
        intent = intent_rows.get(books.conn, intent_id)
    if intent.status == "refused":
        raise Refused(intent.result or f"the daemon refused {order.action} of {order.subject}")
    return intent


def answer_of(books: Books, intent: Intent) -> str:
    """The result of a request, in a sentence."""
    if intent.status != "open":
        return printable(intent.result or "Done.")
    if books.daemon_runs:
        return f"Request {intent.id} is recorded; the daemon is busy, and carries it out soon."
    return f"Request {intent.id} is recorded; the daemon carries it out when it runs."

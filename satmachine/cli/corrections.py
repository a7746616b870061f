"""`satmachine settlements partial-dispense/close/redistribute/refund/explain`: what a person does about a sale.

Each shows what would change, asks, and hands the request to the daemon: the command line itself never pays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine import orders
from satmachine.cli import words
from satmachine.cli.common import AsJson, Books, DryRun, Reason, Yes, answer_of, confirm, open_books, reason_of, request
from satmachine.cli.output import Column, emit_record, emit_table, format_sats, print_json, print_line, to_json
from satmachine.cli.settlements import Reference, find_settlement
from satmachine.errors import Refused
from satmachine.store import corrections, reports

if TYPE_CHECKING:
    from satmachine.models import Settlement
    from satmachine.settlements.correct import Dispensed
    from satmachine.settlements.explain import Explanation

app = typer.Typer()

_PARTIAL_HELP = """Correct a sale of which the machine handed out only a part of the cash.

Only while nothing of it is paid. Net, commission and cash shrink alike, and it is paid anew; what was not dispensed
stays in the machine's wallet, for a refund.

Examples:

    satmachine settlements partial-dispense 12 --fraction 0.5 --reason "jam after 9 of 18 notes" --dry-run

    satmachine settlements partial-dispense 12 --sats 133400 --reason "jam" --yes
"""

_CLOSE_HELP = """Close a sale as it stands: what is paid stays paid, the rest stays in the machine's wallet.

Only what is proven unpaid is given up. The sats can be refunded or redistributed later.

Examples:

    satmachine settlements close 12 --reason "the technician has left" --dry-run

    satmachine settlements close 12 --reason "older than payouts_since" --yes
"""

_REDISTRIBUTE_HELP = """Pay out what a sale retains, now that a payee, a ruleset, a balance or a rate is there.

What was given up of somebody's payment goes back to them, or to whom `--to` names. The rest is shared by the balances
at the time of the sale; `--balances now` also counts what was confirmed since. What was not dispensed is the
customer's, and never shared out.

Examples:

    satmachine settlements redistribute 12 --reason "rate from the machine's log" --rate 143.797 --dry-run

    satmachine settlements redistribute 12 --reason "deposit confirmed late" --balances now --yes

    satmachine settlements redistribute 12 --reason "the technician has left" --to split:owner
"""

_REFUND_HELP = """Pay retained sats of a sale back to the customer, to an invoice or a Lightning address.

Never more than the sale still retains. An invoice must be over exactly the amount.

Examples:

    satmachine settlements refund 12 133400 --to ana@example.org --reason "jam" --dry-run

    satmachine settlements refund 12 100000 --to lnbc1m... --reason "jam" --yes
"""

_EXPLAIN_HELP = """Show the arithmetic of every sat of a sale: rules, each rounding, each share, each retained sat.

Examples:

    satmachine settlements explain 12

    satmachine settlements explain 12 --json
"""

_SIDE_BY_SIDE = (
    Column("what", "What"),
    Column("old", "Now", show=lambda row: _shown(row["old"])),
    Column("new", "Then", show=lambda row: _shown(row["new"])),
)


@app.command("partial-dispense", help=_PARTIAL_HELP)
def partial_dispense(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason = "",
    fraction: Annotated[str | None, typer.Option(help="The part that was dispensed, 0..1, like 0.5.")] = None,
    sats: Annotated[int | None, typer.Option(help="What was dispensed, in the customer's sats.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show old and new, ask, request."""
    from satmachine.settlements.correct import Command
    from satmachine.settlements.correcting import allowed

    reason = reason_of(reason)
    with open_books(ctx, write=True) as books:
        row = find_settlement(books, reference)
        settlement = allowed(books.conn, Command.PARTIAL_DISPENSE, row["id"])
        dispensed = _dispensed(settlement, fraction, sats)
        old, new = _old_and_new(books, settlement, dispensed)
        if not _go_on(old, new, dry_run=dry_run, as_json=as_json, yes=yes, question=f"Correct sale {settlement.id}?"):
            return
        order = orders.PartialDispense(settlement.id, dispensed.part, dispensed.whole, reason)
        _request(books, order, as_json=as_json)


@app.command("close", help=_CLOSE_HELP)
def close(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be voided, ask, request."""
    from satmachine.settlements.correct import Command
    from satmachine.settlements.correcting import allowed

    reason = reason_of(reason)
    with open_books(ctx, write=True) as books:
        settlement = allowed(books.conn, Command.CLOSE, find_settlement(books, reference)["id"])
        unpaid = corrections.unpaid_legs(books.conn, settlement.id)
        kept_sats = sum(leg.amount_sats for leg in unpaid)
        if settlement.planned_at is None:
            kept_sats = settlement.net_sats + settlement.commission_sats
        old = {"status": settlement.status, "retained_sats": settlement.retained_sats}
        new = {"status": "partial", "retained_sats": settlement.retained_sats + kept_sats}
        old |= {leg.leg: leg.amount_sats for leg in unpaid}
        if not _go_on(old, new, dry_run=dry_run, as_json=as_json, yes=yes, question=f"Close sale {settlement.id}?"):
            return
        _request(books, orders.Close(settlement.id, reason), as_json=as_json)


@app.command("redistribute", help=_REDISTRIBUTE_HELP)
def redistribute(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason = "",
    rate: Annotated[
        str | None, typer.Option(metavar="SATS", help="Sats per major unit of fiat, where the sale's rate is unknown.")
    ] = None,
    balances: Annotated[str, typer.Option(metavar="sale|now", help="Whose balances count: then, or now.")] = "sale",
    to: Annotated[
        str | None,
        typer.Option(metavar="LEG", help="Who gets what was not paid to others: super, split:owner, dca:maria."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show the additional legs, ask, request."""
    from satmachine.settlements.correct import Command
    from satmachine.settlements.correcting import allowed
    from satmachine.settlements.payees import terms_for
    from satmachine.settlements.redistribute import Wish, propose

    if balances not in ("sale", "now"):
        raise typer.BadParameter("--balances is sale or now")
    reason, exchange_rate = reason_of(reason), _rate(rate)
    with open_books(ctx, write=True) as books:
        settlement = allowed(books.conn, Command.REDISTRIBUTE, find_settlement(books, reference)["id"])
        as_of = books.now if balances == "now" else None
        _require_configured(books, settlement)
        terms = terms_for(books.config, settlement.machine_id)
        proposal = propose(books.conn, settlement, terms, Wish(exchange_rate, as_of, to))
        shared_sats = sum(proposal.sats_by_leg.values())
        old = {"retained_sats": settlement.retained_sats}
        new = {"retained_sats": settlement.retained_sats - shared_sats}
        new |= proposal.sats_by_leg
        question = f"Pay {shared_sats} sats of sale {settlement.id}?"
        if not _go_on(old, new, dry_run=dry_run, as_json=as_json, yes=yes, question=question):
            return
        order = orders.Redistribute(settlement.id, reason, exchange_rate, as_of, to)
        _request(books, order, as_json=as_json)


@app.command("refund", help=_REFUND_HELP)
def refund(
    ctx: typer.Context,
    reference: Reference,
    amount_sats: Annotated[int, typer.Argument(min=1, metavar="SATS", help="How many sats.")],
    to: Annotated[str, typer.Option(metavar="INVOICE|ADDRESS", help="A BOLT 11 invoice, or a Lightning address.")],
    reason: Reason = "",
    reserve: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="SATS", help="Set aside for routing fees of an invoice; 1 %, at least 2, if not said."
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be left, ask, request."""
    from satmachine.settlements.correct import Command
    from satmachine.settlements.correcting import allowed, require_retained

    reason = reason_of(reason)
    with open_books(ctx, write=True) as books:
        settlement = allowed(books.conn, Command.REFUND, find_settlement(books, reference)["id"])
        payee = _refund_payee(to, amount_sats, books.now)
        draw_sats = amount_sats + _reserve_sats(books, payee, amount_sats, reserve)
        require_retained(settlement, draw_sats)
        old = {"retained_sats": settlement.retained_sats}
        new = {"retained_sats": settlement.retained_sats - draw_sats, "refund": amount_sats, "payee": payee}
        if draw_sats > amount_sats:
            new["set aside for routing fees"] = draw_sats - amount_sats
        question = f"Refund {amount_sats} sats of sale {settlement.id}? Lightning cannot claw back."
        if not _go_on(old, new, dry_run=dry_run, as_json=as_json, yes=yes, question=question):
            return
        order = orders.Refund(settlement.id, amount_sats, payee, reason, draw_sats)
        _request(books, order, as_json=as_json)


@app.command("explain", help=_EXPLAIN_HELP)
def explain(ctx: typer.Context, reference: Reference, as_json: AsJson = False) -> None:
    """Print the arithmetic of a sale."""
    from satmachine.settlements.explain import explain_settlement, to_plain

    with open_books(ctx) as books:
        row = find_settlement(books, reference)
        explanation = explain_settlement(
            row, reports.legs_of(books.conn, row["id"]), reports.retained_of(books.conn, row["id"]), words.retained
        )
    if as_json:
        print_json(to_plain(explanation))
    else:
        _print_explanation(explanation)


# --- what was typed


def _dispensed(settlement: Settlement, fraction: str | None, sats: int | None) -> Dispensed:
    from satmachine.settlements.correct import Dispensed

    if (fraction is None) == (sats is None):
        raise typer.BadParameter("say what was dispensed with one of --fraction and --sats")
    try:
        if sats is not None:
            return Dispensed.sats(sats, settlement.gross_sats)
        return Dispensed.fraction(Decimal(fraction or ""))
    except InvalidOperation:
        raise typer.BadParameter(f"--fraction is a number between 0 and 1, not {fraction!r}") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _rate(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or rate <= 0:
        raise typer.BadParameter(f"--rate is sats per major unit of fiat, like 143.797, not {text!r}")
    return rate


def _refund_payee(to: str, amount_sats: int, now: int) -> str:
    """The Lightning address, or the invoice once it was read. Raises BadParameter, Refused."""
    from satmachine.config.formats import lightning_address
    from satmachine.settlements.corrector import read_invoice

    payee = to.strip().lower().removeprefix("lightning:")
    if "@" in payee:
        try:
            return lightning_address(payee)
        except ValueError as error:
            raise typer.BadParameter(f"--to {error}") from None
    read_invoice(payee, amount_sats, now)
    return payee


def _reserve_sats(books: Books, payee: str, amount_sats: int, wanted: int | None) -> int:
    """What a refund draws beside its amount: nothing for a Lightning address, which is asked for so much less."""
    if "@" in payee or books.config.payouts.routing_fees == "machine":
        return 0
    return max(2, -(-amount_sats // 100)) if wanted is None else wanted


def _require_configured(books: Books, settlement: Settlement) -> None:
    if books.config.machine(settlement.machine_id) is None:
        raise Refused(f"machine {settlement.machine_id} is no longer in the configuration: put it back first")


# --- what would change


def _old_and_new(books: Books, settlement: Settlement, dispensed: Dispensed) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sale before and after a partial dispense, with the legs of both."""
    from dataclasses import asdict, replace

    from satmachine.settlements.correcting import new_figures, positions_once_voided
    from satmachine.settlements.payees import terms_for
    from satmachine.settlements.plan import make_plan
    from satmachine.store import legs

    before, after = new_figures(books.conn, settlement, dispensed)
    _require_configured(books, settlement)
    corrected = replace(settlement, **asdict(after))
    lps = positions_once_voided(books.conn, settlement)
    plan = make_plan(corrected, terms_for(books.config, settlement.machine_id), lps)
    old = to_json({**asdict(before), "currency": settlement.currency, "revision": settlement.revision})
    new = to_json({**asdict(after), "currency": settlement.currency, "revision": settlement.revision + 1})
    current = [leg for leg in legs.of_settlement(books.conn, settlement.id) if leg.status != "voided"]
    old |= {leg.leg: leg.amount_sats for leg in current}
    new |= {leg.leg: leg.amount_sats for leg in plan.legs}
    return old, new | {f"retained ({row.reason})": row.amount_sats for row in plan.retained}


def _go_on(
    old: Mapping[str, Any], new: Mapping[str, Any], *, dry_run: bool, as_json: bool, yes: bool, question: str
) -> bool:
    """Show both sides and ask; False where it was only to be shown."""
    if dry_run and as_json:
        print_json({"old": old, "new": new})
    elif dry_run or not (as_json or yes):
        names = list(dict.fromkeys([*old, *new]))
        emit_table([{"what": name, "old": old.get(name), "new": new.get(name)} for name in names], _SIDE_BY_SIDE)
    if dry_run:
        return False
    confirm(question, yes=yes)
    return True


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return format_sats(value) if type(value) is int else str(value)


def _request(
    books: Books,
    order: orders.PartialDispense | orders.Close | orders.Redistribute | orders.Refund,
    *,
    as_json: bool,
) -> None:
    """Ask the daemon, and tell what came of it; with JSON the row as it is then."""
    answer = answer_of(books, request(books, order))
    if as_json:
        typer.echo(answer, err=True)
        print_json(to_json(find_settlement(books, str(order.settlement_id))))
    else:
        typer.echo(answer[0].upper() + answer[1:])


# --- explain

_LINE_COLUMNS: Sequence[Column] = (
    Column("what", "What"),
    Column("amount_sats", "Sats"),
    Column("how", "How", fold=True),
)


def _print_explanation(explanation: Explanation) -> None:
    summary = explanation.summary
    emit_record(summary, [Column(key, key.replace("_", " ").capitalize()) for key in summary], title="Rules in force")
    for section in explanation.sections:
        lines = [{"what": line.what, "amount_sats": line.amount_sats, "how": line.how} for line in section.lines]
        emit_table(lines, _LINE_COLUMNS, title=section.title)
    print_line(explanation.total, style="bold")

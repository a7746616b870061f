"""`settlements partial-dispense`, `close`, `redistribute` and `refund`: what a person changes about a sale.

Each shows the sale as it is and as it would be, asks, and gives the order to the daemon, because only the daemon pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine import orders
from satmachine.cli.kit import numbers
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Done, acting, usage
from satmachine.cli.kit.options import Sale
from satmachine.cli.kit.output import emit_table, to_json
from satmachine.cli.kit.values import Column, format_sats
from satmachine.cli.settlements import app
from satmachine.store import corrections

if TYPE_CHECKING:
    from satmachine.models import Settlement
    from satmachine.settlements.correct.correction_rules import Dispensed

#: What people call the figures of a sale.
_NAMES = {
    "status": "Status",
    "net_sats": "For LPs",
    "commission_sats": "Commission",
    "undispensed_sats": "Not handed out",
    "retained_sats": "Stays in the machine's wallet",
    "fiat_amount": "Cash",
    "currency": "Currency",
    "revision": "Revision",
    "refund": "Back to the customer",
    "payee": "Paid to",
}

_SIDE_BY_SIDE = (
    Column("what", "What", show=lambda row: _NAMES.get(row["what"], str(row["what"]))),
    Column("old", "Now", show=lambda row: _shown(row["old"])),
    Column("new", "Then", show=lambda row: _shown(row["new"])),
)


@acting(app, "partial-dispense", reason=True)
def partial_dispense(
    act: Act,
    sale: Sale,
    fraction: Annotated[str | None, typer.Option(help="The part that was dispensed: 0.5 or 50 %.")] = None,
    sats: Annotated[str | None, typer.Option(help="What was dispensed, in the customer's sats.")] = None,
) -> Done:
    """Correct a sale for which the machine handed out only part of the cash.

    Only while nothing of it is paid. Net, commission and cash are reduced in proportion, and new payments are planned.
    What was not handed out stays in the machine's wallet, for a refund.

    Examples:

        satmachine settlements partial-dispense 12 --fraction 0.5 --reason "jam after 9 of 18 notes" --dry-run

        satmachine settlements partial-dispense 12 --sats 133400 --reason "jam" --yes
    """
    from satmachine.settlements.correct.changes import allowed
    from satmachine.settlements.correct.correction_rules import CorrectionKind

    reason = act.reason
    settlement = allowed(act.conn, CorrectionKind.PARTIAL_DISPENSE, sale["id"])
    dispensed = usage(lambda: _dispensed(settlement, fraction, sats))
    old, new = _old_and_new(act.books, settlement, dispensed)
    order = orders.PartialDispense(settlement.id, dispensed.part, dispensed.whole, reason)
    return _correct(act, old, new, f"correct sale {settlement.id}", order)


@acting(app, "close", reason=True)
def close(act: Act, sale: Sale) -> Done:
    """Close a sale as it is now: what is paid stays paid, the rest stays in the machine's wallet.

    Only payments that are proven unpaid are given up. Their sats can be refunded or redistributed later.

    Examples:

        satmachine settlements close 12 --reason "the technician has left" --dry-run

        satmachine settlements close 12 --reason "older than payouts_since" --yes
    """
    from satmachine.settlements.correct.changes import allowed
    from satmachine.settlements.correct.correction_rules import CorrectionKind

    reason = act.reason
    settlement = allowed(act.conn, CorrectionKind.CLOSE, sale["id"])
    unpaid = corrections.unpaid_legs(act.conn, settlement.id)
    kept_sats = sum(leg.amount_sats for leg in unpaid)
    if settlement.planned_at is None:
        kept_sats = settlement.net_sats + settlement.commission_sats
    old = {"status": settlement.status, "retained_sats": settlement.retained_sats}
    new = {"status": "partial", "retained_sats": settlement.retained_sats + kept_sats}
    old |= {leg.leg: leg.amount_sats for leg in unpaid}
    return _correct(act, old, new, f"close sale {settlement.id}", orders.Close(settlement.id, reason))


@acting(app, "redistribute", reason=True)
def redistribute(
    act: Act,
    sale: Sale,
    rate: Annotated[
        str | None,
        typer.Option(metavar="SATS", help="Sats for one unit of the currency, if the sale's rate is unknown."),
    ] = None,
    balances: Annotated[
        str,
        typer.Option(metavar="sale|now", help="Which balances count: those at the time of the sale, or those of now."),
    ] = "sale",
    to: Annotated[
        str | None,
        typer.Option(metavar="LEG", help="Who gets what was not paid to others: super, split:owner, dca:maria."),
    ] = None,
) -> Done:
    """Pay out sats of a sale that stayed in the wallet, now that a payee, a ruleset, a balance or a rate is there.

    If somebody's payment was given up, its sats go to them, or to whom `--to` names. The rest is shared by the balances
    at the time of the sale; `--balances now` also counts what was confirmed since. Sats for cash that was not handed
    out belong to the customer and are never shared out.

    Examples:

        satmachine settlements redistribute 12 --reason "rate from the machine's log" --rate 143.797 --dry-run

        satmachine settlements redistribute 12 --reason "deposit confirmed late" --balances now --yes

        satmachine settlements redistribute 12 --reason "the technician has left" --to split:owner
    """
    from satmachine.settlements.correct.changes import allowed
    from satmachine.settlements.correct.correction_rules import CorrectionKind
    from satmachine.settlements.correct.redistribute import Wish, propose
    from satmachine.settlements.plan.planning import terms_for

    if balances not in ("sale", "now"):
        raise typer.BadParameter("--balances must be sale or now")
    exchange_rate = None if rate is None else usage(lambda: numbers.rate(rate), "--rate")
    reason = act.reason
    settlement = allowed(act.conn, CorrectionKind.REDISTRIBUTE, sale["id"])
    as_of = act.books.now if balances == "now" else None
    act.books.config.required_machine(settlement.machine_id)
    terms = terms_for(act.books.config, settlement.machine_id)
    proposal = propose(act.conn, settlement, terms, Wish(exchange_rate, as_of, to))
    shared_sats = sum(proposal.sats_by_leg.values())
    old = {"retained_sats": settlement.retained_sats}
    new = {"retained_sats": settlement.retained_sats - shared_sats, **proposal.sats_by_leg}
    question = f"pay {format_sats(shared_sats)} sats of sale {settlement.id}{_doubt(settlement)}"
    return _correct(act, old, new, question, orders.Redistribute(settlement.id, reason, exchange_rate, as_of, to))


@acting(app, "refund", reason=True)
def refund(
    act: Act,
    sale: Sale,
    amount: Annotated[str, typer.Argument(metavar="SATS", help="How many sats.")],
    to: Annotated[str, typer.Option(metavar="INVOICE|ADDRESS", help="A BOLT 11 invoice, or a Lightning address.")],
    reserve: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="SATS", help="Sats set aside for the routing fees of an invoice; without it 1 %, at least 2."
        ),
    ] = None,
) -> Done:
    """Pay sats of a sale that stayed in the wallet back to the customer, to an invoice or a Lightning address.

    Never more than stayed in the wallet. An invoice must be for exactly the amount.

    Examples:

        satmachine settlements refund 12 133400 --to ana@example.org --reason "jam" --dry-run

        satmachine settlements refund 12 100000 --to lnbc1m... --reason "jam" --yes
    """
    from satmachine.settlements.correct.changes import allowed, require_retained
    from satmachine.settlements.correct.correction_rules import CorrectionKind

    amount_sats, reason = usage(lambda: numbers.sats(amount)), act.reason
    settlement = allowed(act.conn, CorrectionKind.REFUND, sale["id"])
    payee = refund_payee(to, amount_sats, act.books.now)
    draw_sats = amount_sats + reserve_sats(act.books, payee, amount_sats, reserve)
    require_retained(settlement, draw_sats)
    old = {"retained_sats": settlement.retained_sats}
    new = {"retained_sats": settlement.retained_sats - draw_sats, "refund": amount_sats, "payee": payee}
    if draw_sats > amount_sats:
        new["set aside for routing fees"] = draw_sats - amount_sats
    question = (
        f"refund {format_sats(amount_sats)} sats of sale {settlement.id} (this cannot be undone){_doubt(settlement)}"
    )
    return _correct(act, old, new, question, orders.Refund(settlement.id, amount_sats, payee, reason, draw_sats))


def _doubt(settlement: Settlement) -> str:
    """What a person should know before a closed sale is paid out whose proof nobody has asked for."""
    if settlement.proof != "waived" or settlement.status != "partial":
        return ""
    twins = ", ".join(settlement.twins.split())
    twin = f", and it was asked whether it is another one ({twins}), told again" if twins else ""
    return f", though it is not proven that its sats came in{twin}"


# --- what was typed


def _dispensed(settlement: Settlement, fraction: str | None, sats: str | None) -> Dispensed:
    from satmachine.settlements.correct.correction_rules import Dispensed

    if (fraction is None) == (sats is None):
        raise ValueError("say what was dispensed with one of --fraction and --sats")
    if sats is not None:
        return Dispensed.sats(int(numbers.plain(sats)), settlement.gross_sats)
    return Dispensed.fraction(Decimal(numbers.fraction(fraction or "")))


def refund_payee(to: str, amount_sats: int, now: int) -> str:
    """The Lightning address, or the invoice as it was read. Raises BadParameter, Refused."""
    from satmachine.config.formats import lightning_address
    from satmachine.settlements.correct.carries_out import read_invoice

    payee = to.strip().lower().removeprefix("lightning:")
    if "@" in payee:
        return usage(lambda: lightning_address(payee), "--to")
    read_invoice(payee, amount_sats, now)
    return payee


def reserve_sats(books: Books, payee: str, amount_sats: int, wanted: int | None) -> int:
    """What a refund costs beside its amount: nothing for a Lightning address, which is asked for an invoice over that
    much less."""
    if "@" in payee or books.config.payouts.routing_fees == "machine":
        return 0
    return max(2, -(-amount_sats // 100)) if wanted is None else wanted


# --- what would change


def _old_and_new(books: Books, settlement: Settlement, dispensed: Dispensed) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sale before and after a partial dispense, with the legs of both."""
    from dataclasses import asdict, replace

    from satmachine.settlements.correct.changes import new_figures, positions_once_voided
    from satmachine.settlements.plan.amounts import make_plan
    from satmachine.settlements.plan.planning import terms_for
    from satmachine.store import legs

    before, after = new_figures(books.conn, settlement, dispensed)
    books.config.required_machine(settlement.machine_id)
    corrected = replace(settlement, **asdict(after))
    lps = positions_once_voided(books.conn, settlement)
    plan = make_plan(corrected, terms_for(books.config, settlement.machine_id), lps)
    old = to_json({**asdict(before), "currency": settlement.currency, "revision": settlement.revision})
    new = to_json({**asdict(after), "currency": settlement.currency, "revision": settlement.revision + 1})
    current = [leg for leg in legs.of_settlement(books.conn, settlement.id) if leg.status != "voided"]
    old |= {leg.leg: leg.amount_sats for leg in current}
    new |= {leg.leg: leg.amount_sats for leg in plan.legs}
    return old, new | {f"retained ({row.reason})": row.amount_sats for row in plan.retained}


def _correct(
    act: Act,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    what: str,
    order: orders.PartialDispense | orders.Close | orders.Redistribute | orders.Refund,
) -> Done:
    """Show both sides, ask, give the order; returns the row as it is then."""
    names = list(dict.fromkeys([*old, *new]))
    rows = [{"what": name, "old": old.get(name), "new": new.get(name)} for name in names]
    act.preview({"old": old, "new": new}, lambda: emit_table(rows, _SIDE_BY_SIDE))
    act.ask(what)
    answer = act.order(order)
    return Done(act.books.sale(str(order.settlement_id)), answer)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return format_sats(value) if type(value) is int else str(value)

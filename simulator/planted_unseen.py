"""Defects by somebody who did not write the simulator: mistakes of a line or two, made up from the real code alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from satmachine.clients import payout
from satmachine.settlements import worker
from satmachine.settlements.correct import (
    carries_out,
    changes,
    correction_rules,
    proven_unpaid,
    redistribute,
    sale_orders,
)
from satmachine.settlements.pay import both_sides, marker, payer
from satmachine.settlements.plan import amounts, planning
from satmachine.settlements.prove import verdict
from satmachine.settlements.sweep import one_sweep, unannounced
from satmachine.store import corrections, legs, positions, settlements
from satmachine.wallet.rows import WalletPayment
from simulator import operators
from simulator.defect import Planted, Put, edited


def _edit(where: Any, name: str, *edits: tuple[str, str], also: tuple[Any, ...] = ()) -> Callable[[Put], None]:
    """Change the text of one function; `also`: modules that have taken it by its name."""

    def plant(put: Put) -> None:
        function = where.__dict__[name]
        new = edited(getattr(function, "__wrapped__", function), *edits)
        for place in (where, *also):
            put(place, name, new)

    return plant


def _set(where: Any, **values: Any) -> Callable[[Put], None]:
    def plant(put: Put) -> None:
        for name, value in values.items():
            put(where, name, value)

    return plant


def _text(where: Any, name: str, *edits: tuple[str, str]) -> Callable[[Put], None]:
    """Change a text, such as a query."""

    def plant(put: Put) -> None:
        text = where.__dict__[name]
        for old, new in edits:
            assert old in text, f"{name} has not: {old}"
            text = text.replace(old, new)
        put(where, name, text)

    return plant


def _both(*plants: Callable[[Put], None]) -> Callable[[Put], None]:
    def plant(put: Put) -> None:
        for one in plants:
            one(put)

    return plant


_CORRECTS = frozenset({"partial_dispense", "close", "redistribute", "refund", "slow", "payments_slow"})
_TWO = frozenset({"second_daemon", "stop_second", "slow"})
_LIVES = frozenset({"backup", "restore", "reconcile"})
_DEPOSITS_BEFORE = """(
           SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d
           WHERE d.client_id = c.id AND d.status = 'confirmed' AND d.effective_at > ?2
       )"""
_TAKEN_HOME = (
    "(SELECT coalesce(sum(w.amount_minor), 0) FROM dca_deposits w WHERE w.client_id = c.id AND w.amount_minor < 0)"
)

DEFECTS: Mapping[str, Planted] = {
    "retained_twice": Planted(
        "what is redistributed stays retained, too",
        _CORRECTS | {"deposit"},
        _edit(
            redistribute,
            "redistribute",
            ("settlements.retain(conn, settlement_id, revision, proposal.drawn, by.now)", "pass"),
            also=(sale_orders,),
        ),
    ),
    "fee_kept_too": Planted(
        "a routing fee that was spent is retained as left over",
        frozenset({"client_add", "deposit", "refund", "close"}),
        _edit(
            payer,
            "complete_leg",
            ("leg.amount_sats - sent_sats - fee_sats", "leg.amount_sats - sent_sats"),
        ),
    ),
    "taken_home_shares": Planted(
        "cash that an LP took home counts as if it were still there",
        frozenset({"withdraw"}),
        _text(positions, "_POSITIONS", ("c.confirmed_minor", f"c.confirmed_minor - {_TAKEN_HOME}")),
    ),
    "latecomer_shares": Planted(
        "cash that was brought after a sale shares in it",
        frozenset({"client_add", "deposit", "reload_delay"}),
        _text(positions, "_POSITIONS", (_DEPOSITS_BEFORE, "0")),
    ),
    "reserved_paid_out": Planted(
        "a balance that is reserved for sales is paid out",
        frozenset({"client_settle", "payees_down", "payments_slow", "slow"}),
        _edit(
            payout,
            "propose_payout",
            (
                "balances.of_client(conn, client_id).available_minor",
                "(lambda one: one.available_minor + one.reserved_minor)(balances.of_client(conn, client_id))",
            ),
            also=(operators,),
        ),
    ),
    "no_margin": Planted(
        "an invoice counts as expired on the daemon's own clock",
        frozenset({"clock", "late_requests", "late_answers", "client_add"}),
        _set(both_sides, EXPIRY_MARGIN_S=-2_000),
    ),
    "commission_vanishes": Planted(
        "closing a sale that was never planned forgets its commission",
        frozenset({"close", "hold", "kill"}),
        _edit(changes, "close", ("settlement.net_sats + settlement.commission_sats", "settlement.net_sats")),
    ),
    "refund_number_again": Planted(
        "the number of a refund that was given up is used again",
        _CORRECTS | {"payments_fail"},
        _edit(
            corrections, "next_refund_number", ("leg_type = 'refund'\"", "leg_type = 'refund' AND status <> 'voided'\"")
        ),
    ),
    "refund_of_another_life": Planted(
        "restored books give a refund the number that one of another life has",
        _CORRECTS | _LIVES,
        _edit(
            carries_out.CarriesOut,
            "_refund_number",
            ('max([number, *(taken + 1 for taken in numbers_after(":refund:", paid))])', "number"),
        ),
    ),
    "revision_of_another_life": Planted(
        "restored books redistribute under the revision that one of another life has",
        _CORRECTS | _LIVES | {"deposit"},
        _edit(
            sale_orders.SaleOrders,
            "redistribute",
            ('max([settlement.revision, *numbers_after(":r", paid)])', "settlement.revision"),
        ),
    ),
    "revised_while_paid": Planted(
        "better figures replace the plan of a sale that is being paid",
        frozenset({"retell", "slow"}),
        _set(settlements, nothing_sent=lambda _conn, _settlement_id: True),
    ),
    "unended_is_ended": Planted(
        "a request whose end nobody saw counts as ended",
        _CORRECTS | {"late_requests", "gateway_504"},
        _edit(payer.Payer, "_act", ("answer.ended and leg.status is not LegStatus.SENDING", "True")),
    ),
    "pending_is_unpaid": Planted(
        "a payment that is on its way counts as unpaid",
        _CORRECTS | {"late_requests"},
        _edit(
            correction_rules,
            "why_not_unpaid",
            ("if view.source is Sighting.PENDING:", "if False:"),
            also=(proven_unpaid,),
        ),
    ),
    "work_not_awaited": Planted(
        "a correction begins while a payment of its sale is in work",
        _CORRECTS,
        _edit(
            worker.Worker,
            "set_aside",
            ("while any(settlement_id in item.sales for item in self._in_work.values()):", "while False:"),
        ),
    ),
    "withdrawn_at_once": Planted(
        "a correction does not wait for what another daemon may have begun",
        _CORRECTS | _TWO,
        _edit(payer.Payer, "withdraw", ("if may_be_under_way:", "if False:")),
    ),
    "withdrawn_unmarked": Planted(
        "a correction leaves no mark",
        _CORRECTS | _TWO | _LIVES,
        _edit(marker.Marker, "withdraw", ("if mark is not None:", "if False:")),
    ),
    "own_clock_swept": Planted(
        "a sweep notes how far it has read by the daemon's clock",
        frozenset({"clock", "kill", "freeze"}),
        _edit(one_sweep._ReadTo, "marks", ("min(self._begun_at, self._incoming_at)", "self._begun_at")),
    ),
    "unpaid_invoice": Planted(
        "an invoice that nobody has paid proves a sale",
        frozenset({"unpaid_invoice"}),
        _edit(
            verdict,
            "judge",
            ("[payment for payment in incoming if payment.status is Answer.SUCCESS]", "incoming"),
            also=(worker,),
        ),
    ),
    "less_is_enough": Planted(
        "a payment proves a sale that says it was more",
        frozenset({"sale_at_odds"}),
        _edit(
            verdict,
            "judge",
            (
                "payment.amount_msat != settlement.gross_sats * 1000",
                "payment.amount_msat > settlement.gross_sats * 1000",
            ),
            also=(worker,),
        ),
    ),
    "hold_ignored": Planted(
        "a sale that a person holds is paid all the same",
        frozenset({"hold", "slow", "payments_fail"}),
        _both(
            _edit(legs, "due", ("NOT IN ('held')", "<> ''")),
            _edit(legs, "mark_sending", ("IN ('pending', 'errored', 'processed', 'partial')", "<> ''")),
        ),
    ),
    "fees_swapped": Planted(
        "the platform gets the operator's part of the commission, and the other way round",
        frozenset({"deposit"}),
        _edit(
            amounts,
            "make_plan",
            ("plan_super(platform_fee_sats, terms)", "plan_super(operator_fee_sats, terms)"),
            ("plan_splits(operator_fee_sats, terms)", "plan_splits(platform_fee_sats, terms)"),
            also=(planning,),
        ),
    ),
    "half_the_worth": Planted(
        "a share takes half of its worth off an LP's balance",
        frozenset({"deposit"}),
        _edit(amounts, "plan_distribution", ("sats_to_minor(amount_sats, rate", "sats_to_minor(amount_sats, 2 * rate")),
    ),
    "refunded_for_good": Planted(
        "what a refunded sale pays afterwards is never sent",
        _CORRECTS,
        _edit(corrections, "reopen", ("('processed', 'partial', 'refunded')", "('processed', 'partial')")),
    ),
    "stale_generation": Planted(
        "an invoice of a former payee is kept although the leg was sent elsewhere meanwhile",
        frozenset({"repoint", "client_payee", "client_settle", "client_add", "slow", "late_answers"}),
        _edit(legs, "add_invoice", ("AND generation = ?1 AND {OPEN_LEG}", "AND {OPEN_LEG}")),
    ),
    "former_invoice_lives": Planted(
        "the invoice of a former payee stays alive",
        frozenset({"repoint", "client_payee", "client_add", "slow", "payments_fail"}),
        _edit(
            legs,
            "repoint",
            (
                '"UPDATE dca_invoices SET dead_at = coalesce(dead_at, ?) WHERE payment_id = ?"',
                '"SELECT ?, ?"',
            ),
        ),
    ),
    "given_up_while_pending": Planted(
        "a person may give up a payment that the wallet calls pending",
        frozenset({"resolve_unpaid", "payments_slow", "late_requests", "client_add"}),
        _edit(
            proven_unpaid.Unpaid,
            "require_no_debit",
            (" and not moved[0].inside and self._is_given_up(invoice)", ""),
        ),
    ),
    "voided_is_known": Planted(
        "a payment of a leg that was given up counts as known",
        _CORRECTS | _TWO | {"late_requests"},
        _edit(
            legs,
            "knows_payment",
            (
                "AND p.status <> 'voided' AND (p.status <> 'completed' OR p.payment_hash =\n        i.payment_hash)",
                "",
            ),
        ),
    ),
    "lps_forgotten": Planted(
        "no LP is found to have a balance",
        frozenset({"deposit"}),
        _set(positions, of_sale=lambda _conn, _machine_id, **_when: []),
    ),
    "never_sent": Planted(
        "nothing is ever sent",
        frozenset({"deposit"}),
        _set(legs, mark_sending=lambda _conn, _leg, **_when: False),
    ),
    "limit_forgotten": Planted(
        "an LP's daily limit is not asked for",
        frozenset({"client_add", "deposit"}),
        _edit(positions, "of_sale", ('row["mode"] == "fixed"', "False")),
    ),
    "fee_rounded_down": Planted(
        "part of a sat that a routing fee took counts as still there",
        frozenset({"client_add", "deposit"}),
        _set(WalletPayment, fee_sats=property(lambda row: row.fee_msat // 1000)),
    ),
    "top_up_shared": Planted(
        "what the operator sends for fees is taken for a sale",
        frozenset({"order_top_up", "reload_shares"}),
        _both(
            _edit(
                unannounced, "classify", ("made_here = _made_by_us(row, top_up=top_up, own=own)", "made_here = None")
            ),
            _edit(unannounced, "_made_by_lnbits", ("if tag and tag not in rule.tags:", "if False:")),
        ),
    ),
    "order_unsealed": Planted(
        "a payment that somebody has written into the database is made",
        frozenset({"tamper", "payees_down", "slow"}),
        _set(payer, strange=lambda _conn, _leg, _invoice: None),
    ),
}

"""The person who clears up at the end: does what the daemon's own advice says about each thing that waits.

They know what really happened (they can ask payees), and what they have to do is counted: a sale that no command
leads out of is a violation.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random

from satmachine import models, orders
from satmachine.daemon import learn_keys
from satmachine.errors import ConfigError, WalletError
from satmachine.models import Cause
from satmachine.money import fiat_to_minor
from satmachine.seals import Keyring
from satmachine.settlements.correct import retries, stops
from satmachine.settlements.pay.seal_check import approve
from satmachine.store import clients
from satmachine.store.database import atomic
from simulator import operators
from simulator.registry import Registry
from simulator.world import Hold, World, bring_cash, enter_cash

#: Rounds in which what could not go on is given up, and from which on payees are replaced.
CLOSING = (5, 8)
REPLACING = 3

_ENDED = "('processed', 'partial', 'refunded')"


async def clear_up(world: World, number: int) -> list[str]:
    """One round through everything that waits; what was refused, in words."""
    refused: list[str] = []
    hold = world.main
    conn = hold.process.books.conn
    for scope in [None, *(machine.id for machine in hold.registry.machines)]:
        operators.resume(hold, scope)
    world.reenter(hold)
    for machine in hold.registry.machines:
        try:
            refused += await operators.reconcile(world, hold, machine.id)
        except (*operators.REFUSALS, WalletError, ConfigError) as error:
            refused.append(str(error))
    for row in conn.execute(f"SELECT * FROM dca_settlements WHERE status NOT IN {_ENDED}").fetchall():
        _sale(world, hold, row, number, refused)
    _payments(world, hold, number, refused)
    _as_advised(world, hold, refused)
    for row in conn.execute("SELECT topup_hash FROM dca_shortfalls WHERE topup_hash IS NOT NULL").fetchall():
        if number % 2:
            operators.pay_shortfall(world, hold, row["topup_hash"])
    _differences(world, hold, number, refused)
    for row in conn.execute("SELECT machine_id, payment_hash FROM dca_unmatched_payments").fetchall():
        sale = world.judge.sale_of_key.get(row["payment_hash"])
        known = conn.execute("SELECT 1 FROM dca_settlements WHERE payment_hash = ?", (row["payment_hash"],)).fetchone()
        if sale is not None and not sale.top_up and not sale.forgotten and known is None:
            sale.by_person = True
            _try(refused, partial(operators.land, hold, row["machine_id"], row["payment_hash"]))
    if hold.process.daemon is not None:
        hold.process.daemon.worker.wake()
    return refused


def _sale(world: World, hold: Hold, row: sqlite3.Row, number: int, refused: list[str]) -> None:
    sale, by = row["id"], By(hold)
    operators.let_go(world, hold, sale)
    if number in CLOSING or operators.is_told_twice(world, hold, sale):
        _try(refused, lambda: operators.ask(hold, orders.Close(sale, "it cannot go on")))
        return
    if row["status"] == "held" and row["hold_reason"] not in ("payment_not_found", "no_payment_hash"):
        _try(refused, lambda: by.do(stops.release, sale))
    _try(refused, lambda: by.do(retries.retry, sale))


def _payments(world: World, hold: Hold, number: int, refused: list[str]) -> None:
    conn, by = hold.process.books.conn, By(hold)
    open_ = "SELECT * FROM dca_payments WHERE status NOT IN ('completed', 'voided', 'skipped')"
    for leg in conn.execute(open_).fetchall():
        if leg["hold_reason"] == "unordered":  # sealed under a key that the machine does not have any more
            if world.judge.debited(leg["leg_key"], leg["payment_hash"]) is not None:
                _try(refused, partial(by.do, partial(_approve, hold), leg["id"]))
                continue
            _try(refused, partial(operators.ask, hold, orders.CancelPayout(leg["id"], "not ordered by this daemon")))
            continue
        if leg["status"] == "held" and leg["hold_reason"] != "payee_changed":
            paid = world.judge.debited(leg["leg_key"], leg["payment_hash"]) is not None
            _try(refused, partial(operators.resolve, world, hold, leg["id"], leg["leg_key"], paid=paid))
            continue
        if leg["settlement_id"] is None:
            if number in CLOSING:
                _try(refused, partial(operators.ask, hold, orders.CancelPayout(leg["id"], "it cannot go on")))
                continue
            _try(refused, partial(by.do, retries.retry_payment, leg["id"]))
        changed = leg["cause"] in (Cause.PAYEE_CHANGED, Cause.NO_PAYEE) or leg["hold_reason"] == "payee_changed"
        if number >= REPLACING and leg["status"] == "failed" and leg["leg_type"] in ("dca", "settlement"):
            client = clients.get(conn, leg["client_id"])
            _try(refused, partial(operators.redirect, world, hold, Random(number), client, ("wallet",)))
            changed = True
        elif number == REPLACING and leg["status"] == "failed" and leg["leg_type"] in ("super_fee", "operator_split"):
            world.reload(hold, _new_wallets)
        if changed or number > REPLACING:
            _try(refused, partial(operators.ask, hold, orders.Repoint((leg["id"],), "there now")))


def _approve(hold: Hold, conn: sqlite3.Connection, leg_id: int, by: models.By) -> None:
    keyring = Keyring()
    learn_keys(keyring, hold.registry.config())
    approve(conn, leg_id, keyring, by)


def _as_advised(world: World, hold: Hold, refused: list[str]) -> None:
    """What answers to orders, and the legs themselves, say is to be resolved by a person."""
    conn = hold.process.books.conn
    said = [str(row["result"]) for row in conn.execute("SELECT result FROM intents WHERE status = 'refused'")]
    said += [str(row["error"]) for row in conn.execute("SELECT error FROM dca_payments WHERE status = 'failed'")]
    advised = {int(number) for text in said for number in re.findall(r"payments resolve (\d+)", text)}
    wanted = "SELECT * FROM dca_payments WHERE id = ? AND status IN ('pending', 'invoiced', 'sending', 'failed')"
    for payment_id in sorted(advised):
        for leg in conn.execute(wanted, (payment_id,)).fetchall():
            paid = world.judge.debited(leg["leg_key"], leg["payment_hash"]) is not None
            _try(refused, partial(operators.resolve, world, hold, payment_id, leg["leg_key"], paid=paid))


def _differences(world: World, hold: Hold, number: int, refused: list[str]) -> None:
    """Where an LP really got more than they brought, the operator bears it, as is advised: cash that went home by
    a copy that nobody had found out yet, and a minor unit for each payment, by which two lives of the books may have
    rounded otherwise. So too, at last, where what is planned would give them more, and nothing else leads out."""
    for text in list(refused):
        for found in re.finditer(r"client (\d+) \(\S+\) would have ([\d.]+) \w+ less than nothing", text):
            client_id = int(found[1])
            client = clients.get(hold.process.books.conn, client_id)
            lacks_minor = fiat_to_minor(Decimal(found[2]), client.currency)
            lp = world.judge.lps[(client.machine_id, client.label)]
            over_minor = max(0, sum(minor for _, _, minor, *_ in lp.given) - lp.brought_minor)
            if lacks_minor <= over_minor + len(lp.given):
                _try(refused, partial(enter_cash, hold, client_id, lacks_minor, int(world.now())))
            elif number > CLOSING[0]:
                _try(refused, partial(bring_cash, world, hold, client_id, lacks_minor))


def _new_wallets(registry: Registry) -> None:
    """Payees whose wallets do not work any more get new ones."""
    if registry.super_payee is None:
        registry.super_payee = registry.new_payee("super-new", ("wallet",))
    for _, _, payee in registry.splits:
        if payee.wallet is not None and not registry.bank.works(payee.wallet.invoice_key):
            payee.wallet = registry.bank.new_wallet("new")


class By:
    """Commands that are transactions of their own."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def do(self, what: Callable[..., object], row_id: int) -> None:
        with atomic(self._hold.process.books.conn) as conn:
            what(conn, row_id, models.By("operator", "because", self._hold.process.now()))


def _try(refused: list[str], what: Callable[[], object]) -> None:
    try:
        what()
    except operators.REFUSALS as error:
        refused.append(str(error))

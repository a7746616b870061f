"""What people do: everything that the command line offers, on a record that chance chooses, in whatever state it is.

Each function is the transaction (or the request) of one command. Whatever the commands become changes here. They
return what came of it in a word; a refusal is a good answer to a bad wish.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from satmachine import orders
from satmachine.clients.payout import propose_payout
from satmachine.clients.removal import remove
from satmachine.config import Machine
from satmachine.errors import ConfigError, NotFound, Refused, WalletError
from satmachine.models import By, Client
from satmachine.orders import Order
from satmachine.settlements.correct import retries, shortfall, stops, unmatched
from satmachine.settlements.correct.changes import allowed
from satmachine.settlements.correct.correction_rules import CorrectionKind, Dispensed
from satmachine.settlements.plan.planning import terms_for
from satmachine.settlements.reconcile import machine_case, proposal, wallet_look
from satmachine.settlements.reconcile.reconcile_rules import Choice, PaymentLine, Resolution
from satmachine.store import clients, deposits, intent_rows, reconciling, wallet_rows
from satmachine.store.database import atomic
from satmachine.wallet.lnbits import Lnbits
from simulator.bank import Wire
from simulator.registry import PayeeSpec, Registry, pubkey
from simulator.sales import Sale
from simulator.world import Hold, World, add_lp, bring_cash

Act = Callable[[World, Random], str]


def _hold_of(world: World, rng: Random) -> Hold:
    """Whose books a person works on: mostly those they believe in."""
    return world.main if rng.random() < 0.85 else rng.choice(world.holds)


def _conn(hold: Hold) -> sqlite3.Connection:
    return hold.process.books.conn


def _by(hold: Hold) -> By:
    return By("operator", "because", hold.process.now())


def _some(conn: sqlite3.Connection, rng: Random, sql: str, *values: object) -> sqlite3.Row | None:
    """A row, each *state* with the same chance, so that rare ones are met; `sql` selects `id` and `state`."""
    found = conn.execute(sql, values).fetchall()
    if not found:
        return None
    state = rng.choice(sorted({str(row["state"]) for row in found}))
    chosen: sqlite3.Row = rng.choice([row for row in found if str(row["state"]) == state])
    return chosen


_SALE = (
    "SELECT s.id, s.machine_id, s.status || coalesce(s.hold_reason, '') || coalesce((SELECT group_concat(DISTINCT "
    "p.status) FROM dca_payments p WHERE p.settlement_id = s.id), '') AS state FROM dca_settlements s"
)
_LEG = "SELECT id, settlement_id, leg, leg_key, status AS state FROM dca_payments WHERE leg_type <> 'autoforward'"


#: Sales of which cash can be booked as missing, and those of which it was.
_SOLD = _SALE + " WHERE s.status IN ('processed', 'partial', 'refunded') AND s.fiat_amount_minor > 0"
_SHORT = _SALE + " WHERE s.shortfall_minor > 0"


def _on_sale(name: str, act: Callable[[World, Hold, Random, int], str], likely: str = _SALE) -> Act:
    """A command that names a sale: mostly one that it is for (`likely`), but any other too."""

    def do(world: World, rng: Random) -> str:
        hold = _hold_of(world, rng)
        wanted = likely if likely == _SALE or rng.random() < 0.8 else _SALE
        row = _some(_conn(hold), rng, wanted)
        if row is None:
            return "nothing"
        world.meet(name, hold, row["id"])
        return act(world, hold, rng, row["id"])

    return do


def ask(hold: Hold, order: Order) -> str:
    """Ask the daemon for something."""
    with atomic(_conn(hold)) as conn:
        intent_rows.add(conn, hold.process.now(), "operator", order)
    living = hold.process.daemon
    if living is not None:
        living.bell.set()
    return "asked"


# --- sales


def _hold(world: World, hold: Hold, _rng: Random, sale: int) -> str:
    with atomic(_conn(hold)) as conn:
        stops.hold(conn, sale, _by(hold))
    found = _sale_of(world, _conn(hold), sale)
    if hold is world.main and found is not None:
        found.held_since = asyncio.get_running_loop().time()
    return "held"


def let_go(world: World, hold: Hold, sale: int) -> None:
    """A person has let a sale go on, or ended it: it is held no more."""
    found = _sale_of(world, _conn(hold), sale)
    if found is not None:
        found.held_since = None


def is_told_twice(world: World, hold: Hold, sale: int) -> bool:
    """Whether a sale is held because it may be another one's event, and is: whoever asks at the machine knows."""
    conn = _conn(hold)
    row = conn.execute("SELECT hold_reason, error FROM dca_settlements WHERE id = ?", (sale,)).fetchone()
    if row["hold_reason"] != "told_twice":
        return False
    same, error = _sale_of(world, conn, sale), str(row["error"])
    twins = re.search(r"\bsales? ([\d, ]+) (?:is|are) of the same amount and day", error)
    told = [_sale_of(world, conn, int(number)) for number in re.findall(r"\d+", twins[1])] if twins else []
    paid = [world.judge.sale_of_key.get(key) for key in re.findall(r"sm1:(\w{64})", error)]
    if not told and not paid:
        raise AssertionError(f"a person cannot read which sale this may be again: {error}")
    if same is None:
        return False
    return any(same is one for one in [*told, *paid])


def _sale_of(world: World, conn: sqlite3.Connection, settlement_id: int) -> Sale | None:
    row = conn.execute(
        "SELECT settlement_key, payment_hash, bitspire_event_id FROM dca_settlements WHERE id = ?", (settlement_id,)
    ).fetchone()
    return next((sale for key in row if (sale := world.judge.sale_of_key.get(str(key))) is not None), None)


def _release(world: World, hold: Hold, _rng: Random, sale: int) -> str:
    if is_told_twice(world, hold, sale):
        return "nothing"
    let_go(world, hold, sale)
    with atomic(_conn(hold)) as conn:
        stops.release(conn, sale, _by(hold))
    return "released"


def _retry(_world: World, hold: Hold, _rng: Random, sale: int) -> str:
    with atomic(_conn(hold)) as conn:
        return f"tried {retries.retry(conn, sale, _by(hold))}"


def _close(world: World, hold: Hold, _rng: Random, sale: int) -> str:
    allowed(_conn(hold), CorrectionKind.CLOSE, sale)
    let_go(world, hold, sale)
    return ask(hold, orders.Close(sale, "because"))


def _partial_dispense(_world: World, hold: Hold, rng: Random, sale: int) -> str:
    allowed(_conn(hold), CorrectionKind.PARTIAL_DISPENSE, sale)
    dispensed = rng.choice((Dispensed(1, 2), Dispensed(0, 1), Dispensed(1, 1), Dispensed(2, 3)))
    return ask(hold, orders.PartialDispense(sale, dispensed.part, dispensed.whole, "jam"))


def _redistribute(world: World, hold: Hold, rng: Random, sale: int) -> str:
    settlement = allowed(_conn(hold), CorrectionKind.REDISTRIBUTE, sale)
    found = _sale_of(world, _conn(hold), sale)
    if found is not None:
        found.by_person = True
    as_of = hold.process.now() if rng.random() < 0.5 else None
    rate = Decimal("143.797") if settlement.exchange_rate == 0 else None
    to = rng.choice((None, None, "super", "split:owner", "dca:lp1"))
    return ask(hold, orders.Redistribute(sale, "because", rate, as_of, to))


def _refund(world: World, hold: Hold, rng: Random, sale: int) -> str:
    settlement = allowed(_conn(hold), CorrectionKind.REFUND, sale)
    retained_sats = settlement.retained_sats
    if retained_sats < 2:
        return "nothing"
    sats = rng.choice((retained_sats, max(1, retained_sats // 2)))
    if rng.random() < 0.5:
        return ask(hold, orders.Refund(sale, sats, f"customer{sale}@away.example", "jam", sats))
    reserve_sats = 0 if hold.registry.routing_fees == "machine" else max(2, -(-sats // 100))
    sats -= reserve_sats
    if sats < 1:
        return "nothing"
    to = world.bank.customer_invoice(sats, f"customer {sale}", rng.choice((600, 86_400)))
    return ask(hold, orders.Refund(sale, sats, to, "jam", sats + reserve_sats))


def _shortfall(world: World, hold: Hold, rng: Random, sale: int) -> str:
    """A jam that is seen when all is paid. Who pays the top-up is another matter."""
    settlement = shortfall.allowed(_conn(hold), sale)
    sold_minor = settlement.fiat_amount_minor
    if not sold_minor:
        return "nothing"
    short_minor = rng.choice((sold_minor, max(1, sold_minor // 2), 1))
    client = _client(hold, rng, f" WHERE status <> 'removed' AND machine_id = '{settlement.machine_id}'")
    owner = None if client is None or rng.random() < 0.5 else client.id
    sats = shortfall.refund_sats(settlement, short_minor)
    if sats == 0 or rng.random() < 0.2:
        return ask(hold, orders.Shortfall(sale, short_minor, 0, 0, "jam", None, owner))
    if rng.random() < 0.5:
        return ask(hold, orders.Shortfall(sale, short_minor, sats, sats, "jam", f"short{sale}@away.example", owner))
    reserve_sats = 0 if hold.registry.routing_fees == "machine" else max(2, -(-sats // 100))
    to = world.bank.customer_invoice(sats, f"customer {sale}", rng.choice((600, 86_400)))
    return ask(hold, orders.Shortfall(sale, short_minor, sats, sats + reserve_sats, "jam", to, owner))


def _undo_shortfall(_world: World, hold: Hold, _rng: Random, sale: int) -> str:
    shortfall.to_undo(_conn(hold), sale)
    return ask(hold, orders.UndoShortfall(sale, "miscounted"))


def _pay_shortfall(world: World, rng: Random) -> str:
    """The operator pays the invoice of a shortfall, whatever became of it since."""
    hold = _hold_of(world, rng)
    found = _conn(hold).execute("SELECT topup_hash FROM dca_shortfalls WHERE topup_hash IS NOT NULL").fetchall()
    if not found:
        return "nothing"
    world.meet("pay_shortfall", hold, None)
    return pay_shortfall(world, hold, rng.choice(found)["topup_hash"])


def pay_shortfall(world: World, hold: Hold, topup_hash: str) -> str:
    """Pay it, if LNbits still has the invoice and it is not paid yet."""
    row = (
        _conn(hold)
        .execute(
            "SELECT s.settlement_key FROM dca_shortfalls x JOIN dca_settlements s ON s.id = x.settlement_id "
            "WHERE x.topup_hash = ?",
            (topup_hash,),
        )
        .fetchone()
    )
    sats = world.bank.pay_invoice(topup_hash)
    sale = world.judge.sale_of_key.get(row["settlement_key"])
    if sats and sale is not None:
        sale.topped_up_sats += sats
    return "paid in" if sats else "nothing"


def _resolve(world: World, rng: Random, *, paid: bool) -> str:
    hold = _hold_of(world, rng)
    row = _some(_conn(hold), rng, _LEG)
    if row is None:
        return "nothing"
    world.meet("resolve_paid" if paid else "resolve_unpaid", hold, row["settlement_id"])
    if paid and row["state"] != "held":
        return "nothing"  # nobody vouches for what is not in doubt
    return resolve(world, hold, row["id"], row["leg_key"], paid=paid)


def resolve(world: World, hold: Hold, payment_id: int, leg_key: str, *, paid: bool) -> str:
    """A person vouches for a payment."""
    if paid:
        world.judge.vouched.add(leg_key)
        return ask(hold, orders.DeclarePaid(payment_id, "asked the payee"))
    return ask(hold, orders.DeclareUnpaid(payment_id, "asked the payee"))


def _resolve_paid(world: World, rng: Random) -> str:
    return _resolve(world, rng, paid=True)


def _resolve_unpaid(world: World, rng: Random) -> str:
    return _resolve(world, rng, paid=False)


def _repoint(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    row = _some(_conn(hold), rng, _LEG)
    if row is None:
        return "nothing"
    world.meet("repoint", hold, row["settlement_id"])
    return ask(hold, orders.Repoint((row["id"],), "because"))


def _quarantine_retry(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    row = _some(_conn(hold), rng, "SELECT id, reason AS state FROM quarantine")
    if row is None:
        return "nothing"
    world.meet("quarantine_retry", hold, None)
    return ask(hold, orders.RetryQuarantined(row["id"]))


def _retry_all(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    world.meet("retry_all", hold, None)
    with atomic(_conn(hold)) as conn:
        count = sum(retries.retry(conn, one, _by(hold)) for one in retries.retryable(conn, None))
    return f"tried {count}"


def _land(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    found = _conn(hold).execute("SELECT machine_id, payment_hash FROM dca_unmatched_payments").fetchall()
    if not found:
        return "nothing"
    row = rng.choice(found)
    world.meet("land", hold, None)
    known = world.judge.sale_of_key.get(row["payment_hash"])
    if known is not None:
        known.by_person = True
    return land(hold, row["machine_id"], row["payment_hash"])


def land(hold: Hold, machine_id: str, payment_hash: str) -> str:
    """Make a sale of a payment that nothing explains: a person's word."""
    if not hold.registry.require_proof:
        raise Refused("require_payment_proof is false: sales are landed from events only")
    machine: Machine | None = hold.registry.config().machine(machine_id)
    assert machine is not None
    with atomic(_conn(hold)) as conn:
        unmatched.land(conn, machine, payment_hash, _by(hold), exchange_rate=Decimal("143.797"))
    if hold.process.daemon is not None:
        hold.process.daemon.worker.wake()
    return "landed"


# --- payments


def _retry_payment(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    row = _some(_conn(hold), rng, _LEG)
    if row is None:
        return "nothing"
    world.meet("retry_payment", hold, row["settlement_id"])
    with atomic(_conn(hold)) as conn:
        retries.retry_payment(conn, row["id"], _by(hold))
    return "tried"


def _cancel_payment(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    row = _some(_conn(hold), rng, _LEG + " AND leg_type = 'settlement'")
    if row is None:
        return "nothing"
    world.meet("cancel_payment", hold, None)
    return ask(hold, orders.CancelPayout(row["id"], "because"))


# --- machines


def _order_top_up(world: World, rng: Random) -> str:
    """`machines top-up`: the daemon makes an invoice, and the operator pays it."""
    hold, machine = world.main, rng.choice(world.main.registry.machines)
    world.meet("order_top_up", hold, None)
    name = f"{rng.getrandbits(64):016x}"
    order = orders.MakeTopUp(machine.id, name, rng.randrange(1_000, 500_000), "for fees")
    world.later(rng.choice((20.0, 300.0)), lambda: _pay_top_up(world, order))
    return ask(hold, order)


def _pay_top_up(world: World, order: orders.MakeTopUp) -> None:
    """The invoice is paid where it was shown; books that were replaced since have forgotten it."""
    found = _conn(world.main).execute("SELECT payment_hash FROM dca_topups WHERE id = ?", (order.topup_id,)).fetchone()
    if found is None or not world.bank.pay_invoice(found["payment_hash"]):
        return
    sats, payment_hash = order.amount_sats, found["payment_hash"]
    sale = Sale(len(world.sales), order.machine_id, sats, sats, Decimal(1), Decimal(1), int(world.now()), None, None)
    sale.top_up = sale.by_order = True
    sale.payment_hash = payment_hash
    world.add_sale(sale)


def _reconcile(world: World, rng: Random) -> str:
    hold = rng.choice(world.holds)
    world.meet("reconcile", hold, None)
    machine_id = rng.choice(hold.registry.machines).id
    world.spawn(reconcile_quietly(world, hold, machine_id))
    return machine_id


async def reconcile_quietly(world: World, hold: Hold, machine_id: str) -> None:
    """Reconcile, where that can be done now."""
    try:
        await reconcile(world, hold, machine_id)
    except (Refused, NotFound, WalletError, ConfigError, sqlite3.ProgrammingError):
        return  # the books were replaced, LNbits is down, or something waits


async def reconcile(world: World, hold: Hold, machine_id: str) -> list[str]:
    """`machines reconcile`: look, see what is proposed, and do exactly that. Returns what is waited for instead.

    Raises Refused, WalletError, ConfigError.
    """
    conn, config = _conn(hold), hold.registry.config()
    clients.machine_currency(conn, machine_id)  # as every command: a machine that the books do not know is not found
    machine = config.machine(machine_id)
    assert machine is not None
    terms = terms_for(config, machine_id)
    choices: dict[str, Choice] = {}
    for _ in range(3):
        asked = proposal.questions(conn, machine_id, choices)
        look = machine_case.WalletAnswers()
        if asked.incoming or asked.outgoing:
            lnbits = Lnbits(config.lnbits.url, http=Wire(world.bank, "cli"), instance_id="reconcile")
            key = machine.wallet.admin_key.resolve(config.environ)
            look = await wallet_look.ask(lnbits, key, machine_id, wallet_rows.wallet_id(conn, machine_id), asked)
        report = proposal.preview(conn, machine, terms, look, choices, _by(hold))
        if any(line.unpaid for line in report.marks) and world.bank.is_paying_for_others(hold.process.name):
            # Whoever accepts has seen to it that no other daemon lives, and waits for what it had begun: ARCHITECTURE
            # names a request that is held up in between for longer than anybody waits as what remains.
            return ["a request of another daemon is under way"]
        if not report.waits:
            with atomic(conn):
                proposal.accept(conn, machine, terms, look, choices, _by(hold), digest=report.digest)
            return []
        advised = {line.payment_hash: _advised(conn, machine_id, line) for line in report.payments}
        mended = {payment_hash: choice for payment_hash, choice in advised.items() if choice is not None}
        if not mended:
            break
        choices |= mended
    return list(report.waits)


def _advised(conn: sqlite3.Connection, machine_id: str, line: PaymentLine) -> Choice | None:
    """The first way out that a line which waits names in its own words; an LP's payment is known as theirs."""
    if line.verdict is not Resolution.WAITS:
        return None
    client_id = None
    if ":dca:" in line.leg_key and "not-ours" in line.words:
        client_id = reconciling.client_by_label(conn, machine_id, line.leg_key.rpartition(":")[2])
    if client_id is not None:
        return Choice(client_id=client_id)
    found = re.search(r"HASH=(sale|client):(\d+)|HASH=(not-ours)", line.words)
    if found is None:
        return None
    if found[3]:
        return Choice()
    return Choice(settlement_id=int(found[2])) if found[1] == "sale" else Choice(client_id=int(found[2]))


def _pause(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    world.meet("pause", hold, None)
    scope = rng.choice((None, hold.registry.machines[0].id))
    with atomic(_conn(hold)) as conn:
        stops.pause(conn, scope, _by(hold))
    world.later(rng.choice((5.0, 600.0)), lambda: resume(hold, scope))
    return "paused"


def resume(hold: Hold, scope: str | None) -> None:
    """Go on, where it is paused."""
    try:
        with atomic(_conn(hold)) as conn:
            stops.resume(conn, scope, _by(hold))
    except (Refused, sqlite3.ProgrammingError):
        return  # nothing was paused, or the books were replaced


# --- LPs


def _client(hold: Hold, rng: Random, sql: str = "") -> Client | None:
    row = _some(_conn(hold), rng, "SELECT id, status AS state FROM dca_clients" + sql)
    return None if row is None else clients.get(_conn(hold), row["id"])


def _client_add(world: World, rng: Random) -> str:
    hold = world.main
    world.clients_made += 1
    if world.clients_made > 6:
        return "nothing"
    machine = rng.choice(hold.registry.machines)
    world.meet("client_add", hold, None)
    client_id = add_lp(world, hold, rng, machine.id, f"lp{world.clients_made}")
    bring_cash(world, hold, client_id, rng.randrange(1_000, 400_000))
    return f"client {client_id}"


def _client_payee(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    client = _client(hold, rng)
    if client is None:
        return "nothing"
    world.meet("client_payee", hold, None)
    return redirect(world, hold, rng, client)


def redirect(
    world: World, hold: Hold, rng: Random, client: Client, kinds: tuple[str, ...] = ("wallet", "address")
) -> str:
    """`clients update` with another payee."""
    spec = hold.registry.new_payee(f"{client.label}-{rng.randrange(10**6)}", kinds)
    changes: dict[str, object] = {"payee_kind": "lightning_address", "payee": spec.address}
    if spec.wallet is not None:
        changes = {"payee_kind": "invoice_key_file", "payee": f"/keys/{spec.wallet.id}"}
        hold.registry.files[f"/keys/{spec.wallet.id}"] = spec.wallet.invoice_key
    if client.autoforward is not None:
        changes |= {"autoforward": None, "autoforward_key_file": None}
    with atomic(_conn(hold)) as conn:
        clients.update(conn, client, changes, actor="operator", now=hold.process.now())
    world.redirected(hold, client.id)
    terms = world.lp_terms[(client.machine_id, client.label)]
    world.lp_terms[(client.machine_id, client.label)] = (changes["payee_kind"], changes["payee"], None, None, terms[4])
    return "redirected"


def _client_status(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    client = _client(hold, rng)
    if client is None:
        return "nothing"
    world.meet("client_status", hold, None)
    with atomic(_conn(hold)) as conn:
        status = "active" if client.status == "paused" else "paused"
        clients.update(conn, client, {"status": status}, actor="operator", now=hold.process.now())
    return status


def _client_remove(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    client = _client(hold, rng)
    if client is None:
        return "nothing"
    world.meet("client_remove", hold, None)
    with atomic(_conn(hold)) as conn:
        remove(conn, client.id, actor="operator", now=hold.process.now(), write_off="handed back")
    return "removed"


def _client_settle(world: World, rng: Random) -> str:
    hold = _hold_of(world, rng)
    client = _client(hold, rng)
    if client is None:
        return "nothing"
    world.meet("client_settle", hold, None)
    amount = None if rng.random() < 0.5 else rng.randrange(100, 20_000)
    payout = propose_payout(_conn(hold), client.id, exchange_rate=Decimal("143.797"), amount_minor=amount)
    order = orders.SettleBalance(client.id, payout.exchange_rate, payout.fiat_amount_minor, payout.number)
    return ask(hold, order)


def _deposit(world: World, rng: Random) -> str:
    hold = world.main
    client = _client(hold, rng, " WHERE status <> 'removed'")
    if client is None:
        return "nothing"
    world.meet("deposit", hold, None)
    bring_cash(world, hold, client.id, rng.choice((1, rng.randrange(1_000, 300_000))))
    return "confirmed"


def _deposit_undecided(world: World, rng: Random) -> str:
    """One that is edited, and then rejected or deleted: it never counts."""
    hold = world.main
    client = _client(hold, rng, " WHERE status <> 'removed'")
    if client is None:
        return "nothing"
    world.meet("deposit_undecided", hold, None)
    now = hold.process.now()
    with atomic(_conn(hold)) as conn:
        one = deposits.add(conn, client_id=client.id, amount_minor=5_000, actor="operator", now=now)
        deposits.edit(conn, one, amount_minor=7_000, actor="operator", now=now)
        if rng.random() < 0.5:
            deposits.reject(conn, one, actor="operator", now=now, reason="it did not come")
        else:
            deposits.delete(conn, one, actor="operator", now=now)
    return "undecided"


def _withdraw(world: World, rng: Random) -> str:
    """An LP takes cash home."""
    hold = world.main
    client = _client(hold, rng, " WHERE status <> 'removed'")
    if client is None:
        return "nothing"
    world.meet("withdraw", hold, None)
    amount_minor = rng.choice((1, rng.randrange(100, 50_000)))
    with atomic(_conn(hold)) as conn:
        deposits.withdraw(conn, client.id, amount_minor, actor="operator", now=hold.process.now())
    world.took_home(client, amount_minor)
    return "taken"


# --- the file, loaded again


def _reload(name: str, change: Callable[[World, Registry, Random], Any]) -> Act:
    def do(world: World, rng: Random) -> str:
        hold = _hold_of(world, rng)
        world.meet(name, hold, None)
        world.reload(hold, lambda registry: change(world, registry, rng))
        return "reloaded"

    return do


def _payees(registry: Registry) -> list[PayeeSpec]:
    found = [payee for _, _, payee in registry.splits]
    return found if registry.super_payee is None else [registry.super_payee, *found]


def _swap_payee(world: World, registry: Registry, rng: Random) -> None:
    """Another wallet's key under the same name: the payee's identity changes, its description does not."""
    for payee in _payees(registry):
        if payee.wallet is not None and rng.random() < 0.7:
            payee.wallet = world.bank.new_wallet("another")


def _replace_payee(world: World, registry: Registry, rng: Random) -> None:
    """Another payee altogether."""
    if registry.splits:
        index = rng.randrange(len(registry.splits))
        label, pct, _ = registry.splits[index]
        registry.splits[index] = (label, pct, registry.new_payee(f"{label}-{world.actions}"))


def _move_key(_world: World, registry: Registry, rng: Random) -> None:
    """The same wallet, its key kept elsewhere, or its other key: nothing changes."""
    for payee in _payees(registry):
        if payee.wallet is not None:
            kind = rng.choice(("env", "credential"))
            payee.kept_in = (kind, payee.kept_in[1])
            payee.with_admin_key = rng.random() < 0.3


def _rotate_npub(_world: World, registry: Registry, rng: Random) -> None:
    machine = rng.choice(registry.machines)
    machine.npub_number += 1
    machine.pubkey = pubkey(machine.id, machine.npub_number)


def _raise_since(world: World, registry: Registry, rng: Random) -> None:
    """Sales of before are never paid; what is under way goes on."""
    machine = rng.choice(registry.machines)
    machine.payouts_since = int(world.now()) - rng.choice((0, 60, 3600))
    for sale in world.sales:
        if sale.machine_id == machine.id and sale.at <= machine.payouts_since + 60:
            sale.forgotten = True


def _toggle_proof(world: World, registry: Registry, _rng: Random) -> None:
    registry.require_proof = not registry.require_proof
    if not registry.require_proof:
        world.trust_words()


def _toggle_active(_world: World, registry: Registry, rng: Random) -> None:
    machine = rng.choice(registry.machines)
    machine.active = not machine.active


def _toggle_shares(_world: World, registry: Registry, rng: Random) -> None:
    """`[machines.unannounced] sales`: whether payments that nothing explains are sales."""
    machine = rng.choice(registry.machines)
    machine.shares = not machine.shares


def _change_delay(_world: World, registry: Registry, rng: Random) -> None:
    """`payout_delay_s`: sales wait before they are planned, and much happens meanwhile."""
    rng.choice(registry.machines).delay_s = rng.choice((0, 100, 900))


def _toggle_paused(_world: World, registry: Registry, _rng: Random) -> None:
    registry.paused = not registry.paused


def _toggle_fees(_world: World, registry: Registry, _rng: Random) -> None:
    registry.routing_fees = "machine" if registry.routing_fees == "payee" else "payee"


def _drop_super(_world: World, registry: Registry, rng: Random) -> None:
    again = f"super-again-{rng.randrange(1_000_000)}"  # an address leads to one wallet for good
    registry.super_payee = registry.new_payee(again) if registry.super_payee is None else None


def _new_machine_key(world: World, registry: Registry, rng: Random) -> None:
    """The machine's wallet gets new keys; LNbits forgets the old ones at once."""
    world.bank.new_keys(rng.choice(registry.machines).wallet)


# --- what payees do


def _payee_deleted(world: World, rng: Random) -> str:
    """An LP's wallet is deleted at LNbits."""
    hold = world.main
    client = _client(hold, rng, " WHERE payee_kind = 'invoice_key_file'")
    if client is None:
        return "nothing"
    world.meet("payee_deleted", hold, None)
    key = hold.registry.files.get(client.payee)
    found = None if key is None else world.bank.wallet_of_key(key)
    if found is not None:
        world.bank.delete_wallet(found[1])
    return "deleted"


def _key_unreadable(world: World, rng: Random) -> str:
    """The file with an LP's key cannot be read for a while, or for good."""
    hold = world.main
    client = _client(hold, rng, " WHERE payee_kind = 'invoice_key_file'")
    if client is None:
        return "nothing"
    world.meet("key_unreadable", hold, None)
    files, path = hold.registry.files, client.payee
    key = files.get(path)
    files[path] = None
    if rng.random() < 0.7 and key is not None:
        world.later(rng.choice((60.0, 3600.0)), lambda: files.__setitem__(path, key))
    return "unreadable"


def _address_dead(world: World, rng: Random) -> str:
    hold = world.main
    client = _client(hold, rng, " WHERE payee_kind = 'lightning_address'")
    if client is None:
        return "nothing"
    world.meet("address_dead", hold, None)
    world.bank.dead_addresses.add(client.payee)
    return "dead"


#: Every action of a person, with how often it is tried.
TABLE: dict[str, tuple[Act, float]] = {
    "hold": (_on_sale("hold", _hold), 1),
    "release": (_on_sale("release", _release), 1),
    "retry": (_on_sale("retry", _retry), 2),
    "close": (_on_sale("close", _close), 1),
    "partial_dispense": (_on_sale("partial_dispense", _partial_dispense), 2),
    "redistribute": (_on_sale("redistribute", _redistribute), 2),
    "refund": (_on_sale("refund", _refund), 2),
    "shortfall": (_on_sale("shortfall", _shortfall, _SOLD), 2),
    "undo_shortfall": (_on_sale("undo_shortfall", _undo_shortfall, _SHORT), 0.5),
    "pay_shortfall": (_pay_shortfall, 3),
    "resolve_paid": (_resolve_paid, 1),
    "resolve_unpaid": (_resolve_unpaid, 1),
    "retry_all": (_retry_all, 1),
    "land": (_land, 1),
    "retry_payment": (_retry_payment, 1),
    "cancel_payment": (_cancel_payment, 1),
    "repoint": (_repoint, 1),
    "quarantine_retry": (_quarantine_retry, 1),
    "withdraw": (_withdraw, 1),
    "reconcile": (_reconcile, 1),
    "pause": (_pause, 1),
    "client_add": (_client_add, 1),
    "client_payee": (_client_payee, 1),
    "client_status": (_client_status, 1),
    "client_remove": (_client_remove, 0.5),
    "client_settle": (_client_settle, 1),
    "deposit": (_deposit, 2),
    "deposit_undecided": (_deposit_undecided, 0.5),
    "reload_swap_payee": (_reload("reload_swap_payee", _swap_payee), 1),
    "reload_replace_payee": (_reload("reload_replace_payee", _replace_payee), 1),
    "reload_move_key": (_reload("reload_move_key", _move_key), 1),
    "reload_npub": (_reload("reload_npub", _rotate_npub), 1),
    "reload_since": (_reload("reload_since", _raise_since), 0.5),
    "reload_proof": (_reload("reload_proof", _toggle_proof), 1),
    "reload_active": (_reload("reload_active", _toggle_active), 1),
    "reload_shares": (_reload("reload_shares", _toggle_shares), 1),
    "reload_delay": (_reload("reload_delay", _change_delay), 1),
    "order_top_up": (_order_top_up, 1),
    "reload_paused": (_reload("reload_paused", _toggle_paused), 1),
    "reload_fees": (_reload("reload_fees", _toggle_fees), 0.5),
    "reload_super": (_reload("reload_super", _drop_super), 0.5),
    "reload_machine_key": (_reload("reload_machine_key", _new_machine_key), 0.5),
    "payee_deleted": (_payee_deleted, 0.5),
    "key_unreadable": (_key_unreadable, 1),
    "address_dead": (_address_dead, 0.5),
}

REFUSALS = (Refused, NotFound)

"""What happens to daemons, LNbits, clocks and books; and customers. `CUSTOMERS` and `FAULTS` are the tables.

A fault of LNbits that is a chance a call lasts a while and ends by itself; `calm` ends all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from random import Random

from satmachine.store import restored
from satmachine.store.database import atomic
from simulator import operators
from simulator.bank import Chance
from simulator.faults import Call, Fault, Spoilt, any_call
from simulator.operators import Act
from simulator.sales import Sale, figures, payment_extra, signed_event
from simulator.store import Books
from simulator.world import Hold, World

# --- customers

#: A machine announces a sale, and announces it again, within so long.
_TOLD_WITHIN_S = 72_000


def _sale(world: World, rng: Random) -> str:
    """A customer pays, the machine tells: in every order, or it never does."""
    extra_kind = rng.choice(("bare", "full", "full", "no_split", "txid"))
    # A machine that writes the split into the payment has it for its event, too.
    event_kind = rng.choice(("full", "full", "full", "no_hash", "full" if extra_kind == "full" else "no_split"))
    return _make_sale(world, rng, extra_kind, event_kind)


def _sale_at_odds(world: World, rng: Random) -> str:
    """What the payment carries and what the machine says differ."""
    kind = rng.choice(("no_split", "other_split", "more"))
    return _make_sale(world, rng, "bare" if kind == "more" else "full", kind)


def _make_sale(world: World, rng: Random, extra_kind: str, event_kind: str) -> str:
    hold = world.main
    machine = rng.choice(hold.registry.machines)
    gross, net, rate, fiat = figures(rng)
    now = int(world.now())
    txid = f"tx-{len(world.sales)}" if rng.random() < 0.7 else None
    sale = Sale(len(world.sales), machine.id, gross, net, rate, fiat, now, None, txid, on_word=world.words_count)
    sale.payment_hash = world.bank.customer_pays(machine.wallet.id, gross, payment_extra(sale, extra_kind))
    world.add_sale(sale)
    world.meet("sale", hold, None)
    wait_s = rng.choice((0.0, 0.1, 1.0, 30.0, 400.0, 4000.0))
    if rng.random() < 0.8:
        world.later(wait_s, lambda: _tell(world, sale, event_kind, rng))
    return extra_kind


def _tell(world: World, sale: Sale, kind: str, rng: Random) -> None:
    """The machine publishes; every daemon that listens hears it."""
    # Without proof, and without anything that tells two sales apart, a later word is another sale's (SPEC 6.4).
    if world.now() - sale.at > _TOLD_WITHIN_S:
        return
    hold = world.main
    machine = hold.registry.machine(sale.machine_id)
    event = signed_event(sale, machine.pubkey, int(world.now()), kind=kind, rng=rng)
    sale.event_ids.append(event.event.id)
    world.know(sale)
    for one in world.holds:
        world.deliver(one, event)


def _retell(world: World, rng: Random) -> str:
    """The machine announces a sale again: the same, under a new id; or with other figures."""
    if not world.sales:
        return "nothing"
    sale = rng.choice(world.sales[-6:])
    if sale.top_up:
        return "nothing"
    world.meet("retell", world.main, None)
    kind = rng.choice(("full", "again", "no_split", "no_hash", "other_split"))
    _tell(world, sale, kind, rng)
    return kind


def _lie(world: World, rng: Random) -> str:
    """A machine (or a stolen key) announces what nobody paid."""
    gross, net, rate, fiat = figures(rng)
    machine = rng.choice(world.main.registry.machines)
    sale = Sale(len(world.sales), machine.id, gross, net, rate, fiat, int(world.now()), None, f"lie-{len(world.sales)}")
    sale.on_word = world.words_count
    world.add_sale(sale)
    world.meet("lie", world.main, None)
    kind = rng.choice(("full", "false_hash"))
    if kind == "false_hash":
        sale.false_hash = sha256(f"nobody paid {sale.number}".encode()).hexdigest()
    _tell(world, sale, kind, rng)
    return "lied"


def _unpaid_invoice(world: World, rng: Random) -> str:
    """A customer is shown an invoice and walks away, or pays it later; the machine tells of a sale at once."""
    gross, net, rate, fiat = figures(rng)
    machine = rng.choice(world.main.registry.machines)
    sale = Sale(
        len(world.sales), machine.id, gross, net, rate, fiat, int(world.now()), None, f"owed-{len(world.sales)}"
    )
    sale.on_word = world.words_count
    sale.false_hash = world.bank.unpaid_invoice(machine.wallet.id, gross, payment_extra(sale, "full"))
    world.add_sale(sale)
    world.meet("unpaid_invoice", world.main, None)
    _tell(world, sale, "false_hash", rng)
    if rng.random() < 0.5:
        world.later(rng.choice((5.0, 100.0, 4000.0)), lambda: _pay_late(world, sale))
        return "paid later"
    return "not paid"


def _pay_late(world: World, sale: Sale) -> None:
    assert sale.false_hash is not None
    if world.bank.pay_invoice(sale.false_hash):
        sale.payment_hash, sale.at = sale.false_hash, int(world.now())
        world.know(sale)


def _top_up(world: World, rng: Random) -> str:
    """The operator sends sats to the machine's wallet."""
    machine = rng.choice(world.main.registry.machines)
    sats = rng.randrange(1000, 1_000_000)
    sale = Sale(
        len(world.sales), machine.id, sats, sats, figures(rng)[2], figures(rng)[3], int(world.now()), None, None
    )
    sale.top_up = True
    sale.payment_hash = world.bank.customer_pays(machine.wallet.id, sats, {}, "top-up")
    world.add_sale(sale)
    world.meet("top_up", world.main, None)
    return "paid in"


CUSTOMERS: dict[str, tuple[Act, float]] = {
    "sale": (_sale, 30),
    "sale_at_odds": (_sale_at_odds, 1),
    "retell": (_retell, 4),
    "lie": (_lie, 0.5),
    "top_up": (_top_up, 1),
    "unpaid_invoice": (_unpaid_invoice, 0.5),
}


# --- daemons


def _on_daemon(name: str, act: Callable[[World, Hold, Random], str]) -> Act:
    def do(world: World, rng: Random) -> str:
        hold = rng.choice(world.holds)
        if not hold.process.alive:
            return "nothing"
        world.meet(name, hold, None)
        return act(world, hold, rng)

    return do


def _kill(_world: World, hold: Hold, _rng: Random) -> str:
    hold.process.kill()
    return "killed"


def _die_soon(_world: World, hold: Hold, rng: Random) -> str:
    hold.process.dies_in = rng.randrange(1, 80)
    return f"in {hold.process.dies_in} steps"


def _freeze(world: World, hold: Hold, rng: Random) -> str:
    hold.process.freeze()
    process = hold.process
    world.later(rng.choice((20.0, 300.0, 3600.0)), process.thaw)
    return "frozen"


def _sleep_after_look(world: World, hold: Hold, rng: Random) -> str:
    """The host sleeps right after the daemon has seen its mark alone, and wakes much later. Whoever runs it takes it
    for dead meanwhile, starts another daemon on a copy that does not have that mark, and reconciles."""
    if len(world.holds) > 1 or world.rolled_back:
        return "nothing"
    process, image, for_s = hold.process, hold.process.books.image(), rng.choice((2_000.0, 4_000.0))

    def asleep() -> None:
        world.later(for_s, process.thaw)
        world.later(5.0, lambda: _take_over(world, hold, image))

    process.sleeps_at = ("mark.seen", asleep)
    return f"for {for_s:.0f} s"


def _take_over(world: World, hold: Hold, image: bytes) -> None:
    if len(world.holds) > 1 or hold not in world.holds:
        return
    world.other_lives = True
    other = world.open_books(image, hold.registry.copy())
    world.holds.append(other)
    other.process.start()
    for wait_s in (300.0, 900.0):
        for machine in other.registry.machines:
            world.later(wait_s, partial(_look_into, world, other, machine.id))


def _look_into(world: World, hold: Hold, machine_id: str) -> None:
    world.spawn(operators.reconcile_quietly(world, hold, machine_id))


def _busy(_world: World, hold: Hold, rng: Random) -> str:
    """Another program keeps the database locked."""
    store = hold.process.store
    if store is not None:
        store.keep_busy(rng.choice((2.0, 40.0, 200.0)))
    return "busy"


def _clock(world: World, hold: Hold, rng: Random) -> str:
    hold.process.clock_offset_s = rng.choice((0, 0, 90, -90, 4000, -4000))
    del world
    return f"{hold.process.clock_offset_s}"


# --- books


def _backup(world: World, rng: Random) -> str:
    hold = world.main
    world.meet("backup", hold, None)
    books = hold.process.books
    if rng.random() < 0.3:  # by something that does not say that it is a copy
        world.backups.append((books.image(), hold.seen_legs))
        return "made by hand"
    copy = Books(books.image(), "")
    restored.flag(copy.conn, int(world.now()))
    world.backups.append((copy.image(), hold.seen_legs))
    copy.close()
    return "made"


def _restore(world: World, rng: Random) -> str:
    """The operator puts a copy of some time ago in place; what LPs brought since is entered again."""
    if not world.backups or world.rolled_back:
        return "nothing"
    world.other_lives = True
    hold = world.main
    world.meet("restore", hold, None)
    world.replace_books(hold, rng.choice(world.backups)[0])
    world.later(1.0, lambda: world.reenter(world.main))
    return "restored"


def _lose_books(world: World, rng: Random) -> str:
    if world.rolled_back:
        return "nothing"
    world.other_lives = True
    hold = world.main
    world.meet("lose_books", hold, None)
    world.replace_books(hold, None)
    world.later(40.0, lambda: world.reenter(world.main))
    del rng
    return "lost"


def _second(world: World, rng: Random) -> str:
    """Somebody starts a second daemon, on a copy of the books or on an old backup."""
    if len(world.holds) > 1 or world.rolled_back:
        return "nothing"
    world.other_lives = True
    hold = world.main
    world.meet("second_daemon", hold, None)
    image = hold.process.books.image()
    if world.backups and rng.random() < 0.3:
        image = rng.choice(world.backups)[0]
    other = world.open_books(image, hold.registry.copy())
    other.process.clock_offset_s = rng.choice((0, 0, 5, -5, 200))
    world.holds.append(other)
    other.process.start()
    return "started"


def _stop_second(world: World, rng: Random) -> str:
    if len(world.holds) < 2:
        return "nothing"
    world.meet("stop_second", world.main, None)
    world.stop_second()
    del rng
    return "stopped"


# --- LNbits


def _elsewhere(name: str, change: Callable[[Chance, Random], None]) -> Act:
    """Something goes wrong at payees, or LNbits is slow, for a while."""

    def do(world: World, rng: Random) -> str:
        world.meet(name, world.main, None)
        change(world.bank.chance, rng)
        world.later(rng.choice((5.0, 60.0, 600.0)), world.calm_bank)
        return "on"

    return do


def _on_calls(name: str, *faults: Fault) -> Act:
    """Calls to LNbits meet a fault for a while, all of them or only payments."""

    def do(world: World, rng: Random) -> str:
        world.meet(name, world.main, None)
        matcher = rng.choice((any_call, _pays, _creates))
        rate = rng.choice((0.1, 0.5, 1.0))
        world.bank.model.faults.rates.append((rate, matcher, rng.choice(faults)))
        world.later(rng.choice((5.0, 60.0, 600.0)), world.calm_bank)
        return f"{rate} {matcher.__name__}"

    return do


def _pays(call: Call) -> bool:
    return call.pays


def _creates(call: Call) -> bool:
    return call.creates


def _too_many(world: World, rng: Random) -> str:
    world.meet("too_many", world.main, None)
    world.bank.model.rate_limit_per_minute = rng.choice((1, 10, 60))
    world.later(rng.choice((5.0, 60.0, 600.0)), world.calm_bank)
    return f"{world.bank.model.rate_limit_per_minute} a minute"


def _bank_kill(world: World, rng: Random) -> str:
    world.meet("bank_kill", world.main, None)
    world.bank.kill()
    del rng
    return "killed"


def _bank_dies_soon(world: World, rng: Random) -> str:
    """LNbits dies at one of its next steps; or right between a debit and its credit."""
    world.meet("bank_dies_soon", world.main, None)
    wanted = rng.choice((None, "debit.committed", "debit.committed", "credit.committed", "external.committed"))
    left = rng.randrange(1, 4 if wanted else 60)

    def count(step: str) -> None:
        nonlocal left
        left -= wanted in (None, step)
        if left == 0:
            left = -1
            world.bank.kill()

    world.bank.on_step = count
    return f"in {left} {wanted or 'steps'}"


def _bank_backup(world: World, rng: Random) -> str:
    world.meet("bank_backup", world.main, None)
    world.bank_backups.append(world.bank.snapshot())
    del rng
    return "made"


def _bank_rollback(world: World, rng: Random) -> str:
    """LNbits is restored from a backup: what it knew since is gone."""
    if not world.bank_backups or world.other_lives:
        return "nothing"
    world.rolled_back = True
    world.meet("bank_rollback", world.main, None)
    world.roll_back_bank(rng.choice(world.bank_backups[-2:]))
    return "rolled back"


def _bank_clock(world: World, rng: Random) -> str:
    world.meet("bank_clock", world.main, None)
    world.bank.model.clock_offset_s = rng.choice((0.0, 0.0, 30.0, -30.0, 400.0, -400.0))
    return f"{world.bank.model.clock_offset_s}"


def _wall_jump(world: World, rng: Random) -> str:
    """The host slept: time has gone on without anybody."""
    world.meet("wall_jump", world.main, None)
    world.offset_s += rng.choice((60.0, 4000.0, 90_000.0))
    return "jumped"


FAULTS: dict[str, tuple[Act, float]] = {
    "kill": (_on_daemon("kill", _kill), 2),
    "die_soon": (_on_daemon("die_soon", _die_soon), 4),
    "freeze": (_on_daemon("freeze", _freeze), 1),
    "busy": (_on_daemon("busy", _busy), 1),
    "clock": (_on_daemon("clock", _clock), 0.5),
    "backup": (_backup, 1),
    "restore": (_restore, 1),
    "lose_books": (_lose_books, 0.5),
    "second_daemon": (_second, 1),
    "stop_second": (_stop_second, 1),
    "lost_answers": (_on_calls("lost_answers", Fault(lose_answer=True), Fault(lose_request=True)), 2),
    "spoilt_answers": (_on_calls("spoilt_answers", *(Fault(spoilt=how) for how in Spoilt)), 1),
    "gateway_504": (_on_calls("gateway_504", Fault(gateway_timeout_s=1.0, delay_s=3.0)), 1),
    "late_requests": (_on_calls("late_requests", *(Fault(delay_s=late_s) for late_s in (20.0, 100.0, 700.0))), 1),
    "late_answers": (_on_calls("late_answers", Fault(answer_after_s=20.0), Fault(answer_after_s=100.0)), 1),
    "wait_between": (_on_calls("wait_between", Fault(wait_at=("debit.committed", 40.0))), 1),
    "too_many": (_too_many, 1),
    "slow": (_elsewhere("slow", lambda c, r: setattr(c, "slow_s", r.choice((2.0, 60.0)))), 1),
    "payments_fail": (_elsewhere("payments_fail", lambda c, r: setattr(c, "payment_fails", r.random())), 1),
    "payments_slow": (_elsewhere("payments_slow", lambda c, r: setattr(c, "payment_slow", r.random())), 1),
    "payees_down": (_elsewhere("payees_down", lambda c, r: setattr(c, "payee_down", r.random())), 1),
    "bank_kill": (_bank_kill, 2),
    "bank_dies_soon": (_bank_dies_soon, 3),
    "bank_backup": (_bank_backup, 0.5),
    "bank_rollback": (_bank_rollback, 0.3),
    "bank_clock": (_bank_clock, 0.5),
    "wall_jump": (_wall_jump, 1),
}


def _tamper(world: World, rng: Random) -> str:
    """Somebody who may write the database doubles what a payment is over that is not begun yet."""
    conn = world.main.process.books.conn
    found = conn.execute(
        "SELECT id FROM dca_payments WHERE status IN ('pending', 'failed') AND generation = 0 AND amount_sats > 0"
    ).fetchall()
    if not found:
        return "nothing"
    world.meet("tamper", world.main, None)
    guards = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'dca_payments'")
    kept = guards.fetchall()
    with atomic(conn):
        for guard in kept:  # who may write can do that, too
            conn.execute(f"DROP TRIGGER {guard['name']}")
        conn.execute("UPDATE dca_payments SET amount_sats = 2 * amount_sats WHERE id = ?", (rng.choice(found)["id"],))
        for guard in kept:
            conn.execute(guard["sql"])
    return "doubled"


#: Chances that are too small to come by themselves, and crimes: only a run that is focused on one of these has it.
RARE: dict[str, tuple[Act, float]] = {
    "tamper": (_tamper, 6),
    "sleep_after_look": (_on_daemon("sleep_after_look", _sleep_after_look), 6),
}

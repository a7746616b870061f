"""Everything together: LNbits, daemons and their books, customers, LPs, and the people who run it.

`World.run` plays actions until enough steps were made, then lets faults end and days pass while a person clears up,
and judges all along. A step is a call to LNbits, a transaction of a daemon, or an action.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from satmachine.errors import ConfigError, DatabaseBusy, NotFound, Refused, StoreError
from satmachine.models import Client, Leg
from satmachine.nostr.intake import Received
from satmachine.settlements.pay.jobs import client_payee, configured_payee
from satmachine.store import as_models as rows
from satmachine.store import clients, deposits
from satmachine.store.database import atomic
from simulator import coverage, daemon
from simulator.bank import Bank, Chance, Identity, hash_of
from simulator.daemon import Process
from simulator.judge import Judge, Lp, Violation
from simulator.registry import MachineSpec, Registry, identity, pubkey
from simulator.sales import Sale
from simulator.store import Books, Killed

#: When every world begins.
EPOCH = 1_790_000_000


#: Payments that a person has sent elsewhere since: the orders name payments, or the sale that they are of.
_REPOINTED = """
SELECT p.* FROM audit_log a JOIN dca_payments p ON a.subject = 'payment ' || p.id
    OR (a.subject = 'settlement ' || p.settlement_id AND json_extract(a.before, '$.leg') = p.leg)
WHERE a.id > ? AND a.action = 'leg.repoint'
"""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens: who or what, after which wait, and its own chance."""

    name: str
    wait_s: float
    seed: int


@dataclass(slots=True)
class Hold:
    """A daemon's books with the life on them and the file that it is run with."""

    process: Process
    registry: Registry
    seen_legs: int = 0
    seen_audit: int = 0
    #: When it first meant to pay each leg that it has sent, or is about to (the loop's time).
    begun_at: dict[str, float] = field(default_factory=dict)
    #: Nobody starts it again: a second daemon that was stopped.
    stopped: bool = False


@dataclass(slots=True)
class World:
    """One run. `rng` is for what no action decides: LNbits, schedules, restarts."""

    seed: int
    bank: Bank
    rng: Random
    judge: Judge
    holds: list[Hold] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)
    backups: list[tuple[bytes, int]] = field(default_factory=list)
    bank_backups: list[Any] = field(default_factory=list)
    #: Cash of customers that was booked as an LP's: (sale, number, when, amount, machine, label).
    seen_cash: set[tuple[object, ...]] = field(default_factory=set)
    offset_s: float = 0.0
    pairs: coverage.Pairs = field(default_factory=Counter)
    actions: int = 0
    writes_of_the_dead: int = 0
    clients_made: int = 0
    #: No proof of payment is, or was, asked for: a machine's word is enough.
    words_count: bool = False
    #: LNbits was rolled back; and: books were replaced, or a second daemon has lived. Not both in one run: what only
    #: another life knows, and LNbits has forgotten, nobody could know.
    rolled_back: bool = False
    other_lives: bool = False
    #: (machine, label) -> (payee kind, payee, forward, forward key, mode, daily limit), as the person knows it.
    lp_terms: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    total_steps: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # --- facts

    @property
    def steps(self) -> int:
        return self.bank.calls + self.actions + self.writes_of_the_dead + sum(h.process.writes for h in self.holds)

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time() + self.offset_s

    @property
    def main(self) -> Hold:
        """The daemon that the operator believes in."""
        return self.holds[0]

    def meet(self, action: str, hold: Hold, settlement_id: int | None) -> None:
        """Note which states an action has met."""
        for state in coverage.states(hold.process.books.conn, settlement_id):
            self.pairs[(action, state)] += 1
        if self.bank.between:
            self.pairs[(action, "wallet:between")] += 1

    def trust_words(self) -> None:
        """From now on no proof is asked for, perhaps only for a while."""
        self.words_count = True
        for sale in self.sales:
            sale.on_word = True

    def know_lp(self, machine_id: str, label: str) -> None:
        """The judge is told of a new LP, and of the daily limit that goes with `lp_terms`."""
        self.judge.lps[(machine_id, label)] = Lp(machine_id, label, limit_minor=self.lp_terms[(machine_id, label)][4])

    def calm_bank(self) -> None:
        """LNbits works again."""
        self.bank.chance = Chance()
        self.bank.model.faults.rates.clear()
        self.bank.model.faults.once.clear()
        self.bank.model.rate_limit_per_minute = None

    def roll_back_bank(self, snapshot: Any) -> None:
        """LNbits forgets what it did since; so does the judge, where that undid it."""
        self.bank.roll_back(snapshot)
        self.judge.recount()
        for sale in self.sales:
            if sale.payment_hash is not None and not self.bank.has_received(sale.payment_hash):
                sale.forgotten = True

    def asked(self, client: str, leg_key: str) -> None:
        """A daemon asks LNbits to pay. What it meant to before a person held the sale is not called back."""
        if client == self.main.process.name:
            self.judge.asked(leg_key, self.main.begun_at.get(leg_key, 0.0))

    def look(self) -> None:
        """Judge what has happened so far. Raises Violation."""
        self.judge.other_lives = self.other_lives or self.rolled_back
        self.judge.look()
        for hold in self.holds:
            if hold.process.surprises:
                raise Violation("surprise", f"{hold.process.name}: {hold.process.surprises[0]}")

    # --- what actions use

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run on its own, in the world's name."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def later(self, wait_s: float, what: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(wait_s, what)

    def in_daemon(self, hold: Hold, what: Callable[[daemon.SimDaemon], Awaitable[object]]) -> None:
        """Let a daemon that lives do something, as its own."""
        living = hold.process.daemon
        if living is None:
            return

        async def do() -> None:
            try:
                await what(living)
            except (Killed, StoreError, asyncio.CancelledError):
                return

        context = contextvars.copy_context()
        context.run(daemon._LIFE.set, hold.process)
        task = asyncio.get_running_loop().create_task(do(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def deliver(self, hold: Hold, event: Received) -> None:
        """A relay brings an event; what the books refuse for a while comes again."""

        async def bring(living: daemon.SimDaemon) -> None:
            for _ in range(5):
                try:
                    await living.recorder.record([event])
                except DatabaseBusy:
                    await asyncio.sleep(10)
                    continue
                return

        self.in_daemon(hold, bring)

    def reload(self, hold: Hold, change: Callable[[Registry], None]) -> None:
        """The operator edits the file and reloads; what is refused is taken back."""
        new = hold.registry.copy()
        change(new)
        if hold.process.daemon is None:
            return

        async def take(living: daemon.SimDaemon) -> None:
            if await living.take(new.config()):
                hold.registry = new
                self._unseen_follow(hold)

        self.in_daemon(hold, take)

    def _unseen_follow(self, hold: Hold) -> None:
        """Until somebody has seen which wallet a key leads to, its legs are for whom the file names now."""
        unseen = "SELECT * FROM dca_payments WHERE payee_kind = 'wallet' AND payee_ref IS NULL AND completed_at IS NULL"
        for row in hold.process.books.conn.execute(unseen).fetchall():
            leg: Leg = rows.load(Leg, row)
            meant = self._identity(hold, leg)
            if meant is not None:
                self.judge.meant.setdefault(leg.leg_key, set()).add(meant)

    def add_sale(self, sale: Sale) -> None:
        self.sales.append(sale)
        self.know(sale)

    def know(self, sale: Sale) -> None:
        """Every key under which the sale may be paid leads to it."""
        for key in sale.settlement_keys():
            self.judge.sale_of_key.setdefault(key, sale)

    # --- lives

    def open_books(self, image: bytes | None, registry: Registry) -> Hold:
        """Put a daemon on a database: a new one, or a copy."""
        books = Books(image, f"{self.rng.getrandbits(64):016x}")
        hold = Hold.__new__(Hold)
        process = Process(
            f"daemon {len(self.holds)}",
            books,
            self.bank,
            lambda: hold.registry.config(),
            self.now,
            Random(self.rng.random()),
            lambda _process: self._planned(hold),
        )
        hold.process, hold.registry, hold.stopped, hold.begun_at = process, registry, False, {}
        hold.seen_legs = books.conn.execute("SELECT coalesce(max(id), 0) FROM dca_payments").fetchone()[0]
        hold.seen_audit = books.conn.execute("SELECT coalesce(max(id), 0) FROM audit_log").fetchone()[0]
        return hold

    def replace_books(self, hold: Hold, image: bytes | None) -> None:
        """A restore, or a loss (None): the daemon is down for it."""
        hold.process.kill()
        self.writes_of_the_dead += hold.process.writes
        self.bank.model.gone_at[hold.process.name] = self.now()
        new = self.open_books(image, hold.registry)
        new.process.name = hold.process.name
        self.holds[self.holds.index(hold)] = new

    def end_faults(self) -> None:
        """Everything works again, and one daemon is left."""
        self.calm_bank()
        self.bank.on_step = lambda _step: None
        self.stop_second()
        hold = self.main
        hold.process.clock_offset_s = 0
        self.bank.model.clock_offset_s = 0.0
        hold.process.dies_in = None
        hold.process.thaw()
        if hold.process.store is not None:
            hold.process.store.keep_busy(0)

        def restore(registry: Registry) -> None:
            registry.paused = False
            for machine in registry.machines:
                machine.active = True

        self.later(60.0, lambda: self.reload(self.main, restore))

    def close(self) -> None:
        """End what still runs."""
        for hold in self.holds:
            hold.process.kill()
        for task in self._tasks:
            task.cancel()

    def took_home(self, client: Client, amount_minor: int) -> None:
        """An LP has taken cash out of the machine."""
        lp = self.judge.lps[(client.machine_id, client.label)]
        lp.brought_minor -= amount_minor
        lp.cash.append((-amount_minor, int(self.now())))

    def stop_second(self) -> None:
        """The operator notices a second daemon, and ends it for good."""
        for hold in self.holds[1:]:
            hold.process.kill()
            self.writes_of_the_dead += hold.process.writes
        del self.holds[1:]

    def reenter(self, hold: Hold, tries: int = 5) -> None:
        """After a restore or a loss: LPs and cash that the books lack are entered again, less what was paid out."""
        if hold not in self.holds:
            return
        try:
            for (machine_id, label), lp in self.judge.lps.items():
                self._reenter_lp(hold, machine_id, label, lp)
        except (NotFound, Refused):
            if tries:
                self.later(60.0, lambda: self.reenter(hold, tries - 1))

    def _reenter_lp(self, hold: Hold, machine_id: str, label: str, lp: Lp) -> None:
        conn = hold.process.books.conn
        row = conn.execute(
            "SELECT id, status, confirmed_minor FROM dca_clients WHERE machine_id = ? AND label = ?",
            (machine_id, label),
        ).fetchone()
        if row is not None and row["status"] == "removed":
            return
        client_id = row["id"] if row is not None else insert_lp(self, hold, machine_id, label)
        known = Counter(
            row["amount_minor"]
            for row in conn.execute(
                "SELECT amount_minor FROM dca_deposits WHERE client_id = ? AND status = 'confirmed'", (client_id,)
            )
        )
        missing = []
        for amount_minor, at in lp.cash:
            known[amount_minor] -= 1
            if known[amount_minor] < 0:
                missing.append((amount_minor, at))
        for amount_minor, at in sorted(missing, key=lambda entry: entry[0] < 0):
            try:
                enter_cash(hold, client_id, amount_minor, at)
            except Refused:
                if amount_minor > 0:
                    raise

    async def supervise(self) -> None:
        """systemd and its like: what has died is started again after a while."""
        while True:
            await asyncio.sleep(self.rng.choice((0.5, 2.0, 30.0)))
            for hold in list(self.holds):
                if not hold.process.alive and not hold.stopped:
                    hold.process.start()
            self.bank.start()

    # --- what was meant

    def _planned(self, hold: Hold) -> None:
        """A daemon has written: remember for each new leg who it is meant for, by the file and the books in force."""
        conn = hold.process.books.conn
        found = conn.execute("SELECT * FROM dca_payments WHERE id > ? ORDER BY id", (hold.seen_legs,)).fetchall()
        for row in conn.execute("SELECT leg_key FROM dca_payments WHERE status = 'sending'"):
            hold.begun_at.setdefault(row["leg_key"], asyncio.get_running_loop().time())
        latest = conn.execute("SELECT max(id) AS id FROM audit_log").fetchone()["id"] or 0
        if latest != hold.seen_audit:
            found += conn.execute(_REPOINTED, (hold.seen_audit,)).fetchall()
            hold.seen_audit = latest
            self._shortfalls(hold)
        for row in found:
            hold.seen_legs = max(hold.seen_legs, row["id"])
            leg: Leg = rows.load(Leg, row)
            planned_sats = self.judge.planned_sats.get(leg.leg_key, 0)
            self.judge.planned_sats[leg.leg_key] = max(planned_sats, leg.amount_sats)
            if leg.payee_kind == "wallet" and leg.payee_ref is None:
                self.judge.unlearnt.add(leg.leg_key)
            meant = self._identity(hold, leg)
            if meant is not None:
                self.judge.meant.setdefault(leg.leg_key, set()).add(meant)

    def _shortfalls(self, hold: Hold) -> None:
        """Cash that a customer did not get is an LP's from now on, or no longer is: as if they had brought it."""
        found = hold.process.books.conn.execute(
            "SELECT x.settlement_id, x.number, x.booked_at, d.amount_minor, d.machine_id, c.label "
            "FROM dca_shortfalls x JOIN dca_deposits d ON d.id = x.deposit_id OR d.reverses = x.deposit_id "
            "JOIN dca_clients c ON c.id = d.client_id"
        )
        for row in found.fetchall():
            if tuple(row) in self.seen_cash:
                continue
            self.seen_cash.add(tuple(row))
            lp = self.judge.lps[(row["machine_id"], row["label"])]
            lp.brought_minor += row["amount_minor"]
            lp.cash.append((row["amount_minor"], int(self.now())))

    def _identity(self, hold: Hold, leg: Leg) -> Identity | None:
        if leg.leg_type == "autoforward":
            return "address", leg.payee
        if leg.leg_type == "refund":
            return ("address", leg.payee) if leg.payee_kind != "invoice" else ("hash", hash_of(str(leg.payee_ref)))
        living = hold.process.daemon
        config = hold.registry.config() if living is None else living.context.config()
        if leg.client_id is not None:
            payee = client_payee(clients.payee_of(hold.process.books.conn, leg.client_id))
            return identity(self.bank, payee, config.environ, hold.registry.files.kept)
        configured = configured_payee(config, leg)
        return None if configured is None else identity(self.bank, configured, config.environ, hold.registry.files.kept)

    def redirected(self, hold: Hold, client_id: int) -> None:
        """A person has said where an LP's legs go from now on."""
        conn = hold.process.books.conn
        try:
            found = identity(self.bank, client_payee(clients.payee_of(conn, client_id)), {}, hold.registry.files.kept)
        except ConfigError:
            return
        if found is None:
            return
        for row in conn.execute("SELECT leg_key FROM dca_payments WHERE client_id = ?", (client_id,)):
            self.judge.meant.setdefault(row["leg_key"], set()).add(found)


def new_world(seed: int) -> World:
    """A machine or two, an operator's file, LPs with some cash in the machines, and one daemon."""
    files = daemon.begin(seed)
    rng = Random(f"world {seed}")
    world: World
    bank = Bank(lambda: world.now(), Random(f"bank {seed}"))
    world = World(seed, bank, rng, Judge(bank))
    bank.on_pay = world.asked
    registry = Registry(bank, rng, files)
    for number in range(1 if rng.random() < 0.6 else 2):
        machine_id = f"m{number + 1}"
        registry.machines.append(
            MachineSpec(machine_id, bank.new_wallet(machine_id), pubkey(machine_id, 0), EPOCH - 86_400)
        )
    if rng.random() < 0.85:
        registry.super_payee = registry.new_payee("super")
    if rng.random() < 0.9:
        registry.splits = [
            ("owner", Decimal("0.7"), registry.new_payee("owner")),
            ("tech", Decimal("0.3"), registry.new_payee("tech")),
        ]
    registry.require_proof = rng.random() < 0.85
    registry.routing_fees = rng.choice(("payee", "payee", "machine"))
    world.words_count = not registry.require_proof
    hold = world.open_books(None, registry)
    world.holds.append(hold)
    hold.process.start()
    return world


def add_lp(world: World, hold: Hold, rng: Random, machine_id: str, label: str) -> int:
    """A new LP with a payee of a kind that chance chooses; returns its id."""
    registry, files = hold.registry, hold.registry.files
    kind = rng.choice(("wallet", "wallet", "wallet", "address", "own", "lnurl"))
    spec = registry.new_payee(f"{label}-{rng.randrange(10**6)}", (kind,))
    payee_kind, payee, forward, forward_key = "lightning_address", spec.address or "", None, None
    if spec.wallet is not None:
        payee_kind, payee = "invoice_key_file", f"/keys/{spec.wallet.id}"
        files[payee] = spec.wallet.invoice_key
        if rng.random() < 0.2:
            forward, forward_key = f"{label}@forward.example", f"/keys/{spec.wallet.id}.admin"
            files[forward_key] = spec.wallet.admin_key
    elif kind == "lnurl":
        payee_kind = "lnurl"
    limit = rng.randrange(10_000, 500_000) if rng.random() < 0.3 else None
    world.lp_terms[(machine_id, label)] = (payee_kind, payee, forward, forward_key, limit)
    world.know_lp(machine_id, label)
    return insert_lp(world, hold, machine_id, label)


def insert_lp(world: World, hold: Hold, machine_id: str, label: str) -> int:
    """`clients add`. Raises Refused for a label that was used, NotFound for a machine that is not registered yet."""
    payee_kind, payee, forward, forward_key, limit = world.lp_terms[(machine_id, label)]
    with atomic(hold.process.books.conn) as conn:
        return clients.add(
            conn,
            machine_id=machine_id,
            label=label,
            person=label,
            payee_kind=payee_kind,
            payee=payee,
            mode="flow" if limit is None else "fixed",
            daily_limit_minor=limit,
            autoforward=forward,
            autoforward_key_file=forward_key,
            actor="operator",
            now=hold.process.now(),
        )


def bring_cash(world: World, hold: Hold, client_id: int, amount_minor: int) -> None:
    """An LP brings cash to the machine, and the operator enters it."""
    enter_cash(hold, client_id, amount_minor, None)
    client = clients.get(hold.process.books.conn, client_id)
    lp = world.judge.lps[(client.machine_id, client.label)]
    lp.brought_minor += amount_minor
    lp.cash.append((amount_minor, hold.process.now()))


def enter_cash(hold: Hold, client_id: int, amount_minor: int, at: int | None) -> None:
    """`deposits add` and `confirm`, or `withdraw`; `at`: entered again, with its true time where the books allow it."""
    now = hold.process.now()
    for effective_at in (None,) if at is None else (min(at, now), None):
        try:
            with atomic(hold.process.books.conn) as conn:
                if amount_minor < 0:
                    deposits.withdraw(
                        conn, client_id, -amount_minor, effective_at=effective_at, actor="operator", now=now
                    )
                    return
                deposit_id = deposits.add(
                    conn,
                    client_id=client_id,
                    amount_minor=amount_minor,
                    effective_at=effective_at,
                    actor="operator",
                    now=now,
                )
                deposits.confirm(conn, deposit_id, actor="operator", now=now)
        except Refused:
            if effective_at is None:
                raise
            continue
        return

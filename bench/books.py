"""A database with millions of rows as years of work leave them, for benchmarks; made by bulk SQL in a minute or two.

Every constraint, foreign key and trigger of schema.sql is on while the rows go in, and `satmachine audit` finds nothing
wrong with them. Only their order is friendlier than life: what belongs together was written together.
"""

from __future__ import annotations

import atexit
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path

from satmachine.money import sats_to_minor, split_two_stage_commission
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.store.database import atomic, connect, prepare
from testkit.config_files import machine_table

Say = Callable[[str], None]

#: Where big databases are made and kept for the next run; without it they are made anew and thrown away.
KEEP = "SATMACHINE_BENCH_DIR"

#: The sale that everything begins with, and the time between two sales: a million in three years. Unix seconds.
START = 1_700_000_000
SALE_EVERY_S = 95
DAY_S = 86_400

RATE = Decimal("143.797")
SUPER_PCT = Decimal("0.30")
#: Different amounts of sales. The first is so small that the platform's part of it is nothing.
VARIANTS = 40
#: One operator has most of the machines.
OPERATORS = 10
DEPOSITS_EACH = 20
_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Size:
    """How many of each: machines, sales (with 4 to 6 legs each), beacons in the telemetry log; and the time between two
    sales."""

    machines: int
    sales: int
    beacons: int
    sale_every_s: int = SALE_EVERY_S

    @property
    def end(self) -> int:
        """When the last sale was made, in Unix seconds: the present of these books."""
        return START + self.sales * self.sale_every_s


BIG = Size(machines=1_000, sales=1_000_000, beacons=5_000_000)
SMALL = Size(machines=20, sales=2_000, beacons=2_000)


def books(size: Size, say: Say) -> Path:
    """The path of such a database, made once. It is thrown away in the end, unless $SATMACHINE_BENCH_DIR is set.

    Only read it, or roll back what you write: others use it too.
    """
    pace = "" if size.sale_every_s == SALE_EVERY_S else f"-every-{size.sale_every_s}"
    path = _folder() / f"books-{size.machines}-{size.sales}-{size.beacons}{pace}.db"
    if path.exists():
        say(f"using {path.name}")
        prepare(path)  # it may have been made by an older version
    else:
        build(path, size, say)
    return path


@cache
def _folder() -> Path:
    if kept := os.environ.get(KEEP):
        return Path(kept)
    folder = tempfile.TemporaryDirectory(prefix="satmachine-bench-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def stop_watching_clients(conn: sqlite3.Connection) -> str:
    """Drop the trigger that notes clients which no command has added; returns the statement that makes it again."""
    found = conn.execute("SELECT sql FROM sqlite_schema WHERE name = 'dca_clients_added_outside'").fetchone()
    conn.execute("DROP TRIGGER dca_clients_added_outside")
    return str(found[0])


def write_config(database: Path, machines: int, folder: Path) -> Path:
    """A configuration that names a database and has machines of these ids, for the commands that read the books."""
    path = folder / "config.toml"
    parts = [_CONFIG.format(database=database.absolute(), operators="".join(map(_operator, range(OPERATORS))))]
    path.write_text("".join([*parts, *map(_machine, range(machines))]), "utf-8")
    path.chmod(0o600)
    return path


_CONFIG = """
[database]
path = "{database}"
[nostr]
relays = ["wss://relay.example.org"]
[lnbits]
url = "https://lnbits.example.org"
[super]
fee_pct = 0.30
payee = {{ lightning_address = "platform@example.org" }}
{operators}
"""


def _operator(number: int) -> str:
    return f'[[operators]]\nid = "operator-{number}"\nname = "Operator {number}"\n'


def _machine(number: int) -> str:
    npub = hex_to_npub(public_key_of((number + 1).to_bytes(32, "big")))
    key = f'{{ env = "WALLET_{number}" }}'
    return machine_table(number, machine_id(number), npub, key, operator=f"operator-{owner_of(number)}")


def build(path: Path, size: Size, say: Say) -> None:
    """Make the database. A file that was not finished does not stay."""
    unfinished = path.with_name(path.name + ".unfinished")
    for old in unfinished.parent.glob(unfinished.name + "*"):
        old.unlink()
    prepare(unfinished)
    conn = connect(unfinished)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -3000000", "temp_store = MEMORY"):
            conn.execute(f"PRAGMA {pragma}")
        conn.create_function("digest", 2, _digest, deterministic=True)
        with _indexed_afterwards(conn):
            _register(conn, size)
            for first in range(0, size.sales, _CHUNK):
                _add_sales(conn, size, first, min(first + _CHUNK, size.sales))
                say(f"{min(first + _CHUNK, size.sales):,} of {size.sales:,} sales")
            _add_ways_out(conn, size)
            _add_deposits(conn, size)
            _add_surroundings(conn, size)
            _add_telemetry(conn, size)
            say("indexes")
        conn.execute("PRAGMA journal_mode = WAL")
    finally:
        conn.close()
    unfinished.rename(path)


@contextmanager
def _indexed_afterwards(conn: sqlite3.Connection) -> Iterator[None]:
    """Indexes that are no constraints are made at the end: to sort once is quicker than to insert a million times."""
    found = conn.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'"
    ).fetchall()
    for name, _ in found:
        conn.execute(f"DROP INDEX {name}")
    yield
    for _, sql in found:
        conn.execute(sql)


def machine_id(number: int) -> str:
    """machine-0000, .."""
    return f"machine-{number:04}"


def owner_of(number: int) -> int:
    """The operator of a machine: the first one has seven of ten."""
    return 0 if number % 10 < 7 else number % OPERATORS


def lps_of(number: int) -> int:
    """How many liquidity providers a machine has: one to three."""
    return 1 + number % 3


def _digest(what: str, number: int) -> str:
    """An event id or payment hash."""
    return sha256(f"{what} {number}".encode()).hexdigest()


# --- registry


def _register(conn: sqlite3.Connection, size: Size) -> None:
    """Operators, machines with wallets and splits, LPs; and the recipes that sales are made by."""
    with atomic(conn):
        conn.execute("INSERT INTO super_config VALUES (1, ?, 'platform@example.org', ?)", (f"{SUPER_PCT}", START))
        conn.executemany(
            "INSERT INTO dca_operators VALUES (?, ?, 1)", [(f"operator-{n}", f"Operator {n}") for n in range(OPERATORS)]
        )
        conn.executemany(
            "INSERT INTO dca_machines VALUES (?, ?, ?, ?, ?, 'GTQ', '0.05', 0, 1, 1, ?, 2)",
            [
                (machine_id(n), f"operator-{owner_of(n)}", f"npub{n}", _digest("key", n), f"Machine {n}", START)
                for n in range(size.machines)
            ],
        )
        conn.executemany(
            "INSERT INTO dca_commission_splits (operator_id, position, label, pct, payee) VALUES (?, ?, ?, ?, ?)",
            [
                (f"operator-{n}", position, label, pct, f"{label}@example.org")
                for n in range(OPERATORS)
                for position, (label, pct) in enumerate((("owner", "0.6"), ("tech", "0.4")))
            ],
        )
        conn.executemany(
            "INSERT INTO dca_wallets (machine_id, wallet_id, balance_sats, lnbits_version, reachable, checked_at, "
            "last_sweep_at) VALUES (?, ?, ?, '1.6.2', 1, ?, ?)",
            [(machine_id(n), f"w{n}", 1_000_000 + n, size.end, size.end) for n in range(size.machines)],
        )
        unwatched = stop_watching_clients(conn)
        conn.executemany(
            "INSERT INTO dca_clients (machine_id, label, person, mode, daily_limit_minor, payee_kind, payee, "
            "created_at, created_by) VALUES (?, ?, ?, ?, ?, 'lightning_address', ?, ?, 'bench')",
            [
                (machine_id(n), f"lp{i}", f"person-{(n + i) % 500}", *_mode(i), f"lp{i}.{n}@example.org", START)
                for n in range(size.machines)
                for i in range(lps_of(n))
            ],
        )
        conn.execute(unwatched)
        conn.execute(
            "CREATE TEMP TABLE recipe (variant INTEGER, lps INTEGER, position INTEGER, leg_type TEXT, leg TEXT, "
            "label TEXT, pct TEXT, amount_sats INTEGER, fiat_amount_minor INTEGER, explain TEXT, payee TEXT)"
        )
        conn.execute("CREATE INDEX recipe_by ON recipe (variant, lps)")
        conn.execute("CREATE TEMP TABLE variant (variant INTEGER PRIMARY KEY, net_sats, commission_sats, fee, rest)")
        for variant in range(VARIANTS):
            _add_recipes(conn, variant)


def _mode(lp: int) -> tuple[str, int | None]:
    return ("fixed", 10_000_000) if lp == 2 else ("flow", None)


def _add_recipes(conn: sqlite3.Connection, variant: int) -> None:
    net_sats = 100_000 + variant * 7_919
    commission_sats = net_sats * 3 // 100 if variant else 1
    fee_sats, rest_sats = split_two_stage_commission(commission_sats, SUPER_PCT)
    owner_sats = rest_sats * 6 // 10
    conn.execute(
        "INSERT INTO variant VALUES (?, ?, ?, ?, ?)", (variant, net_sats, commission_sats, fee_sats, rest_sats)
    )
    explain = json.dumps({"mode": "flow", "weight_minor": 10**9, "total_weight_minor": 10**9, "cap_minor": 10**9})
    for lps in (1, 2, 3):
        legs: list[tuple[object, ...]] = [
            ("super_fee", "super", None, "0.30", fee_sats, None, None, "platform@example.org"),
            ("operator_split", "split:owner", "owner", "0.6", owner_sats, None, None, "owner@example.org"),
            ("operator_split", "split:tech", "tech", "0.4", rest_sats - owner_sats, None, None, "tech@example.org"),
        ]
        for i in range(lps):
            sats = net_sats // lps + (1 if i < net_sats % lps else 0)
            legs.append(("dca", f"dca:lp{i}", f"lp{i}", None, sats, sats_to_minor(sats, RATE, "GTQ"), explain, None))
        conn.executemany(
            "INSERT INTO recipe VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(variant, lps, position, *leg) for position, leg in enumerate(legs)],
        )


# --- sales


def _add_sales(conn: sqlite3.Connection, size: Size, first: int, end: int) -> None:
    """The sales with numbers from `first` up to and without `end`, with everything that they cause."""
    conn.execute("DROP TABLE IF EXISTS temp.sale")
    known = {"sales": size.sales, "machines": size.machines, "every_s": size.sale_every_s}
    conn.execute(_SALES, {"first": first, "end": end, **known})
    with atomic(conn):
        for statement in (_SETTLEMENTS, _EVENTS, _LEGS, _REFUND_LEGS, _INVOICES, _RETAINED):
            conn.execute(statement)


# How each sale stands. What is rare lies in the older half, so that a list of it that walks from the newest sale
# backwards has a long way to go; what is open is new, as in life.
_SALES = f"""
CREATE TEMP TABLE sale AS
WITH RECURSIVE number(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :end)
SELECT n, n + 1 AS id, (n * 7919 + n / 97) % :machines AS machine, {START} + n * :every_s AS at,
       CASE WHEN n >= :sales - 20 THEN 'waiting' WHEN n >= :sales - 60 THEN 'pending'
            WHEN n >= :sales / 2 THEN CASE WHEN n % 20000 = 11 OR n = :sales / 2 + 1 THEN 'errored'
                WHEN n % 10000 = 12 OR n = :sales / 2 + 2 THEN 'held' ELSE 'processed' END
            WHEN n % 500 = 3 THEN 'refunded' WHEN n % 700 = 5 THEN 'partial' ELSE 'processed' END AS fate,
       CASE WHEN n < :sales / 2 AND n % 1000 = 7 THEN 0 ELSE 1 + n % {VARIANTS - 1} END AS variant,
       digest('payment', n) AS payment_hash, digest('event', n) AS event_id
FROM number
"""

_SETTLEMENTS = f"""
INSERT INTO dca_settlements (id, bitspire_event_id, payment_hash, txid, machine_id, source, status, hold_reason,
    gross_sats, net_sats, commission_sats, platform_fee_sats, operator_fee_sats, super_fee_pct, ruleset_source, fee_pct,
    exchange_rate, fiat_amount_minor, currency, bills, settlement_key, proof, occurred_at, landed_at, proven_at,
    planned_at, finished_at, error)
SELECT s.id, s.event_id, s.payment_hash, 'tx-' || s.n, printf('machine-%04d', s.machine), 'event',
    iif(s.fate = 'waiting', 'pending', s.fate), iif(s.fate = 'held', 'daily_limit', NULL),
    v.net_sats + v.commission_sats, v.net_sats, v.commission_sats,
    iif(s.fate IN ('waiting', 'held'), NULL, v.fee), iif(s.fate IN ('waiting', 'held'), NULL, v.rest),
    iif(s.fate IN ('waiting', 'held'), NULL, '{SUPER_PCT}'),
    iif(s.fate IN ('waiting', 'held'), NULL, 'operator'), '0.03', '{RATE}',
    v.net_sats * 100000 / 143797, 'GTQ', '[{{"denomination": 100, "count": 9}}]',
    iif(s.fate = 'waiting', NULL, s.payment_hash), iif(s.fate = 'waiting', 'waiting', 'proven'), s.at, s.at + 2,
    iif(s.fate = 'waiting', NULL, s.at + 3), iif(s.fate IN ('waiting', 'held'), NULL, s.at + 4),
    iif(s.fate IN ('processed', 'refunded', 'partial'), s.at + 9, NULL),
    CASE s.fate WHEN 'held' THEN 'above daily_limit_sats' WHEN 'errored' THEN 'leg dca:lp0: no route' END
FROM temp.sale s JOIN temp.variant v ON v.variant = s.variant
"""

_EVENTS = """
INSERT INTO dca_settlement_events
SELECT event_id, id, printf('machine-%04d', machine), at, at + 1, 'wss://relay.example.org',
       printf('{"id":"%s","kind":21000,"created_at":%d,"content":"%.*c"}', event_id, at, 300, 'x')
FROM temp.sale
"""

# A refunded or partial sale's shares were voided; of an errored one the first failed; of the newest none is paid yet.
_LEGS = f"""
INSERT INTO dca_payments (settlement_id, machine_id, position, leg_type, leg, leg_key, label, client_id, pct,
    amount_sats, fiat_amount_minor, exchange_rate, currency, payee, effective_at, status, generation, payment_hash,
    sent_sats, fee_sats, next_attempt_at, error, explain, planned_at, completed_at)
SELECT id, machine_id, position, leg_type, leg, 'sm1:' || payment_hash || ':r1:' || leg,
    iif(leg_type = 'dca', NULL, label), client_id, pct, amount_sats, fiat_amount_minor,
    iif(leg_type = 'dca', '{RATE}', NULL), 'GTQ', coalesce(payee, label || '@example.org'), at, status,
    status IN ('completed', 'invoiced', 'sending', 'failed'),
    iif(status IN ('completed', 'invoiced', 'sending', 'failed'), digest('leg ' || position, n), NULL),
    iif(status = 'completed', amount_sats, NULL), iif(status = 'completed', 0, NULL),
    CASE WHEN status IN ('completed', 'voided', 'skipped') THEN NULL
         WHEN status = 'failed' THEN at + {10 * DAY_S} ELSE 0 END,
    iif(status = 'failed', 'no route', NULL), explain, at + 4, iif(status = 'completed', at + 9, NULL)
FROM (
    SELECT s.id, s.n, s.at, s.payment_hash, printf('machine-%04d', s.machine) AS machine_id, r.*, c.id AS client_id,
           CASE WHEN r.amount_sats = 0 THEN 'skipped'
                WHEN s.fate IN ('refunded', 'partial') AND r.leg_type = 'dca' THEN 'voided'
                WHEN s.fate = 'errored' AND r.leg = 'dca:lp0' THEN 'failed'
                WHEN s.fate = 'pending' AND r.position = 0 THEN 'sending'
                WHEN s.fate = 'pending' AND r.position = 1 THEN 'invoiced'
                WHEN s.fate = 'pending' THEN 'pending' ELSE 'completed' END AS status
    FROM temp.sale s JOIN temp.recipe r ON r.variant = s.variant AND r.lps = 1 + s.machine % 3
    LEFT JOIN dca_clients c
           ON r.leg_type = 'dca' AND c.machine_id = printf('machine-%04d', s.machine) AND c.label = r.label
    WHERE s.fate NOT IN ('waiting', 'held')
)
"""

_REFUND_LEGS = """
INSERT INTO dca_payments (settlement_id, machine_id, position, leg_type, leg, leg_key, amount_sats, payee, effective_at,
    status, generation, payment_hash, sent_sats, fee_sats, next_attempt_at, planned_at, completed_at)
SELECT s.id, printf('machine-%04d', s.machine), 9, 'refund', 'refund:1', 'sm1:' || s.payment_hash || ':r1:refund:1',
    v.net_sats, 'ana@example.org', s.at + 600, 'completed', 1, digest('refund', s.n), v.net_sats, 0, NULL,
    s.at + 600, s.at + 609
FROM temp.sale s JOIN temp.variant v ON v.variant = s.variant WHERE s.fate = 'refunded'
"""

_INVOICES = """
INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, bolt11, payment_hash, expires_at, internal,
    sent_at)
SELECT p.id, 1, p.amount_sats, p.planned_at, printf('lnbc%dn1%.*c', p.amount_sats, 240, 'q'), p.payment_hash,
       p.planned_at + 3600, 1, iif(p.status = 'invoiced', NULL, p.planned_at + 1)
FROM temp.sale s JOIN dca_payments p ON p.settlement_id = s.id WHERE p.payment_hash IS NOT NULL
"""

_RETAINED = """
INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at)
SELECT s.id, 1, 'closed_unpaid', 'dca', v.net_sats, s.at + 600
FROM temp.sale s JOIN temp.variant v ON v.variant = s.variant WHERE s.fate = 'partial'
"""


# --- everything else


def _add_ways_out(conn: sqlite3.Connection, size: Size) -> None:
    """A balance paid out to every fourth LP, long ago; and what some LPs had forwarded."""
    with atomic(conn):
        conn.execute(
            "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, fiat_amount_minor, "
            "exchange_rate, currency, payee, effective_at, status, generation, payment_hash, sent_sats, fee_sats, "
            "next_attempt_at, planned_at, completed_at) SELECT machine_id, 'settlement', 'bal:' || label || ':1', "
            "'sm1:bal:' || machine_id || ':' || label || ':1', id, 1000, 695, '143.797', 'GTQ', payee, ?1, "
            "'completed', 1, digest('payout', id), 1000, 0, NULL, ?1, ?1 + 9 FROM dca_clients WHERE id % 4 = 0",
            (START + 30 * DAY_S,),
        )
        conn.execute(
            "INSERT INTO dca_payments (settlement_id, machine_id, position, leg_type, leg, leg_key, client_id, "
            "amount_sats, payee, effective_at, status, generation, payment_hash, sent_sats, fee_sats, next_attempt_at, "
            "planned_at, completed_at) SELECT settlement_id, machine_id, position, 'autoforward', "
            "'fwd' || substr(leg, 4), "
            "replace(leg_key, ':dca:', ':fwd:'), client_id, amount_sats, 'out@example.org', effective_at, "
            "'completed', 1, digest('forward', id), amount_sats, 0, NULL, planned_at + 60, completed_at + 60 "
            "FROM dca_payments "
            "WHERE client_id % 400 = 1 AND leg_type = 'dca' AND status = 'completed' AND effective_at < ?",
            (START + size.sales // 2 * size.sale_every_s,),
        )
        conn.execute(
            "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, bolt11, payment_hash, internal, "
            "sent_at) SELECT id, 1, amount_sats, planned_at, 'lnbc1', payment_hash, 1, planned_at FROM dca_payments "
            "WHERE leg_type IN ('settlement', 'autoforward')"
        )


def _add_deposits(conn: sqlite3.Connection, size: Size) -> None:
    """DEPOSITS_EACH of every LP; some of the older ones were rejected, some of the newest are pending."""
    step_s = size.sales * size.sale_every_s // DEPOSITS_EACH
    found = conn.execute("SELECT id, machine_id FROM dca_clients ORDER BY id").fetchall()
    with atomic(conn):
        conn.executemany(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, notes, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "VALUES (?1, ?2, 500000000, 'GTQ', ?3, 'counted twice', 'maria', ?4, ?5, ?6, ?6)",
            [
                (client, machine, status, at, *((None, None) if status == "pending" else ("jose", at + 3600)))
                for i in range(DEPOSITS_EACH)
                for client, machine in found
                for status, at in [(_deposit_status(client, i), START + i * step_s + client * 7)]
            ],
        )


def _deposit_status(client_id: int, number: int) -> str:
    if number == DEPOSITS_EACH - 1 and client_id % 100 == 5:
        return "pending"
    return "rejected" if number < DEPOSITS_EACH // 2 and (client_id + number) % 50 == 7 else "confirmed"


def _add_surroundings(conn: sqlite3.Connection, size: Size) -> None:
    """Audit log, quarantine, payments without a sale, alarms, relays: one row for some sales each."""
    numbers = "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1) "
    machine = "printf('machine-%04d', n % ?2)"
    at = f"{START} + n * ?3"
    log, trouble, unmatched = max(size.sales // 2, 500), max(size.sales // 100, 100), max(size.sales // 500, 20)
    span_s = size.sales * size.sale_every_s
    with atomic(conn):
        conn.execute(
            f"{numbers} INSERT INTO audit_log (at, actor, action, subject, machine_id, reason, before, after) "
            f"SELECT {at}, CASE WHEN n % 5000 = 3 AND n < ?1 / 2 THEN 'maria' ELSE 'daemon' END, "
            "CASE WHEN n % 5000 = 3 AND n < ?1 / 2 THEN 'settlement.refund' WHEN n % 3 = 0 THEN 'deposit.confirm' "
            f"ELSE 'settlement.revise' END, 'settlement ' || (n + 1), {machine}, 'why', '{{\"a\": 1}}', '{{\"a\": 2}}' "
            "FROM number",
            (log, size.machines, span_s // log),
        )
        conn.execute(
            f"{numbers} INSERT INTO quarantine (event_id, machine_id, kind, reason, detail, created_at, received_at, "
            f"relay_url, raw, status, settlement_id, retried_at) SELECT digest('bad', n), {machine}, 21000, "
            f"'bad_json', 'the content is not JSON', {at}, {at}, 'wss://relay.example.org', "
            '\'{"content": "oops"}\', '
            "iif(n % 20 = 0 AND n < ?1 / 2, 'open', 'landed'), iif(n % 20 = 0 AND n < ?1 / 2, NULL, n + 1), NULL "
            "FROM number",
            (trouble, size.machines, span_s // trouble),
        )
        conn.execute(
            f"{numbers} INSERT INTO dca_unmatched_payments (machine_id, payment_hash, "
            f"amount_sats, memo, extra, settled_at, first_seen_at, reason) SELECT {machine}, "
            f"iif(n % 20, digest('payment', n), digest('top-up', n)), 50000, 'top-up', '{{}}', {at}, {at}, "
            "'it does not say that it is a sale' "
            "FROM number",
            (unmatched, size.machines, span_s // unmatched),
        )
        conn.executemany(
            "INSERT INTO relay_health (url, state, state_since, latency_ms, last_event_at, last_created_at, events, "
            "duplicates, updated_at) VALUES (?, 'subscribed', ?, 40, ?, ?, 1000, 20, ?)",
            [(f"wss://relay-{n}.example.org", *([size.end] * 4)) for n in range(3)],
        )
        conn.executemany(
            "INSERT INTO alerts VALUES (?, 'cash_low', ?, NULL, ?, 'cassette 1 is empty')",
            [(machine_id(n), n % 2, size.end) for n in range(size.machines)],
        )


def _add_telemetry(conn: sqlite3.Connection, size: Size) -> None:
    """90 days of beacons up to the end, and the present state of every machine."""
    each = max(1, size.beacons // size.machines)
    with atomic(conn):
        for number in range(size.machines):
            raw = _beacon(number)
            conn.execute(
                "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1) "
                "INSERT INTO dca_telemetry_log SELECT ?2, ?3 + n * ?4, randomblob(32), 'beacon', ?3 + n * ?4 + 1, "
                "'online', 1000000 - n % 5000 * 100, ?5 FROM number",
                (each, machine_id(number), size.end - 90 * DAY_S, 90 * DAY_S // each, raw),
            )
        cassettes = '[{"denomination_minor": 10000, "count": 120, "capacity": 500}]'
        conn.executemany(
            "INSERT INTO dca_telemetry (machine_id, name, location, status, software_version, uptime_s, cassettes, "
            "cash_left_minor, exchange_rate, extra, raw, origins, beacon_at, beacon_id, received_at) "
            "VALUES (?, ?, 'market', 'online', '10.1.2', 4000, ?, 1200000, '143.797', '{}', ?, '{}', ?, ?, ?)",
            [
                (machine_id(n), f"Machine {n}", cassettes, _beacon(n), size.end, _digest("beacon", n), size.end)
                for n in range(size.machines)
            ],
        )
        conn.execute(
            "INSERT INTO dca_fleet_snapshots SELECT dca_machines.id, ?1 - s.value * 3600, randomblob(32), 'fleet', ?1, "
            "'{\"machines\": []}' FROM dca_machines, json_each(?2) s",
            (size.end, json.dumps(list(range(20)))),
        )


def _beacon(number: int) -> str:
    """The content of a beacon, about 230 bytes."""
    cassettes = [
        {"denomination": 100, "count": number % 400, "capacity": 500},
        {"denomination": 50, "count": 210, "capacity": 500},
    ]
    told = {"status": "online", "software_version": "10.1.2", "cassettes": cassettes, "uptime": number, "battery": 97}
    return json.dumps(told)

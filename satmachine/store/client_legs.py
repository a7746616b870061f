"""Legs of LPs that are in no sale's plan: a balance paid out, and sats forwarded from an LP's own wallet."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

from satmachine import identity
from satmachine.errors import Refused
from satmachine.models import Client, Leg, LegType
from satmachine.seals import Ordered
from satmachine.store import payees, seal_rows
from satmachine.store.clients import describe_payee, identity_of


def next_payout_number(conn: sqlite3.Connection, client_id: int) -> int:
    """1 for a client's first balance payout; voided ones count, so that a leg key is never used twice."""
    row = conn.execute(
        "SELECT count(*) AS n FROM dca_payments WHERE client_id = ? AND leg_type = 'settlement'", (client_id,)
    ).fetchone()
    # Payouts of another copy of the books have numbers too.
    foreign = conn.execute(
        """SELECT max(CAST(substr(f.leg_key, length(k.prefix) + 1) AS INTEGER)) AS n FROM dca_foreign_payments f
        JOIN (SELECT machine_id, 'sm1:bal:' || machine_id || ':' || label || ':' AS prefix FROM dca_clients
        WHERE id = ?) k ON k.machine_id = f.machine_id AND substr(f.leg_key, 1, length(k.prefix)) = k.prefix""",
        (client_id,),
    ).fetchone()
    return max(int(row["n"]), int(foreign["n"] or 0)) + 1


def payout_key(client: Client, number: int) -> str:
    """The key under which LNbits knows a balance payout (docs/lnbits.md "The protocol")."""
    return identity.balance_leg_key(client.machine_id, client.label, number)


def payout(conn: sqlite3.Connection, client: Client, number: int) -> tuple[int, Decimal] | None:
    """The fiat (minor units) and rate of a planned balance payout; None if there is none with this number."""
    row = conn.execute(
        "SELECT fiat_amount_minor, exchange_rate FROM dca_payments WHERE machine_id = ? AND leg_key = ?",
        (client.machine_id, payout_key(client, number)),
    ).fetchone()
    return None if row is None else (int(row["fiat_amount_minor"]), Decimal(row["exchange_rate"]))


def insert_payout(
    conn: sqlite3.Connection,
    client: Client,
    *,
    number: int,
    amount_sats: int,
    fiat_amount_minor: int,
    exchange_rate: Decimal,
    now: int,
) -> int:
    """Write the leg of a balance payout, which reserves the fiat from `now` on; returns its id. Raises Refused if this
    connection should seal it, but the machine's key could not be read yet."""
    keyring = seal_rows.keyring_of(conn)
    if keyring is not None and not keyring.knows(client.machine_id):
        raise Refused(
            f"the wallet key of {client.machine_id} cannot be read: until it can, nothing is paid out from that wallet"
        )
    scope = identity.client_scope(client.id)
    payee = payees.completed(conn, scope, identity_of(client.payee_kind, client.payee))
    order = Ordered(
        machine_id=client.machine_id,
        settlement_id=None,
        leg_key=payout_key(client, number),
        leg=f"bal:{client.label}:{number}",
        leg_type=LegType.SETTLEMENT,
        label=None,
        client_id=client.id,
        amount_sats=amount_sats,
        fiat_amount_minor=fiat_amount_minor,
        payee=describe_payee(client.payee_kind, client.payee),
        payee_kind=payee.kind,
        payee_ref=payee.reference,
        payee_scope=scope,
        gross_sats=None,
    )
    cursor = conn.execute(
        """INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, fiat_amount_minor,
        exchange_rate, currency, payee, effective_at, planned_at, payee_kind, payee_ref, payee_scope, seal)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            order.machine_id,
            order.leg_type,
            order.leg,
            order.leg_key,
            order.client_id,
            order.amount_sats,
            order.fiat_amount_minor,
            f"{exchange_rate:f}",
            client.currency,
            order.payee,
            now,
            now,
            order.payee_kind,
            order.payee_ref,
            order.payee_scope,
            seal_rows.seal_of(conn, order),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def insert_autoforward(conn: sqlite3.Connection, dca: Leg, client: Client, *, amount_sats: int, now: int) -> bool:
    """Write the leg that forwards what a completed dca leg brought; False if it is already written.

    `payee` is the Lightning address itself: the leg keeps the one that was in force when it was planned.
    """
    assert dca.leg.startswith("dca:"), f"{dca.leg} is no dca leg"
    forward = "fwd:" + dca.leg.removeprefix("dca:")
    assert client.autoforward is not None, "who forwards has said where to"
    order = Ordered(
        machine_id=dca.machine_id,
        settlement_id=dca.settlement_id,
        leg_key=dca.leg_key.removesuffix(dca.leg) + forward,
        leg=forward,
        leg_type=LegType.AUTOFORWARD,
        label=None,
        client_id=client.id,
        amount_sats=amount_sats,
        fiat_amount_minor=None,
        payee=client.autoforward,
        payee_kind=identity.PayeeKind.LIGHTNING_ADDRESS,
        payee_ref=client.autoforward,
        payee_scope=None,
        gross_sats=None,
    )
    return (
        conn.execute(
            """INSERT INTO dca_payments (settlement_id, machine_id, revision, position, leg_type, leg, leg_key,
            client_id, amount_sats, payee, effective_at, planned_at, payee_kind, payee_ref, seal)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (machine_id, leg_key) DO NOTHING""",
            (
                order.settlement_id,
                order.machine_id,
                dca.revision,
                dca.position,
                order.leg_type,
                order.leg,
                order.leg_key,
                order.client_id,
                order.amount_sats,
                order.payee,
                dca.effective_at,
                now,
                order.payee_kind,
                order.payee_ref,
                seal_rows.seal_of(conn, order),
            ),
        ).rowcount
        == 1
    )

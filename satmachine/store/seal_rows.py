"""Seals in the books: which connection seals, what a row's seal covers, and sealing what is open (seals.py).

Seals are computed from the values that a plan has in memory, never from what was read back: a trigger that somebody
left in the file may have changed it.
"""

from __future__ import annotations

import sqlite3

from satmachine.models import Leg, LegInvoice, leg_types
from satmachine.seals import Given, Keyring, Ordered, is_beyond
from satmachine.store import as_models as rows
from satmachine.store.database import Connection


def keyring_of(conn: sqlite3.Connection) -> Keyring | None:
    """The keyring with which this connection seals; None if it does not."""
    return conn.keyring if isinstance(conn, Connection) else None


def seal_of(conn: sqlite3.Connection, what: Ordered | Given) -> str | None:
    """The seal of what is about to be written; None if this connection cannot seal it."""
    keyring = keyring_of(conn)
    return None if keyring is None else keyring.seal(what)


def seal_again(conn: sqlite3.Connection, leg: Leg, changed: Leg) -> str | None:
    """The seal of a payment that the daemon changes: none if it was not sealed as it is."""
    keyring = keyring_of(conn)
    gross_sats = came_in_sats(conn, leg)
    if keyring is None or not keyring.fits(leg.seal, ordered(leg, gross_sats)):
        return None
    return keyring.seal(ordered(changed, gross_sats), beyond=is_beyond(leg.seal))


def ordered(leg: Leg, gross_sats: int | None) -> Ordered:
    """What a payment's seal covers."""
    return Ordered(
        machine_id=leg.machine_id,
        settlement_id=leg.settlement_id,
        leg_key=leg.leg_key,
        leg=leg.leg,
        leg_type=leg.leg_type,
        label=leg.label,
        client_id=leg.client_id,
        amount_sats=leg.amount_sats,
        fiat_amount_minor=leg.fiat_amount_minor,
        payee=leg.payee,
        payee_kind=leg.payee_kind,
        payee_ref=leg.payee_ref,
        payee_scope=leg.payee_scope,
        gross_sats=gross_sats,
    )


def given(leg: Leg, invoice: LegInvoice) -> Given:
    """What an invoice's seal covers."""
    return Given(
        machine_id=leg.machine_id,
        leg_key=leg.leg_key,
        generation=invoice.generation,
        payment_hash=invoice.payment_hash,
        bolt11=invoice.bolt11,
        amount_sats=invoice.amount_sats,
        internal=invoice.internal,
        wallet_id=invoice.wallet_id,
    )


def came_in_sats(conn: sqlite3.Connection, leg: Leg) -> int | None:
    """What came in for a payment's sale, from its customer and by top-ups that are booked to it; None for a payout and
    a forward, which belong to no sale."""
    if leg.settlement_id is None or leg.leg_type in leg_types.PAID_BY_LP:
        return None
    row = conn.execute(
        "SELECT gross_sats + topped_up_sats AS sats FROM dca_settlements WHERE id = ?", (leg.settlement_id,)
    ).fetchone()
    return None if row is None else int(row["sats"])


def write(
    conn: sqlite3.Connection, leg: Leg, invoice: LegInvoice | None, keyring: Keyring, *, beyond: bool = False
) -> None:
    """Seal a payment, and its invoice, as they are: somebody who has the key takes responsibility for them."""
    seal = keyring.seal(ordered(leg, came_in_sats(conn, leg)), beyond=beyond)
    conn.execute("UPDATE dca_payments SET seal = ? WHERE id = ?", (seal, leg.id))
    if invoice is not None:
        conn.execute(
            "UPDATE dca_invoices SET seal = ? WHERE payment_id = ? AND generation = ?",
            (keyring.seal(given(leg, invoice)), invoice.payment_id, invoice.generation),
        )


def take_over_open(conn: sqlite3.Connection, machine_id: str) -> int:
    """Seal what an earlier version has left open for a machine; returns how many payments these were."""
    keyring = keyring_of(conn)
    if keyring is None:
        return 0
    found = _open(conn, machine_id)
    for leg, invoice in found:
        write(conn, leg, invoice, keyring)
    return len(found)


def has_begun(conn: sqlite3.Connection, machine_id: str) -> bool:
    """Whether these books know that a machine's payments are sealed."""
    row = conn.execute("SELECT sealed_at FROM dca_wallets WHERE machine_id = ?", (machine_id,)).fetchone()
    return row is not None and row["sealed_at"] is not None


def begin(conn: sqlite3.Connection, machine_id: str, now: int) -> None:
    """From now on nothing without a seal is paid for this machine."""
    conn.execute("UPDATE dca_wallets SET sealed_at = coalesce(sealed_at, ?) WHERE machine_id = ?", (now, machine_id))


def newest_payment(conn: sqlite3.Connection) -> int:
    """The id of the payment that was written last; 0 where there is none."""
    return int(conn.execute("SELECT coalesce(max(id), 0) AS id FROM dca_payments").fetchone()["id"])


def is_open_without(conn: sqlite3.Connection, machine_id: str, *, after_id: int) -> bool:
    """Whether a payment without a seal was written since then, that must still be made."""
    found = conn.execute(
        """SELECT 1 FROM dca_payments WHERE id > ? AND machine_id = ? AND seal IS NULL
        AND status NOT IN ('completed', 'skipped', 'voided')""",
        (after_id, machine_id),
    ).fetchone()
    return found is not None


def renew(conn: sqlite3.Connection, machine_id: str) -> int:
    """The machine has another key: seal under it what is open and was sealed under the former one. Returns how many."""
    keyring, count = keyring_of(conn), 0
    if keyring is None:
        return 0
    for leg, invoice in _open(conn, machine_id):
        if not keyring.fits(leg.seal, ordered(leg, came_in_sats(conn, leg))):
            continue
        genuine = invoice is not None and keyring.fits(invoice.seal, given(leg, invoice))
        write(conn, leg, invoice if genuine else None, keyring, beyond=is_beyond(leg.seal))
        count += 1
    return count


def _open(conn: sqlite3.Connection, machine_id: str) -> list[tuple[Leg, LegInvoice | None]]:
    found = conn.execute(
        "SELECT * FROM dca_payments WHERE status NOT IN ('completed', 'skipped', 'voided') AND +machine_id = ?",
        (machine_id,),
    )
    legs = [rows.load(Leg, row) for row in found]
    return [(leg, _invoice(conn, leg)) for leg in legs]


def _invoice(conn: sqlite3.Connection, leg: Leg) -> LegInvoice | None:
    row = conn.execute(
        "SELECT * FROM dca_invoices WHERE payment_id = ? AND generation = ?", (leg.id, leg.generation)
    ).fetchone()
    return None if row is None else rows.load(LegInvoice, row)

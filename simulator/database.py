"""The modelled LNbits' database: payment rows, wallets, and a ledger of everything that moved money.

Each `insert` and `update` is one commit. Amounts are int msats, negative when they go out; `fee_msat` is never
positive, as LNbits stores it. Times are float Unix seconds of LNbits' own clock; in the ledger, of the world's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

PENDING: Final = "pending"
SUCCESS: Final = "success"
FAILED: Final = "failed"


class PaymentError(Exception):
    """LNbits answers HTTP 520 with this message; `status` stands beside its detail."""

    def __init__(self, message: str, status: str = PENDING) -> None:
        self.message = message
        self.status = status
        super().__init__(message)


class NotCompliant(ValueError):
    """A row with NaN or an infinity cannot be shown; the message is LNbits' own."""

    def __init__(self) -> None:
        super().__init__("Out of range float values are not JSON compliant")


@dataclass(slots=True)
class Row:
    """A row of `apipayments`. A row that was read is a copy: writing it back replaces whatever is there by then."""

    checking_id: str
    payment_hash: str
    wallet_id: str
    amount_msat: int
    fee_msat: int
    bolt11: str
    status: str
    memo: str
    preimage: str | None
    tag: str | None
    extra: str  # JSON
    external_id: str | None
    expires_at: int | None
    time: float
    updated_at: float
    labels: tuple[str, ...] = ()
    #: The order of insertion.
    rowid: int = 0
    shown: bytes | None = field(default=None, repr=False)

    @property
    def incoming(self) -> bool:
        return self.amount_msat > 0

    @property
    def internal(self) -> bool:
        return self.checking_id.startswith("internal_")

    @property
    def moves_msat(self) -> int:
        """What this row adds to its wallet's balance, as LNbits' view `balances` has it."""
        counts = self.status == SUCCESS or (self.amount_msat < 0 and self.status == PENDING)
        return self.amount_msat - abs(self.fee_msat) if counts else 0

    def copy(self) -> Row:
        """To be changed and written back."""
        read = copy.copy(self)
        read.shown = None
        return read

    def json(self) -> bytes:
        """As LNbits lists it. Raises NotCompliant."""
        if self.shown is None:
            self.shown = _json(self, _moment(self.expires_at))
        return self.shown

    def fresh_json(self) -> bytes:
        """As LNbits answers to the call that made it: the expiry in the server's time, without a zone."""
        return _json(self, _moment(self.expires_at).removesuffix("+00:00") if self.expires_at is not None else "")


def _json(row: Row, expiry: str) -> bytes:
    shown = {
        "checking_id": row.checking_id,
        "payment_hash": row.payment_hash,
        "wallet_id": row.wallet_id,
        "amount": row.amount_msat,
        "fee": row.fee_msat,
        "bolt11": row.bolt11,
        "payment_request": row.bolt11,
        "fiat_provider": None,
        "status": row.status,
        "memo": row.memo,
        "expiry": expiry or None,
        "webhook": None,
        "webhook_status": None,
        "preimage": row.preimage,
        "tag": row.tag,
        "extension": None,
        "time": _moment(row.time),
        "created_at": _moment(row.time),
        "updated_at": _moment(row.updated_at),
        "labels": list(row.labels),
        "extra": json.loads(row.extra),
        "external_id": row.external_id,
    }
    try:
        return json.dumps(shown, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except ValueError:
        raise NotCompliant from None


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(slots=True)
class Wallet:
    id: str
    name: str
    admin_key: str
    invoice_key: str
    lightning_address: str | None = None  # the local part
    deleted: bool = False


@dataclass(slots=True)
class Entry:
    """Something that moved money, or moved it back; what judges read.

    kind: "debit" (an outgoing row appeared), "settled" (an external payment came through; the fee may have changed),
    "returned" (an outgoing payment failed), "credit" (an incoming payment became good), "uncredited" (it was marked
    failed afterwards). `moved_msat` is the change of the wallet's balance. `client` is the label of who asked for it,
    "lnbits" for LNbits' own sweep. `undone`: LNbits' database was rolled back to before it.
    """

    at: float
    kind: str
    wallet_id: str
    payment_hash: str
    checking_id: str
    external_id: str | None
    amount_msat: int
    moved_msat: int
    client: str
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database as it stood; `ledger_size` entries had been written."""

    rows: tuple[Row, ...]
    wallets: tuple[Wallet, ...]
    ledger_size: int


class Database:
    """Rows by wallet, hash, checking id and external id; balances are kept up with every commit."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.ledger: list[Entry] = []
        self.wallets: dict[str, Wallet] = {}
        self._now = now
        self._clear()

    def _clear(self) -> None:
        self._by_checking_id: dict[str, Row] = {}
        self._by_hash: dict[str, list[Row]] = {}
        self._by_wallet: dict[str, dict[str, Row]] = {}
        self._by_external_id: dict[str, dict[str, list[Row]]] = {}
        self._pending: dict[str, Row] = {}
        self._balance_msat: dict[str, int] = {}
        self._rowid = 0

    # --- reading: rows that are stored, not copies; `Row` says what may be done with them

    def balance_msat(self, wallet_id: str) -> int:
        return self._balance_msat.get(wallet_id, 0)

    def by_hash(self, payment_hash: str) -> list[Row]:
        return self._by_hash.get(payment_hash, [])

    def by_checking_id(self, checking_id: str) -> Row | None:
        return self._by_checking_id.get(checking_id)

    def of_wallet(self, wallet_id: str) -> Iterable[Row]:
        return self._by_wallet.get(wallet_id, {}).values()

    def by_external_id(self, wallet_id: str, external_id: str) -> list[Row]:
        """In either case of its letters, too: the caller compares."""
        return self._by_external_id.get(wallet_id, {}).get(external_id.lower(), [])

    def external_ids(self, wallet_id: str) -> dict[str, list[Row]]:
        """Rows by their external id in lower case."""
        return self._by_external_id.get(wallet_id, {})

    def pending(self) -> Iterable[Row]:
        return self._pending.values()

    def all_rows(self) -> Iterable[Row]:
        return self._by_checking_id.values()

    def standalone(self, name: str, *, wallet_id: str | None = None, incoming: bool = False) -> Row | None:
        """LNbits' get_standalone_payment: by checking id or hash, the outgoing side first."""
        found = list(self.by_hash(name))
        named = self.by_checking_id(name)
        if named is not None and named not in found:
            found.append(named)
        found = [row for row in found if wallet_id in (None, row.wallet_id) and (row.incoming or not incoming)]
        return min(found, key=lambda row: row.amount_msat, default=None)

    # --- writing

    def insert(self, row: Row, client: str) -> None:
        if row.checking_id in self._by_checking_id:
            raise ValueError("Payment already exists")
        self._rowid += 1
        row.rowid = self._rowid
        self._index(row)
        if row.moves_msat:
            self._record("credit" if row.incoming else "debit", row, row.moves_msat, client)

    def update(self, changed: Row, client: str) -> None:
        """The whole row, as it was read and changed since; nothing where it is gone."""
        stored = self._by_checking_id.get(changed.checking_id)
        if stored is None:
            return
        before_status, before_msat = stored.status, stored.moves_msat
        for name in ("status", "fee_msat", "preimage", "updated_at", "labels"):
            setattr(stored, name, getattr(changed, name))
        stored.shown = None
        if stored.status == PENDING:
            self._pending[stored.checking_id] = stored
        else:
            self._pending.pop(stored.checking_id, None)
        moved_msat = stored.moves_msat - before_msat
        self._balance_msat[stored.wallet_id] = self.balance_msat(stored.wallet_id) + moved_msat
        kind = _change(stored, before_status)
        if kind is not None:
            self._record(kind, stored, moved_msat, client)

    def _index(self, row: Row) -> None:
        self._by_checking_id[row.checking_id] = row
        self._by_hash.setdefault(row.payment_hash, []).append(row)
        self._by_wallet.setdefault(row.wallet_id, {})[row.checking_id] = row
        if row.external_id is not None:
            self._by_external_id.setdefault(row.wallet_id, {}).setdefault(row.external_id.lower(), []).append(row)
        if row.status == PENDING:
            self._pending[row.checking_id] = row
        self._balance_msat[row.wallet_id] = self.balance_msat(row.wallet_id) + row.moves_msat

    def _record(self, kind: str, row: Row, moved_msat: int, client: str) -> None:
        self.ledger.append(
            Entry(
                at=self._now(),
                kind=kind,
                wallet_id=row.wallet_id,
                payment_hash=row.payment_hash,
                checking_id=row.checking_id,
                external_id=row.external_id,
                amount_msat=row.amount_msat,
                moved_msat=moved_msat,
                client=client,
            )
        )

    # --- as a whole

    def snapshot(self) -> Snapshot:
        rows = tuple(copy.copy(row) for row in self._by_checking_id.values())
        return Snapshot(rows, tuple(copy.copy(wallet) for wallet in self.wallets.values()), len(self.ledger))

    def restore(self, snapshot: Snapshot) -> None:
        """What was written since is gone, and marked so in the ledger, which remembers everything."""
        self._clear()
        self.wallets = {wallet.id: copy.copy(wallet) for wallet in snapshot.wallets}
        for row in snapshot.rows:
            self._index(copy.copy(row))
            self._rowid = max(self._rowid, row.rowid)
        for entry in self.ledger[snapshot.ledger_size :]:
            entry.undone = True


def _change(row: Row, before_status: str) -> str | None:
    """What a change of status means for the ledger."""
    if row.status == before_status:
        return None
    if row.incoming:
        if row.status == SUCCESS:
            return "credit"
        return "uncredited" if before_status == SUCCESS else None
    if row.status == FAILED:
        return "returned"
    return "settled" if before_status == PENDING else "debit"

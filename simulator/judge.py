"""What must hold, read from the wallets' own ledger and from what happened in the world; never from a daemon's word.

- No leg key is debited twice, nor with more than what was planned.
- What was debited for a sale, under any of its keys and by any daemon, never exceeds what the customer paid
  and what was topped up for them since.
- Nobody is credited but who was meant when the leg was planned, or by a person's word since.
- No LP is given more fiat's worth than the cash that the LP brought; of a sale not more than what was there by then,
  nor beyond the LP's daily limit.
- A top-up that the operator has ordered is nobody's sale, and what a person holds is not paid.
- At the end: every customer's payment is a sale that ended, or that a person was shown; what the books call completed
  was credited; and the books' own proofs hold.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from satmachine.audit.proof import check_books
from simulator.bank import Bank, Identity
from simulator.database import Entry
from simulator.sales import Sale
from simulator.store import Books

#: LNbits' clock may be so far behind: what it dates before `payouts_since` is never paid.
CLOCKS_APART_S = 500

#: The daemon that the operator believes in, whatever its books.
MAIN = "daemon 0"

#: After so long every daemon that can pay has read its wallets.
SWEPT_S = 1_200

#: How a person's word about a debit without credit is told from a daemon's.
_ENDED = ("processed", "partial", "refunded")


class Violation(Exception):
    """Something that must never be. `kind` is one word, the same for the same defect as far as that can be told."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(f"{kind}: {detail}")


@dataclass(slots=True)
class Lp:
    """An LP at a machine as the world knows them: the cash they brought, and what they were given for it."""

    machine_id: str
    label: str
    brought_minor: int = 0
    #: What was given for it: when (the loop's time), by which daemon, and its worth.
    given: list[tuple[float, str, int]] = field(default_factory=list)
    #: Every deposit (and, negative, withdrawal) in order, with its time.
    cash: list[tuple[int, int]] = field(default_factory=list)
    #: The most that the LP wants to be given a day, in minor units, and what it was, by UTC day.
    limit_minor: int | None = None
    given_of_day: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Judge:
    """`meant` is written by the world whenever a daemon plans, or a person says where a leg goes."""

    bank: Bank
    sale_of_key: dict[str, Sale] = field(default_factory=dict)
    lps: dict[tuple[str, str], Lp] = field(default_factory=dict)
    meant: dict[str, set[Identity]] = field(default_factory=dict)
    #: What each leg was planned with when it was first seen.
    planned_sats: dict[str, int] = field(default_factory=dict)
    #: Books were replaced, or two daemons have lived: neither limits nor holds are known to all of them.
    other_lives: bool = False
    #: Legs that the daemon wanted to pay while a person held their sale.
    though_held: list[str] = field(default_factory=list)
    #: Legs that a person has declared paid: (leg key).
    vouched: set[str] = field(default_factory=set)
    #: Legs whose payee's wallet the books did not know yet when they were planned.
    unlearnt: set[str] = field(default_factory=set)
    _seen: int = 0
    _under_way: list[Entry] = field(default_factory=list)
    _extras: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _debits: dict[str, Entry] = field(default_factory=dict)

    def recount(self) -> None:
        """LNbits was rolled back: begin anew, without what is undone. What left it for elsewhere stays gone."""
        self._seen = 0
        self._debits.clear()
        self._under_way.clear()
        for sale in self.sale_of_key.values():
            sale.paid_sats = 0
        for lp in self.lps.values():
            lp.given.clear()
            lp.given_of_day.clear()

    def look(self) -> None:
        """Judge what has happened since the last look. Raises Violation."""
        if self.though_held:
            raise Violation("paid_though_held", f"{self.though_held[0]} was to be paid although a person holds it")
        ledger = self.bank.model.ledger
        while self._seen < len(ledger):
            entry = ledger[self._seen]
            self._seen += 1
            if entry.kind != "debit":
                continue
            if entry.checking_id not in self._extras:
                self._extras[entry.checking_id] = self.bank.extra_of(entry)
            if not entry.checking_id.startswith("internal_"):
                self._under_way.append(entry)
            elif not entry.undone:
                self._judge(entry)
        for entry in list(self._under_way):
            if self.bank.model.outside.is_settled(entry.payment_hash):
                self._under_way.remove(entry)
                self._judge(entry)

    def asked(self, leg_key: str, begun_at: float) -> None:
        """A daemon asks LNbits to pay; `begun_at`: when it first meant to (the loop's time)."""
        parts = leg_key.split(":")
        sale = None if "fwd" in parts or len(parts) < 2 else self.sale_of_key.get(parts[1])
        if sale is None or sale.held_since is None or sale.on_word or self.other_lives:
            return
        if begun_at > sale.held_since:
            self.though_held.append(leg_key)

    def debited(self, leg_key: str, payment_hash: str | None = None) -> Entry | None:
        """The debit that a leg has caused, if any; one that was booked as another leg's has another key."""
        booked = next((entry for entry in self._debits.values() if entry.payment_hash == payment_hash), None)
        return self._debits.get(leg_key) or booked

    def paid_of(self, sale: Sale) -> dict[str, int]:
        """What was debited for a sale, in sats by leg key."""
        found = {key: entry for key, entry in self._debits.items() if self.sale_of_key.get(key.split(":")[1]) is sale}
        return {key: abs(entry.amount_msat) // 1000 for key, entry in found.items()}

    def _judge(self, entry: Entry) -> None:
        key = entry.external_id
        if key is None or not key.startswith("sm1:"):
            raise Violation("keyless", f"{entry.amount_msat} msats left wallet {entry.wallet_id} without a key")
        before = self._debits.get(key)
        if before is not None:
            if before.payment_hash == entry.payment_hash:
                return  # the same invoice, sent again after LNbits had forgotten it: it is paid once
            raise Violation("twice", f"{key} was debited twice")
        self._debits[key] = entry
        self._judge_payee(key, entry)
        planned_sats = self.planned_sats.get(key)
        if planned_sats is not None and abs(entry.amount_msat) > planned_sats * 1000:
            raise Violation("more_than_planned", f"{key}: {entry.amount_msat} msats, planned were {planned_sats} sats")
        parts = key.split(":")
        if parts[1] == "bal":
            self._judge_lp(parts[2], parts[3], key, entry)
        elif "fwd" not in parts:
            self._judge_sale(parts, key, entry)

    def _judge_payee(self, key: str, entry: Entry) -> None:
        found = self.bank.payee_of(entry.payment_hash)
        meant = self.meant.get(key, set())
        wallets = [name for kind, name in meant if kind == "wallet"]
        if key in self.unlearnt and wallets and not any(self.bank.lives(name) for name in wallets):
            # Nobody ever saw which wallet the former key led to, and it is gone: whom the file names is the only word.
            return
        if found not in meant and ("hash", entry.payment_hash) not in meant:
            kind = "stranger_unlearnt" if key in self.unlearnt else "stranger"
            raise Violation(kind, f"{key} went to {found}, meant was {sorted(meant)}")

    def _judge_sale(self, parts: list[str], key: str, entry: Entry) -> None:
        sale = self.sale_of_key.get(parts[1])
        if sale is None:
            raise Violation("no_sale", f"{key} is of no sale at all")
        # Routing fees are not counted: what they may be at the most is the payer's and the audit's.
        sale.paid_sats += abs(entry.amount_msat) // 1000
        if sale.payment_hash is None and not sale.on_word:
            raise Violation("unproven", f"{key}: the customer never paid")
        if sale.by_order and not sale.by_person:
            raise Violation("top_up_shared", f"{key}: it was paid out of a top-up")
        told_sats = sale.told_sats if sale.on_word else 0
        came_in_sats = max(sale.gross_sats, told_sats) + sale.topped_up_sats
        if sale.paid_sats > came_in_sats:
            raise Violation("overpaid", f"{key}: {sale.paid_sats} of {came_in_sats} sats were paid out")
        if "dca" in parts:
            self._judge_lp(sale.machine_id, parts[-1], key, entry)
            if not sale.by_person and not sale.on_word and not self.other_lives:
                self._judge_share(self.lps[(sale.machine_id, parts[-1])], sale, key)

    def _judge_share(self, lp: Lp, sale: Sale, key: str) -> None:
        """What a plan alone gives to an LP: only of what was there by then, and of what a day may have."""
        worth = lp.given[-1][2]
        there_minor = sum(cash for cash, at in lp.cash if cash > 0 and at <= sale.at + CLOCKS_APART_S)
        if worth > there_minor:
            raise Violation("latecomer", f"{key}: {lp.label} had {there_minor} at the sale, was given {worth} of it")
        day, second = divmod(sale.at, 86_400)
        if CLOCKS_APART_S < second < 86_400 - CLOCKS_APART_S:
            lp.given_of_day[day] += worth
        if lp.limit_minor is not None and lp.given_of_day[day] > lp.limit_minor:
            raise Violation("limit", f"{key}: {lp.label} was given {lp.given_of_day[day]} that day")

    def _judge_lp(self, machine_id: str, label: str, key: str, entry: Entry) -> None:
        lp = self.lps[(machine_id, label)]
        now_s = asyncio.get_running_loop().time()
        lp.given.append((now_s, entry.client, int(self._extras[entry.checking_id].get("fiat_amount_minor") or 0)))
        # Of two daemons that live at once each plans by its own books: it learns what the other has paid, and stops,
        # with its next sweep. That no leg is paid twice, and no sale beyond its proof, holds even then.
        known = [worth for at, who, worth in lp.given if who == entry.client or at < now_s - SWEPT_S]
        # And cash that was taken home is entered into the books that the operator believes in, not into a copy.
        brought_minor = lp.brought_minor if entry.client == MAIN else sum(cash for cash, _ in lp.cash if cash > 0)
        if sum(known) > brought_minor + len(known):
            raise Violation("lp_overdrawn", f"{key}: {label} brought {brought_minor}, was given {sum(known)}")


def audit(books: Books) -> None:
    """The books' own proof. Raises Violation for the first break."""
    for broken in check_books(books.conn):
        raise Violation(f"audit_{broken.kind}", f"{broken.subject}: {broken.detail}")


def completed_without_credit(judge: Judge, books: Books) -> None:
    """What the books call completed must have arrived, but where a person has said so."""
    found = books.conn.execute(
        "SELECT leg_key, payment_hash, proof, fee_sats FROM dca_payments WHERE status = 'completed'"
    )
    for row in found:
        if row["leg_key"] in judge.vouched:
            continue
        if not judge.bank.credited(row["payment_hash"]):
            raise Violation("uncredited", f"{row['leg_key']} is completed, and its payee has nothing")
        fee_msat = judge.bank.fee_msat(row["payment_hash"])
        if row["proof"] != "person" and not judge.other_lives and fee_msat > 1000 * (row["fee_sats"] or 0):
            raise Violation("fee", f"{row['leg_key']} has cost {fee_msat} msats, in the books {row['fee_sats']} sats")


def unfinished(books: Books, sales: list[Sale], payouts_since: Mapping[str, int]) -> list[tuple[str, str]]:
    """Customers' payments that did not end: a word, and a sentence, for each."""
    conn = books.conn
    trouble = []
    for sale in sales:
        if sale.payment_hash is None or sale.top_up or sale.forgotten:
            continue
        row = conn.execute(
            "SELECT id, status, hold_reason, error FROM dca_settlements WHERE machine_id = ?1 AND (payment_hash = ?2 "
            "OR txid = ?3 OR id IN (SELECT settlement_id FROM dca_settlement_events WHERE event_id IN "
            "(SELECT value FROM json_each(?4)))) ORDER BY status IN ('processed', 'partial', 'refunded') DESC",
            (sale.machine_id, sale.payment_hash, sale.txid, sale.events_json()),
        ).fetchone()
        if row is not None and row["status"] in _ENDED:
            continue
        if row is not None:
            word = row["hold_reason"] or row["status"]
            trouble.append((word, f"sale {sale.number} is settlement {row['id']}, {row['status']}: {row['error']}"))
            continue
        listed = conn.execute(
            "SELECT reason FROM dca_unmatched_payments WHERE machine_id = ? AND payment_hash = ?",
            (sale.machine_id, sale.payment_hash),
        ).fetchone()
        if listed is None and sale.at >= payouts_since[sale.machine_id] + CLOCKS_APART_S:
            trouble.append(("lost", f"sale {sale.number} is lost: no settlement, and not listed for a person"))
    return trouble


def undecided(books: Books) -> list[tuple[str, str]]:
    """Payments and marks that the wallets show and nobody has decided about."""
    found = books.conn.execute(
        "SELECT leg_key AS name FROM dca_foreign_payments WHERE settled_by IS NULL AND status <> 'failure' "
        "UNION ALL SELECT bundle FROM dca_foreign_marks WHERE decided_at IS NULL"
    )
    return [("undecided", f"{row['name']} waits to be reconciled") for row in found]


def open_legs(books: Books) -> list[tuple[str, str]]:
    """Legs without an end: a word, and a sentence, for each."""
    found = books.conn.execute(
        "SELECT leg_key, status, hold_reason, error FROM dca_payments WHERE leg_type <> 'autoforward' "
        "AND status NOT IN ('completed', 'voided', 'skipped')"
    )
    return [
        (f"leg_{row['hold_reason'] or row['status']}", f"{row['leg_key']} is {row['status']}: {row['error']}")
        for row in found
    ]

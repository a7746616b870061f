"""What must hold whatever happened: pure functions from collected facts to violations in words (SPEC section 6).

The witness is LNbits: its own records of every wallet. The database only says what the records are compared with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sale:
    """What a customer has paid. `told`: the daemon can learn of it, from an event or from the payment's `extra`."""

    machine_id: str
    payment_hash: str
    gross_sats: int
    told: bool


@dataclass(frozen=True, slots=True)
class Movement:
    """One row of an LNbits wallet. `amount_msat` is negative when it goes out; fees are on top of that."""

    wallet: str
    payment_hash: str
    leg_key: str | None
    amount_msat: int
    fee_msat: int
    status: str


@dataclass(frozen=True, slots=True)
class BookedSale:
    """A row of dca_settlements."""

    id: int
    machine_id: str
    payment_hash: str | None
    status: str
    gross_sats: int
    retained_sats: int
    planned: bool
    why: str


@dataclass(frozen=True, slots=True)
class BookedLeg:
    """A row of dca_payments; `counted_sats` is what it stands for in the books (completed: what left)."""

    settlement_id: int | None
    machine_id: str
    leg_key: str
    status: str
    counted_sats: int
    sent_sats: int | None
    payment_hash: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment of the whole system. `balances_msat` is what LNbits says by wallet; `machines` are wallets, too."""

    sales: tuple[Sale, ...]
    movements: tuple[Movement, ...]
    balances_msat: dict[str, int]
    settlements: tuple[BookedSale, ...]
    legs: tuple[BookedLeg, ...]
    machines: frozenset[str]


def violations(facts: Facts) -> list[str]:
    """Everything that must never be, in words; an empty list is the proof."""
    return [
        *_lost_or_doubled_sales(facts),
        *_double_debits(facts),
        *_unbooked_debits(facts),
        *_completed_without_both_sides(facts),
        *_unconserved(facts),
        *_unbalanced_wallets(facts),
    ]


def unfinished(facts: Facts) -> list[str]:
    """What the daemon still has to do: sales that are not landed or planned, and legs that are open."""
    booked = {(row.machine_id, row.payment_hash) for row in facts.settlements}
    open_sales = [
        f"sale {sale.payment_hash[:8]} of {sale.machine_id} is missing"
        for sale in facts.sales
        if sale.told and (sale.machine_id, sale.payment_hash) not in booked
    ]
    open_sales += [
        f"settlement {row.id} is {row.status}: {row.why}"
        for row in facts.settlements
        if row.status == "pending" or (not row.planned and row.status != "held")
    ]
    held = {row.id for row in facts.settlements if row.status == "held"}
    open_legs = [
        f"leg {leg.leg_key} is {leg.status}: {leg.why}"
        for leg in facts.legs
        if leg.status in ("pending", "invoiced", "sending", "failed") and leg.settlement_id not in held
    ]
    return open_sales + open_legs


def held(facts: Facts) -> list[str]:
    """What waits for a person, with the evidence in words."""
    return [f"settlement {row.id}: {row.why}" for row in facts.settlements if row.status == "held"] + [
        f"leg {leg.leg_key}: {leg.why}" for leg in facts.legs if leg.status == "held"
    ]


def changed_by_restart(before: Facts, after: Facts) -> list[str]:
    """A restart of a finished system moves no sat and changes no row."""
    changes = []
    if debits(before) != debits(after):
        changes.append(f"a restart changed the debits: {debits(before) ^ debits(after)}")
    if before.balances_msat != after.balances_msat:
        changes.append(f"a restart changed balances: {before.balances_msat} became {after.balances_msat}")
    for name, old, new in (("settlements", before.settlements, after.settlements), ("legs", before.legs, after.legs)):
        if old != new:
            changes.append(f"a restart changed {name}: {set(old) ^ set(new)}")
    return changes


def debits(facts: Facts) -> frozenset[tuple[str, str]]:
    """(leg key, payment hash) of everything that has left a machine's wallet."""
    return frozenset(
        (row.leg_key or "", row.payment_hash)
        for row in facts.movements
        if row.wallet in facts.machines and row.amount_msat < 0 and row.status == "success"
    )


def _lost_or_doubled_sales(facts: Facts) -> Iterator[str]:
    booked = Counter((row.machine_id, row.payment_hash) for row in facts.settlements)
    for sale in facts.sales:
        count = booked[sale.machine_id, sale.payment_hash]
        if count > 1 or (count == 0 and sale.told):
            yield f"sale {sale.payment_hash} of {sale.machine_id} has {count} settlements"
    paid_for = {(sale.machine_id, sale.payment_hash): sale for sale in facts.sales}
    for row in facts.settlements:
        known = paid_for.get((row.machine_id, row.payment_hash or ""))
        if row.planned and known is None:
            yield f"settlement {row.id} is planned, but no customer has paid for it"
        if known is not None and known.gross_sats != row.gross_sats:
            yield f"settlement {row.id} books {row.gross_sats} sats, the customer paid {known.gross_sats}"


def _double_debits(facts: Facts) -> Iterator[str]:
    by_key = Counter(key for key, _ in debits(facts))
    for key, count in by_key.items():
        if count > 1:
            yield f"PAID TWICE: {count} debits for {key}"


def _unbooked_debits(facts: Facts) -> Iterator[str]:
    """At rest every debit is a completed leg, or there is a held one that shows it to a person."""
    legs = {leg.leg_key: leg for leg in facts.legs}
    held_keys = {(row.machine_id, f"sm1:{row.payment_hash}:") for row in facts.settlements if row.status == "held"}
    for row in facts.movements:
        if row.wallet not in facts.machines or row.amount_msat >= 0 or row.status != "success":
            continue
        leg = legs.get(row.leg_key or "")
        if leg is not None and (leg.status == "held" or leg.payment_hash == row.payment_hash):
            continue
        if not any(row.wallet == machine and (row.leg_key or "").startswith(key) for machine, key in held_keys):
            yield f"debit {row.payment_hash} ({row.leg_key}) of {row.wallet} belongs to no leg, and nobody is told"


def _completed_without_both_sides(facts: Facts) -> Iterator[str]:
    out: dict[str, list[Movement]] = defaultdict(list)
    into: dict[str, list[Movement]] = defaultdict(list)
    for row in facts.movements:
        if row.status == "success":
            (out if row.amount_msat < 0 else into)[row.payment_hash].append(row)
    for leg in facts.legs:
        if leg.status != "completed" or leg.payment_hash is None:
            continue
        sent = [row for row in out[leg.payment_hash] if row.wallet == leg.machine_id]
        came = into[leg.payment_hash]
        if len(sent) != 1 or len(came) != 1:
            yield f"leg {leg.leg_key} is completed with {len(sent)} debit(s) and {len(came)} credit(s)"
        elif not -sent[0].amount_msat == came[0].amount_msat == (leg.sent_sats or 0) * 1000:
            yield f"leg {leg.leg_key} is completed with other amounts than the wallets show"


def _unconserved(facts: Facts) -> Iterator[str]:
    counted: Counter[int] = Counter()
    for leg in facts.legs:
        if leg.settlement_id is not None and leg.status not in ("voided", "skipped"):
            counted[leg.settlement_id] += leg.counted_sats
    for row in facts.settlements:
        if row.planned and row.gross_sats != counted[row.id] + row.retained_sats:
            yield f"settlement {row.id}: {row.gross_sats} gross, {counted[row.id]} legs, {row.retained_sats} retained"


def _unbalanced_wallets(facts: Facts) -> Iterator[str]:
    """Each wallet holds what its own successful payments add up to, and machines never spend other sales' sats."""
    sums: Counter[str] = Counter()
    for row in facts.movements:
        pending_out = row.status == "pending" and row.amount_msat < 0
        if row.status == "success" or pending_out:
            sums[row.wallet] += row.amount_msat - (row.fee_msat if row.amount_msat < 0 else 0)
    for wallet, balance_msat in facts.balances_msat.items():
        if sums[wallet] != balance_msat:
            yield f"wallet {wallet} holds {balance_msat} msats, its payments add up to {sums[wallet]}"

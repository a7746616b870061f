"""One machine's case while it is reconciled: what was looked up, what is decided, and what is reported."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from satmachine import identity
from satmachine.config import Machine
from satmachine.identity import BalanceLeg, PayeeKind, SaleLeg
from satmachine.models import By, Leg
from satmachine.settlements.pay.adoption import FoundPayment
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.reconcile.reconcile_rules import Choice, PaymentLine, Resolution
from satmachine.store import audit_log as audit
from satmachine.store import clients, legs
from satmachine.store import reconciling as rows
from satmachine.store.reconciling import Found


@dataclass(frozen=True, slots=True)
class CustomerPayment:
    """An incoming payment that the wallet has just shown as settled; times in Unix seconds."""

    amount_sats: int
    created_at: int
    settled_at: int
    extra: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an outgoing payment: success, pending, failure or absent."""

    status: str
    fee_sats: int = 0


@dataclass(frozen=True, slots=True)
class WalletAnswers:
    """The answers, by payment hash: settled incoming payments, and the fates of outgoing ones."""

    incoming: Mapping[str, CustomerPayment] = field(default_factory=dict)
    outgoing: Mapping[str, Fate] = field(default_factory=dict)


class MachineCase:
    """One machine's case. `lines`, `sales` (words by settlement), `waits` and `touched` (clients) are its report."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        machine: Machine,
        terms: Terms,
        look: WalletAnswers,
        choices: Mapping[str, Choice],
        by: By,
    ) -> None:
        self.conn = conn
        self.machine = machine
        self.terms = terms
        self.look = look
        self.choices = choices
        self.by = by
        self.lines: list[PaymentLine] = []
        self.sales: dict[int, list[str]] = {}
        self.waits: list[str] = []
        self.touched: set[int] = set()
        #: What payments that are still to be decided will take off balances, in minor units, by the LP's label.
        self.spoken_for: Counter[str] = Counter()

    def speak_for(self, payments: Iterable[Found], sign: int = 1) -> None:
        """Before a sale is planned: what other payments were given for is not there to be planned (`sign` 1). When a
        payment is taken up itself, it is spoken for no more (-1)."""
        for payment in payments:
            label = self._label_of(payment)
            if label is not None:
                self.spoken_for[label] += sign * (payment.whole("fiat_amount_minor") or 0)

    def _label_of(self, payment: Found) -> str | None:
        """The LP whose balance a payment takes from."""
        choice, key = self.chosen(payment), identity.parse_key(payment.leg_key)
        if choice is not None and choice.client_id is not None:
            return clients.get(self.conn, choice.client_id).label
        if choice == Choice():
            return None
        if isinstance(key, BalanceLeg):
            return key.client_label
        is_share = isinstance(key, SaleLeg) and key.leg.startswith("dca:")
        return key.leg.split(":")[1] if is_share and isinstance(key, SaleLeg) else None

    def incoming(self, payment_hash: str | None) -> CustomerPayment | None:
        """The customer's payment, where the wallet was asked for it and has it."""
        return None if payment_hash is None else self.look.incoming.get(payment_hash)

    def is_unpaid(self, payment_hash: str) -> bool:
        """Whether the wallet was just seen not to have made this payment."""
        fate = self.look.outgoing.get(payment_hash)
        return fate is not None and fate.status in ("absent", "failure")

    def is_paid(self, payment_hash: str) -> bool:
        """Whether the wallet was just seen to have made this payment."""
        fate = self.look.outgoing.get(payment_hash)
        return fate is not None and fate.status == "success"

    def chosen(self, payment: Found) -> Choice | None:
        return self.choices.get(payment.payment_hash)

    def say(self, settlement_id: int, words: str) -> None:
        """Report something about a sale."""
        self.sales.setdefault(settlement_id, []).append(words)

    def line(
        self,
        payment: Found,
        verdict: Resolution,
        words: str,
        *,
        settlement_key: str | None = None,
        client_id: int | None = None,
    ) -> None:
        """Write down what becomes of a payment."""
        if client_id is not None:
            self.touched.add(client_id)
        self.lines.append(
            PaymentLine(
                payment.payment_hash,
                payment.leg_key,
                payment.amount_sats,
                payment.fee_sats,
                payment.made_at,
                verdict,
                words,
                settlement_key,
                client_id,
            )
        )

    def decide(
        self, payment: Found, payment_id: int | None, action: str, subject: str, after: Mapping[str, object]
    ) -> None:
        """Close the case of a payment: it is a leg's (`payment_id`), or not satmachine's."""
        settled_by = rows.ADOPTED if payment_id is not None else self.by.actor
        rows.decide(
            self.conn,
            self.machine.id,
            payment.payment_hash,
            settled_by=settled_by,
            payment_id=payment_id,
            reason=self.by.reason,
            now=self.by.now,
        )
        audit.record(
            self.conn,
            now=self.by.now,
            actor=self.by.actor,
            action=action,
            subject=subject,
            machine_id=self.machine.id,
            reason=self.by.reason,
            before={"leg_key": payment.leg_key, "payment_hash": payment.payment_hash},
            after={"amount_sats": payment.amount_sats, "fee_sats": payment.fee_sats, **after},
        )

    def dismiss(self, payment: Found, words: str) -> None:
        """Not satmachine's: it explains no leg, and no leg is paid because of it."""
        self.line(payment, Resolution.NOT_OURS, words)
        self.decide(payment, None, "payment.not_ours", f"machine {self.machine.id}", {"words": words})


def adopt(case: MachineCase, leg: Leg, payment: Found) -> None:
    """The books plan exactly this payment: the leg adopts it. What LNbits moved inside itself is looked at on both
    sides, as after every payment; of a payee elsewhere nothing more can be seen than the person has."""
    internal = leg.payee_kind is PayeeKind.WALLET
    if rows.live_invoice(case.conn, leg) != payment.payment_hash:
        rows.take_over(case.conn, leg, payment, internal=internal, now=case.by.now)
    done = not internal and not payment.inside and payment.status == "success"
    if done:
        taken, _ = legs.get(case.conn, leg.id)
        rows.complete_booked(case.conn, taken, payment, by=who(case.by), now=case.by.now)
        rest_sats = leg.amount_sats - payment.amount_sats - payment.fee_sats
        if rest_sats > 0:
            rows.retain_rest(case.conn, leg, rest_sats, case.by.now)
    parsed = identity.parse_key(leg.leg_key)
    key = parsed.settlement_key if isinstance(parsed, SaleLeg) else None
    words = f"{leg.leg} of revision {leg.revision}, as planned; " + ("completed" if done else "looked up on both sides")
    case.line(payment, Resolution.ADOPT, words, settlement_key=key)
    subject = f"payment {leg.id}" if leg.settlement_id is None else f"settlement {leg.settlement_id}"
    case.decide(payment, leg.id, "payment.adopt", subject, {"leg": leg.leg, "revision": leg.revision})


def as_found(payment: Found) -> FoundPayment:
    """A payment as the rule of evidence asks for it."""
    return FoundPayment(
        leg_key=payment.leg_key,
        payment_hash=payment.payment_hash,
        amount_sats=payment.amount_sats,
        fee_sats=payment.fee_sats,
        fiat_amount_minor=payment.whole("fiat_amount_minor"),
        leg_sats=payment.whole("leg_sats"),
    )


def looked_up(payment: Found) -> str:
    """The words added to a payment that LNbits moved inside itself."""
    return "; it is looked up on both sides" if payment.inside else ""


def who(by: By) -> str:
    """Who vouches for a booked payment, and why."""
    return f"{by.actor}: {by.reason}"


def unknown_client(machine_id: str, label: str) -> str:
    """What to do first where a payment went to an LP that these books do not have."""
    return (
        f"LP {label} is not in these books: `satmachine clients add --machine {machine_id} --label {label} "
        "--lightning-address ADDRESS` (or with the file of their key), "
        "then its deposits with their true dates (`satmachine deposits add CLIENT_ID AMOUNT --at TIME`) and what it "
        "has taken home (`satmachine deposits withdraw CLIENT_ID AMOUNT --at TIME`), then look again"
    )


def sale_key(key_or_bundle: str) -> str | None:
    """The settlement key of a sale's leg, or of a sale's bundle; None for everything else."""
    parsed = identity.parse_key(key_or_bundle)
    if isinstance(parsed, SaleLeg):
        return None if parsed.leg.startswith("fwd:") else parsed.settlement_key
    key = key_or_bundle.removeprefix(identity.PREFIX)
    return key if key_or_bundle.startswith(identity.PREFIX) and len(key) == 64 and ":" not in key else None


def of_key(payment: Found) -> tuple[int, str]:
    """The (revision, leg) that a payment of a sale names."""
    key = identity.parse_key(payment.leg_key)
    assert isinstance(key, SaleLeg), "only these are placed with sales"
    return key.revision, key.leg


def rate_of(payment: Found) -> Decimal | None:
    try:
        rate = Decimal(payment.text("exchange_rate"))
    except InvalidOperation:
        return None
    return rate if rate.is_finite() and 0 < rate < 10**12 else None

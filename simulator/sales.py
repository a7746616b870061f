"""Customers: what each sale was in the world, and in which ways its news can arrive.

A sale is known by what happened (a payment, cash), not by what any database says. `ceiling_sats` is all that may ever
be paid out for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from random import Random
from typing import Any

from satmachine.nostr.event import Event, event_id
from satmachine.nostr.intake import Received


@dataclass(slots=True)
class Sale:
    """One customer at one machine. `payment_hash` None: the customer never paid (the machine lies)."""

    number: int
    machine_id: str
    gross_sats: int
    net_sats: int
    rate: Decimal
    fiat: Decimal
    at: int
    payment_hash: str | None
    txid: str | None
    #: Ids of the events that tell of it.
    event_ids: list[str] = field(default_factory=list)
    #: Sats that the wallets paid out for it, as the judge has counted.
    paid_sats: int = 0
    #: Sats that a top-up brought for its customer, who got too little cash.
    topped_up_sats: int = 0
    #: A payment that is nobody's sale: a top-up. It becomes one only by a person's word.
    top_up: bool = False
    #: Landed while no proof was asked for: then the machine's word is enough.
    on_word: bool = False
    #: LNbits was rolled back to before the payment, or the operator has raised payouts_since over it.
    forgotten: bool = False

    #: A payment that the machine names, and that nobody made (yet).
    false_hash: str | None = None
    #: The most that the machine has said that the customer paid: where no proof is asked for, that counts.
    told_sats: int = 0
    #: A top-up whose invoice the daemon has made for the operator: never a sale but by a person's word.
    by_order: bool = False
    #: A person has landed it, or said who gets what was given up of it: more than the plan decides who is paid.
    by_person: bool = False
    #: Since when a person holds it in the books that the operator believes in (the loop's time); None: nobody does.
    held_since: float | None = None

    def events_json(self) -> str:
        return json.dumps(self.event_ids)

    def settlement_keys(self) -> list[str]:
        """Every settlement key under which it may be paid (SPEC section 6.4)."""
        found = list(self.event_ids)
        if self.false_hash is not None:
            found.append(self.false_hash)
        if self.payment_hash is not None:
            found.append(self.payment_hash)
        if self.txid is not None:
            found.append(sha256(f"txid:{self.txid}".encode()).hexdigest())
        return found


def figures(rng: Random) -> tuple[int, int, Decimal, Decimal]:
    """(gross, net, rate, fiat): mostly a few bank notes' worth, sometimes next to nothing."""
    gross = rng.choice((rng.randrange(2, 60), rng.randrange(500, 9000), rng.randrange(9000, 300_000), 266_800))
    net = gross - gross * rng.choice((0, 3, 3, 8)) // 100
    rate = Decimal(rng.choice(("143.797", "140.5", "150")))
    return gross, net, rate, (Decimal(net) / rate).quantize(Decimal("0.01"))


def payment_extra(sale: Sale, kind: str) -> dict[str, Any]:
    """What the customer's payment carries: nothing, the whole split, no split, or only the txid."""
    if kind == "bare":
        return {}
    extra: dict[str, Any] = {}
    if sale.txid is not None:
        extra["txid"] = sale.txid
    if kind == "txid":
        return extra
    extra["source"] = "bitspire"
    if kind == "full":
        extra |= {
            "net_sats": sale.net_sats,
            "fee_sats": sale.gross_sats - sale.net_sats,
            "exchange_rate": float(sale.rate),
            "fiat_amount": float(sale.fiat),
            "currency": "GTQ",
        }
    return extra


def signed_event(sale: Sale, public_key: str, now: int, *, kind: str, rng: Random) -> Received:
    """An event as the relay pool hands it over (its signature was verified there). `kind` says what it tells."""
    content: dict[str, Any] = {
        "source": "bitspire",
        "gross_sats": sale.gross_sats,
        "exchange_rate": float(sale.rate),
        "fiat_amount": float(sale.fiat),
        "currency": "GTQ",
    }
    if kind != "no_split":
        content |= {"net_sats": sale.net_sats, "fee_sats": sale.gross_sats - sale.net_sats}
    if kind == "other_split":
        content |= {"net_sats": sale.net_sats - 1, "fee_sats": sale.gross_sats - sale.net_sats + 1}
    if kind == "more":  # than the customer paid
        content |= {"gross_sats": sale.gross_sats + 1_000, "net_sats": sale.net_sats + 1_000}
    sale.told_sats = max(sale.told_sats, content["gross_sats"])
    if kind == "false_hash":
        content["payment_hash"] = sale.false_hash
    elif kind != "no_hash" and sale.payment_hash is not None:
        content["payment_hash"] = sale.payment_hash
    if sale.txid is not None:
        content["txid"] = sale.txid
    if kind == "again":
        content["bills"] = rng.randrange(100)
    return received(public_key, now, content)


def received(public_key: str, now: int, content: Mapping[str, Any]) -> Received:
    text = json.dumps(content)
    found = event_id(public_key, now, 21000, (), text)
    return Received(Event(found, public_key, now, 21000, (), text, "0" * 128), "wss://relay.example", now)

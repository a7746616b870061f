"""One event or incoming payment as an operator needs to know it: its form, its keys, what it says of a sale. Pure.

Everything that strangers write is cut short. Times are Unix seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from satmachine.config.model import Machine
from satmachine.identity import PREFIX
from satmachine.models import Claim, Rejection
from satmachine.nostr.event import BEACON_KIND, RELAY_LIST_KIND, SETTLEMENT_KIND, TELEMETRY_KINDS, Event
from satmachine.settlements.claim.content import claim_from_event, claim_from_payment
from satmachine.settlements.claim.envelope import DaemonKey, is_old_nip44, read_content
from satmachine.telemetry import beacons
from satmachine.wallet.rows import WalletPayment

_MAX_KEYS: Final = 40
_MAX_TEXT: Final = 60
#: Base64 of an octet 2 and more: the version of NIP-44 that is read here.
_NIP44: Final = re.compile(r"A[g-v][0-9A-Za-z+/]{42,}={0,2}")
_NIP04: Final = re.compile(r"[0-9A-Za-z+/]{20,}={0,2}\?iv=[0-9A-Za-z+/]{20,}={0,2}")


class Form(StrEnum):
    """How the content of an event is written."""

    PLAIN = "plain JSON"
    NIP44 = "NIP-44 version 2"
    OLD_NIP44 = "NIP-44 before version 2"
    NIP04 = "NIP-04"
    EMPTY = "empty"
    OTHER = "no JSON"


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event of a machine. `to`: whom its `p` tags name; `opened`: it was encrypted, and the daemon's key opens it.

    `claim` where it announces a sale, `problem` where it would go into quarantine; `rate`: a beacon tells one.
    """

    machine_id: str
    id: str
    kind: int
    received_at: int
    tags: tuple[str, ...]
    d: str | None
    to: tuple[str, ...]
    for_us: bool
    form: Form
    opened: bool
    keys: tuple[str, ...]
    claim: Claim | None = None
    problem: str = ""
    rate: bool = False
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenPayment:
    """A settled incoming payment that satmachine did not cause. `claim`, `problem`: what its `extra` says of a sale."""

    machine_id: str
    payment_hash: str
    amount_sats: int
    settled_at: int
    memo: str
    tag: str | None
    keys: tuple[str, ...]
    names: tuple[str, ...]
    claim: Claim | None = None
    problem: str = ""


def of_event(event: Event, machine: Machine, key: DaemonKey | None, received_at: int) -> SeenEvent:
    """What an event is; its signature has been verified."""
    to = tuple(tag[1][:64] for tag in event.tags if len(tag) > 1 and tag[0] == "p")
    for_us = not to or (key is not None and key.pubkey in to)
    form = _form(event.content)
    content = read_content(event, encrypted=False, key=key)
    opened = form is Form.NIP44 and isinstance(content, str) and content != event.content
    claim, problem, rate = None, "", False
    if event.kind == SETTLEMENT_KIND and for_us:
        said = content if isinstance(content, Rejection) else claim_from_event(content, machine, event.created_at)
        claim, problem = (None, said.detail) if isinstance(said, Rejection) else (said, "")
    elif event.kind in TELEMETRY_KINDS:
        problem, rate = _telemetry(event, machine, content, received_at)
    return SeenEvent(
        machine_id=machine.id,
        id=event.id,
        kind=event.kind,
        received_at=received_at,
        tags=tuple(sorted({_short(tag[0]) for tag in event.tags}))[:_MAX_KEYS],
        d=_short(beacons.d_tag(event)) if 30_000 <= event.kind < 40_000 else None,
        to=to[:_MAX_KEYS],
        for_us=for_us,
        form=form,
        opened=opened,
        keys=_keys_of_json(content) if isinstance(content, str) else (),
        claim=claim,
        problem=_short(problem, 160),
        rate=rate,
        relays=tuple(tag[1][:200] for tag in event.tags if len(tag) > 1 and tag[0] == "r")[:_MAX_KEYS]
        if event.kind == RELAY_LIST_KIND
        else (),
    )


def of_payment(row: WalletPayment, machine: Machine) -> SeenPayment | None:
    """What a settled incoming payment is; None: one that satmachine itself has caused."""
    if (row.leg_key or "").startswith(PREFIX):
        return None
    said = claim_from_payment(
        row.extra, machine, payment_hash=row.payment_hash, amount_sats=row.amount_sats, settled_at=row.updated_at
    )
    inner = row.extra.get("extra")
    named = [fields.get("txid") for fields in (row.extra, inner) if isinstance(fields, Mapping)]
    tag = row.tag or row.extra.get("tag")
    return SeenPayment(
        machine_id=machine.id,
        payment_hash=row.payment_hash,
        amount_sats=row.amount_sats,
        settled_at=row.updated_at,
        memo=_short(row.memo, 120),
        tag=None if not tag else _short(str(tag)),
        keys=tuple(_keys(row.extra))[:_MAX_KEYS],
        names=tuple(str(txid)[:128] for txid in named if txid),
        claim=said if isinstance(said, Claim) else None,
        problem=_short(said.detail, 160) if isinstance(said, Rejection) else "",
    )


def announces(event: SeenEvent, payment: SeenPayment) -> bool:
    """Whether an event tells of this payment."""
    if event.claim is None or event.machine_id != payment.machine_id:
        return False
    if event.claim.payment_hash is not None:
        return event.claim.payment_hash == payment.payment_hash
    return event.claim.txid is not None and event.claim.txid in payment.names


def _telemetry(event: Event, machine: Machine, content: str | Rejection, received_at: int) -> tuple[str, bool]:
    """Why it is no telemetry, and whether it tells a rate."""
    if isinstance(content, Rejection):
        return content.detail, False
    found = beacons.read(event, machine.id, received_at, content=content, currency=machine.currency)
    if isinstance(found, Rejection):
        return found.detail, False
    if event.kind != BEACON_KIND:
        return "", False
    assert isinstance(found, beacons.BeaconRecord)
    return "" if found.fields.columns else "none of its keys is known", "exchange_rate" in found.fields.columns


def _form(content: str) -> Form:
    text = content.strip()
    if text[:1] in ("{", "["):
        return Form.PLAIN
    if not text:
        return Form.EMPTY
    if _NIP44.fullmatch(text):
        return Form.NIP44
    if is_old_nip44(text):
        return Form.OLD_NIP44
    return Form.NIP04 if _NIP04.fullmatch(text) else Form.OTHER


def _keys_of_json(content: str) -> tuple[str, ...]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return ()
    return tuple(_keys(told))[:_MAX_KEYS] if isinstance(told, dict) else ()


def _keys(fields: Mapping[str, object]) -> Iterator[str]:
    """Those at the top, and those in `extra` as `extra.x`."""
    for name in sorted(fields, key=str):
        inner = fields[name]
        if name == "extra" and isinstance(inner, Mapping) and inner:
            yield from (f"extra.{_short(str(key))}" for key in sorted(inner, key=str))
        else:
            yield _short(str(name))


def _short(text: str, limit: int = _MAX_TEXT) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:limit])

"""From what was seen of a machine to the settings that fit it, each with its reason. Pure.

Nothing is taken for certain that was seen once: a memo or an extension counts from MANY payments on. What a setting
would share out is said with it, because a person decides.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from satmachine.config.model import Config, Machine
from satmachine.nostr.event import BEACON_KIND, FLEET_KIND, RELAY_LIST_KIND, SETTLEMENT_KIND
from satmachine.observe.sightings import Form, SeenEvent, SeenPayment, announces
from satmachine.settlements.sweep.unannounced import ANNOUNCED_AFTER_S

MANY: Final = 3
_SHORTEST_MEMO: Final = 4
#: What means something in a regular expression.
_SPECIAL: Final = re.compile(r"[.^$*+?{}\[\]\\|()]")


@dataclass(frozen=True, slots=True)
class Setting:
    """What to write where, and why. `line` "": nothing to write, but something to know or to do."""

    machine_id: str
    table: str
    line: str
    why: str


@dataclass(frozen=True, slots=True)
class Matched:
    """A machine's sales: told by an event and paid, only told, only paid. `late_s`: from each payment to its event.

    `itself` of the only paid ones say in their `extra` that they are a sale.
    """

    both: int
    only_told: int
    only_paid: int
    itself: int
    late_s: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """What was seen of a machine. `before`: payments of the time before it was listened to; no event can match them."""

    machine: Machine
    events: Sequence[SeenEvent] = ()
    payments: Sequence[SeenPayment] = ()
    before: Sequence[SeenPayment] = ()
    problem: str = ""
    matched: Matched = field(default_factory=lambda: Matched(0, 0, 0, 0))


def match(events: Sequence[SeenEvent], payments: Sequence[SeenPayment]) -> Matched:
    """Which events and payments are of the same sale."""
    told = {event.id: event for event in events if event.claim is not None}
    heard: set[str] = set()
    late_s: list[int] = []
    alone: list[SeenPayment] = []
    for payment in payments:
        of_it = [event for event in told.values() if announces(event, payment)]
        heard |= {event.id for event in of_it}
        if of_it:
            late_s.append(max(0, min(event.received_at for event in of_it) - payment.settled_at))
        else:
            alone.append(payment)
    itself = sum(payment.claim is not None for payment in alone)
    return Matched(len(late_s), len(told.keys() - heard), len(alone), itself, tuple(late_s))


def fitting(seen: MachineSeen, config: Config) -> list[Setting]:
    """What fits this machine; nothing where the file fits already."""
    machine = seen.machine
    told = [(f'[[machines]] "{machine.id}"', line, why) for line, why in _of_machine(seen, config)]
    told += list(_of_file(seen, config))
    return [Setting(machine.id, table, line, why) for table, line, why in told]


def _of_machine(seen: MachineSeen, config: Config) -> Iterator[tuple[str, str]]:
    yield from _unannounced(seen)
    yield from _encryption(seen)
    for problem, count in Counter(event.problem for event in seen.events if event.problem).most_common(3):
        if any(event.problem == problem and event.kind == SETTLEMENT_KIND for event in seen.events):
            yield "", f"{count} event(s) of kind 21000 could not be used: {problem}"
    for problem, count in Counter(one.problem for one in _all_payments(seen) if one.problem).most_common(3):
        yield "", f"{count} payment(s) say that they are a sale and cannot be used: {problem}"
    strangers = Counter(to for event in seen.events if not event.for_us for to in event.to[:1])
    for to, count in strangers.most_common(2):
        yield "", f"{count} event(s) are for {to[:8]}.. and not for this daemon: requests to its LNbits, no sales"
    if not config.payouts.require_payment_proof or not seen.matched.only_told:
        return
    if not seen.matched.both:
        why = "sales are announced, and none of their payments was found in this wallet; they would be held (not_paid)"
        yield "", f"{why}: is it the right wallet, and do the events name payment_hash, or a txid that is in `extra`?"


def _unannounced(seen: MachineSeen) -> Iterator[tuple[str, str]]:
    """Payments that nothing announces: shared, waited for, told apart."""
    rule = seen.machine.unannounced
    alone = [one for one in _all_payments(seen) if one.claim is None and not one.problem and not _is_told(seen, one)]
    if alone and rule.sales == "report":
        look = f"`satmachine settlements unmatched --all --machine {seen.machine.id}` shows them"
        settings = ['sales = "share"', *_memo(alone), *_tags(alone)]
        sizes = f"{min(one.amount_sats for one in alone)} to {max(one.amount_sats for one in alone)} sats"
        why = f"{len(alone)} payment(s) of {sizes} came that nothing announces; now each waits for a person"
        if not any(event.rate for event in seen.events):
            why += ". No beacon tells a rate: without it the LPs' part stays in the wallet"
        yield f"unannounced = {{ {', '.join(settings)} }}", f"{why}. Only if they are sales: {look}"
    slowest = max(seen.matched.late_s, default=0)
    waits_s = ANNOUNCED_AFTER_S if rule.after_s is None else rule.after_s
    if slowest > waits_s and rule.sales == "share":
        yield (
            f"unannounced = {{ after_s = {min(480, 2 * slowest)} }}",
            f"an event came {slowest} s after its payment, and only {waits_s} s are waited for it",
        )


def _encryption(seen: MachineSeen) -> Iterator[tuple[str, str]]:
    ours = [event for event in seen.events if event.kind == SETTLEMENT_KIND and event.for_us]
    beacons = [event for event in seen.events if event.kind == BEACON_KIND]
    if ours and all(event.opened for event in ours + beacons) and not seen.machine.encrypted:
        yield "encrypted = true", "everything it tells is encrypted to this daemon: then plain text cannot be its own"
    if seen.machine.encrypted and any(event.form is Form.PLAIN for event in ours + beacons):
        yield "encrypted = false", "it sends plain text, which is refused now"
    for form in (Form.OLD_NIP44, Form.NIP04):
        count = sum(event.form is form for event in seen.events)
        if count:
            yield (
                "",
                f"{count} event(s) are encrypted by {form}, which is not read: update what the machine encrypts with",
            )


def _of_file(seen: MachineSeen, config: Config) -> Iterator[tuple[str, str, str]]:
    sealed = [event for event in seen.events if event.form is Form.NIP44 and not event.opened and event.for_us]
    if sealed and config.nostr.secret_key is None:
        yield "[nostr]", "secret_key", f"{len(sealed)} event(s) of {seen.machine.id} are encrypted, and there is no key"
    for kind, name, named in (
        (BEACON_KIND, "beacon_d", config.telemetry.beacon_d),
        (FLEET_KIND, "fleet_d", config.telemetry.fleet_d),
    ):
        found = [event for event in seen.events if event.kind == kind]
        good = sorted({event.d or "" for event in found if not event.problem})
        bad = sorted({event.d or "" for event in found if event.problem} - {*good})
        if good and bad and not named:
            yield "[telemetry]", f"{name} = {json.dumps(good)}", f"kind {kind} with d {json.dumps(bad)} is no telemetry"
        if named and good and not {*good} & {*named}:
            yield (
                "[telemetry]",
                f"{name} = {json.dumps(good)}",
                f"these are what {seen.machine.id} sends; none counts now",
            )
    lists = [event for event in seen.events if event.kind == RELAY_LIST_KIND and event.relays]
    known = config.relays_of(seen.machine)
    more = sorted({url.rstrip("/") for event in lists for url in event.relays} - {*known})
    if more and not config.nostr.discover_relays:
        yield (
            "[nostr]",
            "discover_relays = true",
            f"{seen.machine.id} says that it publishes on {', '.join(more[:3])} too",
        )


def _is_told(seen: MachineSeen, payment: SeenPayment) -> bool:
    return any(announces(event, payment) for event in seen.events)


def _all_payments(seen: MachineSeen) -> list[SeenPayment]:
    return [*seen.before, *seen.payments]


def _memo(alone: Sequence[SeenPayment]) -> Iterator[str]:
    """How all their memos begin, if that says anything."""
    memos = [one.memo for one in alone]
    first, last = min(memos), max(memos)  # what these two share, all share
    ends = min(len(first), len(last))
    begin = first[: next((at for at in range(ends) if first[at] != last[at]), ends)].rstrip("0123456789").rstrip()
    if len(alone) >= MANY and len(begin) >= _SHORTEST_MEMO:
        pattern = "^" + _SPECIAL.sub(r"\\\g<0>", begin)
        yield f"memo = {json.dumps(pattern, ensure_ascii=False)}"


def _tags(alone: Sequence[SeenPayment]) -> Iterator[str]:
    """Extensions that make their invoices."""
    often = sorted(tag for tag, count in Counter(one.tag for one in alone).items() if tag and count >= MANY)
    if often:
        yield f"tags = {json.dumps(often)}"

"""An item on the list of what needs a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When something begins to need a person; spans in seconds. The keys are those of [alerts] and [payouts]."""

    attention_after_s: int = 600
    machine_silent_after_s: int = 1_800
    relay_quiet_after_s: int = 600
    wallet_unreachable_after_s: int = 300
    wallet_low_sats: int | None = None
    cassette_low_pct: Decimal = Decimal("0.2")
    cash_out_days: int = 2


@dataclass(frozen=True, slots=True)
class Condition:
    """A kind of trouble: how its start and end are reported, the command that shows more, and whether it is an alarm,
    which is sent at any hour."""

    started: str
    ended: str
    command: str
    is_alarm: bool = True


#: The most serious first.
CONDITIONS: dict[str, Condition] = {
    "daemon_down": Condition("does not run", "runs again", "systemctl start satmachine", is_alarm=False),
    "daemon_frozen": Condition("does not respond", "responds again", "systemctl restart satmachine", is_alarm=False),
    "books_broken": Condition("the books do not add up", "the books add up again", "satmachine audit"),
    "safe_mode": Condition("pays nothing (safe mode)", "has left safe mode", "satmachine status"),
    "machine_error": Condition("reports an error", "no longer reports an error", "satmachine telemetry latest"),
    "settlement_held": Condition("sales are held and wait for you", "no sales are held any more", "satmachine status"),
    "settlement_errored": Condition("payments failed", "no failed payments any more", "satmachine status"),
    "payment_failing": Condition(
        "payments do not get through", "payments get through again", "satmachine payments list --status failing"
    ),
    "payment_waits": Condition("a payment waits for you", "no payment waits any more", "satmachine status"),
    "wallet_unreachable": Condition("wallet cannot be reached", "wallet answers again", "satmachine doctor"),
    "wallet_low": Condition("wallet is low", "wallet has enough again", "satmachine machines list"),
    "machine_silent": Condition("silent", "is heard again", "satmachine telemetry fleet"),
    "cassette_low": Condition("low on cash", "has enough cash again", "satmachine telemetry fleet"),
    "cash_out_soon": Condition("runs out of cash soon", "has cash for more days again", "satmachine forecast"),
    "cash_differs": Condition(
        "cash was not as expected", "every difference is booked", "satmachine cash report", is_alarm=False
    ),
    "relay_quiet": Condition("relay does not deliver", "relay delivers again", "satmachine doctor"),
    "payouts_paused": Condition("payouts are paused", "payouts continue", "satmachine status", is_alarm=False),
    "request_waits": Condition("a request is not done", "requests are done", "satmachine status", is_alarm=False),
    "quarantined": Condition(
        "messages could not be used", "no unusable messages any more", "satmachine quarantine list", is_alarm=False
    ),
    "rate_unknown": Condition(
        "the LPs' part of sales without a rate is not paid", "every rate is known", "satmachine status", is_alarm=False
    ),
    "shortfall_waits": Condition(
        "a customer waits for a refund", "no refund waits for its top-up", "satmachine status", is_alarm=False
    ),
    "unmatched": Condition(
        "payments arrived that belong to no sale",
        "every payment belongs to a sale",
        "satmachine settlements unmatched",
        is_alarm=False,
    ),
}
_RANK = {condition: rank for rank, condition in enumerate(CONDITIONS)}


@dataclass(frozen=True, slots=True)
class Item:
    """Something that needs a person.

    `subject` is what it concerns in general (a machine's id, a relay's URL, a payee, '' for the daemon), `ref` what
    exactly (a sale's number); together with the condition they identify it. `machine_id` is the machine that it belongs
    to, if the subject is not a machine. `since` is in Unix seconds, if it is known. `sure` False: between two limits,
    which raises nothing and ends nothing. `wait_s`: how long it may last before it counts.
    """

    condition: str
    subject: str
    cause: str
    command: str
    since: int | None = None
    ref: str = ""
    settlement_id: int | None = None
    payment_id: int | None = None
    machine_id: str = ""
    sure: bool = True
    wait_s: int = 0
    silenced: str = ""

    @property
    def id(self) -> str:
        """Its name for `alerts silence`: the condition, and what it concerns."""
        return ":".join(part for part in (self.condition, self.subject, self.ref) if part)

    @property
    def shown_since(self) -> int | None:
        """`since`, unless the cause itself says for how long."""
        return None if self.condition == "machine_silent" else self.since

    @property
    def is_alarm(self) -> bool:
        """Whether it is sent at any hour."""
        return CONDITIONS[self.condition].is_alarm


@dataclass(frozen=True, slots=True)
class Silence:
    """A person says that they know about an item: quiet until then (Unix seconds), or for ever (None)."""

    item: str
    until: int | None
    reason: str
    actor: str
    at: int


@dataclass(frozen=True, slots=True)
class Attention:
    """The list: what needs a person, the most serious first, and what a person has silenced."""

    items: tuple[Item, ...] = ()
    silenced: tuple[Item, ...] = field(default=())

    @property
    def counts(self) -> Mapping[str, int]:
        """How many items of each condition."""
        found = dict.fromkeys(CONDITIONS, 0)
        for item in self.items:
            found[item.condition] += 1
        return found


def sorted_out(found: Iterable[Item], silences: Iterable[Silence], now: int) -> Attention:
    """The list, without what is silenced now. A silence of `condition:subject` covers everything below it."""
    quiet = {one.item: one for one in silences if one.until is None or one.until > now}
    items, silenced = [], []
    for item in sorted(found, key=lambda one: (_RANK[one.condition], one.subject, one.since or 0)):
        word = next((quiet[name] for name in names_of(item) if name in quiet), None)
        if word is None:
            items.append(item)
        else:
            silenced.append(replace(item, silenced=f"by {word.actor}: {word.reason}"))
    return Attention(tuple(items), tuple(silenced))


def names_of(item: Item) -> Iterator[str]:
    """The names that a silence may use for it: exactly this, or all of its kind."""
    yield item.id
    yield f"{item.condition}:{item.subject}" if item.subject else item.condition


def headline(attention: Attention) -> str:
    """The list in half a sentence, the most serious first: for `systemctl status`."""
    if not attention.items:
        return ""
    first = attention.items[0]
    who = f"{first.subject}: " if first.subject else ""
    more = f" (and {len(attention.items) - 1} more)" if len(attention.items) > 1 else ""
    return f"{len(attention.items)} thing(s) need you: {who}{CONDITIONS[first.condition].started}{more}"

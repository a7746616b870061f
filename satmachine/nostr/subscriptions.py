"""What one connection asks of its relay, and how that changes (NIP-01 REQ, EOSE, CLOSED). Pure.

`Subscriptions` gets what the relay says, and returns the texts to send. It has the rules:

- the authors are split over filters, and the filters over subscriptions, as small as the relay wants them;
- settlements are asked for `since` a time, telemetry always whole: it is addressable, so the relay sends only
  the latest of each machine, and what was shed or missed heals with the next connect; only how much a relay
  keeps of it is bounded, because a stolen key can fill a relay with as many addresses as it likes;
- relay lists (NIP-65) are asked for in a filter of their own, where somebody wants them: of those, too, a relay keeps
  one of each machine;
- a change of authors opens the new subscriptions first, and closes the old ones when the new ones are live;
- what the relay closes is opened again: after a wait, after authentication, or in smaller pieces.

Times are monotonic seconds, except `since`, which is Unix seconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from satmachine.nostr.event import RELAY_LIST_KIND, SETTLEMENT_KIND, TELEMETRY_KINDS, Closed, Fault, Filter, close, req

_T = TypeVar("_T")

_TELEMETRY_KINDS = tuple(sorted(TELEMETRY_KINDS))
_ALL_KINDS = (SETTLEMENT_KIND, *_TELEMETRY_KINDS)
_LIST_KINDS = (RELAY_LIST_KIND,)

MAX_FILTERS_PER_REQ = 64
MAX_RETRY_S = 300.0
MAX_RETIRED = 1_000
# Every reload leaves a fragment; with this many more than needed, all are packed again.
MAX_EXTRA_SUBSCRIPTIONS = 3
# The first wait by the reason of a CLOSED; it doubles.
_RETRY_S = {"rate-limited": 10.0, "restricted": 60.0, "blocked": 60.0}
_DEFAULT_RETRY_S = 2.0

_TOTAL_WORDS = re.compile(r"subscriptions?\b.*\b(size|bytes|memory)\b", re.IGNORECASE)
_LIMIT_WORDS = re.compile(r"too (many|large|big|long)|maximum|max[ _]|exceed|limit", re.IGNORECASE)
_AUTHOR_WORDS = re.compile(r"author|too (large|big|long)", re.IGNORECASE)
_FILTER_WORDS = re.compile(r"filter", re.IGNORECASE)
_SUBSCRIPTION_WORDS = re.compile(r"subscription|concurrent|\bsubs\b|\breqs?\b", re.IGNORECASE)


class Complaint(StrEnum):
    """What a relay finds too many of."""

    AUTHORS = "authors"
    FILTERS = "filters"
    SUBSCRIPTIONS = "subscriptions"
    TOTAL = "total"  # the size of all filters together


def complaint_of(text: str) -> Complaint | None:
    """What a relay complains about, as far as its words say; they are not standardised."""
    if not _LIMIT_WORDS.search(text):
        return None
    if _TOTAL_WORDS.search(text):
        return Complaint.TOTAL
    if _AUTHOR_WORDS.search(text):
        return Complaint.AUTHORS
    if _FILTER_WORDS.search(text):
        return Complaint.FILTERS
    return Complaint.SUBSCRIPTIONS if _SUBSCRIPTION_WORDS.search(text) else None


@dataclass(frozen=True, slots=True)
class Shape:
    """How much goes into one filter and into one REQ.

    `combined` names each author once, for all kinds, which halves the size: then even settlements are asked for without
    `since`. `most_filters` is what a complaint has taught: it never rises, so that a relay that finds both filters and
    subscriptions too many is not asked in circles. `relay_lists`: they are asked for too.
    """

    authors_per_filter: int
    filters_per_req: int
    combined: bool = False
    stored_telemetry: int | None = None
    most_filters: int = MAX_FILTERS_PER_REQ
    relay_lists: bool = False

    def after(self, complaint: Complaint) -> Shape | None:
        """The shape that answers a complaint; None if there is none."""
        fewer = self.filters_per_req // 2
        more = min(2 * self.filters_per_req, self.most_filters)
        match complaint:
            case Complaint.TOTAL if not self.combined:
                return replace(self, combined=True)
            case Complaint.SUBSCRIPTIONS if more > self.filters_per_req:
                return replace(self, filters_per_req=more)
            case Complaint.FILTERS if fewer:
                return replace(self, filters_per_req=fewer, most_filters=self.filters_per_req - 1)
            case Complaint.FILTERS | Complaint.AUTHORS if self.authors_per_filter > 1:
                return replace(self, authors_per_filter=self.authors_per_filter // 2)
        return None


class _State(StrEnum):
    PENDING = "pending"  # REQ sent
    LIVE = "live"  # EOSE received
    WAITING = "waiting"  # closed by the relay, to be opened again at `due`
    NEEDS_AUTH = "needs_auth"


@dataclass(slots=True)
class _Subscription:
    id: str
    filters: tuple[Filter, ...]
    shape: Shape
    state: _State = _State.PENDING
    attempts: int = 0
    due: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the relay still has it, as far as we know."""
        return self.state in (_State.PENDING, _State.LIVE)


@dataclass(slots=True)
class _Handover:
    """Old subscriptions that are closed as soon as the new ones are live."""

    waiting_for: set[str]
    to_close: tuple[str, ...]


class Subscriptions:
    """The subscriptions of one connection."""

    def __init__(self, shape: Shape, settlements_since: int | None) -> None:
        self.shape = shape
        self._since = settlements_since
        self._subscriptions: dict[str, _Subscription] = {}
        self._handovers: list[_Handover] = []
        self._retired: set[str] = set()
        self._authenticated = False
        self._last_number = 0

    @property
    def complete(self) -> bool:
        """Everything that was asked for is live: all stored events have arrived, new ones arrive as they happen."""
        return all(sub.state is _State.LIVE for sub in self._subscriptions.values())

    def knows(self, sub_id: str) -> bool:
        """Whether we asked for it. (Events of a subscription that was just closed may still be under way.)"""
        return sub_id in self._subscriptions or sub_id in self._retired

    def set_authors(self, authors: frozenset[str]) -> list[str]:
        """Ask for these authors from now on."""
        known = {author for sub in self._subscriptions.values() for author in _authors_of(sub.filters)}
        stale = [sub for sub in self._subscriptions.values() if not _authors_of(sub.filters) <= authors]
        fresh = len(self._subscriptions) - len(stale)
        wanted = _narrowed((wanted for sub in stale for wanted in sub.filters), authors)
        wanted += self._filters_for(authors - known)
        ideal = len(_packed(self._filters_for(authors), self.shape))
        if fresh + len(_packed(wanted, self.shape)) > ideal + MAX_EXTRA_SUBSCRIPTIONS:
            stale = list(self._subscriptions.values())
            wanted = self._filters_for(authors)
        return self._replace(stale, wanted)

    def on_eose(self, sub_id: str) -> list[str] | Fault:
        sub = self._subscriptions.get(sub_id)
        if sub is None:
            return [] if sub_id in self._retired else Fault.UNKNOWN_SUBSCRIPTION
        if sub.state is not _State.PENDING:
            return Fault.UNKNOWN_SUBSCRIPTION
        sub.state = _State.LIVE
        sub.attempts = 0
        return self._hand_over(sub_id)

    def on_closed(self, message: Closed, now: float) -> list[str] | Fault:
        sub = self._subscriptions.get(message.subscription)
        if sub is None:
            return [] if message.subscription in self._retired else Fault.UNKNOWN_SUBSCRIPTION
        complaint = complaint_of(message.text)
        if complaint is not None:
            sub.state = _State.WAITING
            answer = self._reshape(sub, complaint)
            if answer is not None:
                return answer
        if message.prefix == "auth-required" and not self._authenticated:
            sub.state = _State.NEEDS_AUTH
        else:
            self._retry_later(sub, message.prefix, now)
        return []

    def on_notice(self, text: str) -> list[str]:
        """Older relays complain by NOTICE, without naming a subscription: it is about one not yet live."""
        complaint = complaint_of(text)
        pending = next((sub for sub in self._subscriptions.values() if sub.state is _State.PENDING), None)
        if complaint is None or pending is None:
            return []
        return self._reshape(pending, complaint) or []

    def on_authenticated(self) -> list[str]:
        self._authenticated = True
        return [self._reopen(sub) for sub in self._in_state(_State.NEEDS_AUTH)]

    def due(self, now: float) -> list[str]:
        """What must be asked again by now."""
        return [self._reopen(sub) for sub in self._in_state(_State.WAITING) if sub.due <= now]

    def next_due(self) -> float | None:
        return min((sub.due for sub in self._in_state(_State.WAITING)), default=None)

    def _filters_for(self, authors: Iterable[str]) -> list[Filter]:
        """Settlements before telemetry: what is asked for first is live first."""
        everyone = tuple(sorted(authors))
        if not everyone:
            return []
        found = [Filter((SETTLEMENT_KIND,), everyone, self._since), Filter(_TELEMETRY_KINDS, everyone)]
        return [*found, Filter(_LIST_KINDS, everyone)] if self.shape.relay_lists else found

    def _in_state(self, state: _State) -> list[_Subscription]:
        return [sub for sub in self._subscriptions.values() if sub.state is state]

    def _retry_later(self, sub: _Subscription, prefix: str, now: float) -> None:
        first = _RETRY_S.get(prefix, _DEFAULT_RETRY_S)
        sub.state = _State.WAITING
        sub.due = now + min(MAX_RETRY_S, first * 2 ** min(sub.attempts, 10))
        sub.attempts += 1

    def _reopen(self, sub: _Subscription) -> str:
        sub.state = _State.PENDING
        return req(sub.id, sub.filters)

    def _reshape(self, sub: _Subscription, complaint: Complaint) -> list[str] | None:
        """Ask for the same in another shape; None if there is no other."""
        # Several complaints about one shape arrive together; only the first may change it.
        if sub.shape == self.shape:
            shape = self.shape.after(complaint)
            if shape is None or (complaint is Complaint.SUBSCRIPTIONS and len(self._subscriptions) == 1):
                return None
            self.shape = shape
        if complaint in (Complaint.AUTHORS, Complaint.FILTERS):
            return self._replace([sub], list(sub.filters))
        # There is no room to open before closing.
        old = list(self._subscriptions.values())
        wanted = [wanted for each in old for wanted in each.filters]
        self._handovers.clear()
        return self._retire(old) + self._open(wanted)[0]

    def _replace(self, old: Sequence[_Subscription], wanted: list[Filter]) -> list[str]:
        """Open the new, then close the old: at once if nothing new is to come, else when it is live."""
        texts, new_ids = self._open(wanted)
        for sub in old:
            for handover in self._handovers:
                if sub.id in handover.waiting_for:
                    handover.waiting_for.discard(sub.id)
                    handover.waiting_for.update(new_ids)
        for sub in old:
            if not sub.is_open:
                self._retire([sub])
        still_open = tuple(sub.id for sub in old if sub.is_open)
        for sub_id in still_open:
            # It is no longer retried or counted, but its events are accepted until it is closed.
            del self._subscriptions[sub_id]
            self._remember_retired(sub_id)
        self._handovers.append(_Handover(set(new_ids), still_open))
        return texts + self._hand_over("")

    def _hand_over(self, live_id: str) -> list[str]:
        texts: list[str] = []
        for handover in list(self._handovers):
            handover.waiting_for.discard(live_id)
            if not handover.waiting_for:
                self._handovers.remove(handover)
                texts += [close(sub_id) for sub_id in handover.to_close]
        return texts

    def _retire(self, subs: Iterable[_Subscription]) -> list[str]:
        texts: list[str] = []
        for sub in subs:
            del self._subscriptions[sub.id]
            self._remember_retired(sub.id)
            if sub.is_open:
                texts.append(close(sub.id))
        return texts

    def _remember_retired(self, sub_id: str) -> None:
        if len(self._retired) >= MAX_RETIRED:
            self._retired.clear()
        self._retired.add(sub_id)

    def _open(self, wanted: list[Filter]) -> tuple[list[str], list[str]]:
        """The REQs for these filters, and the ids of the new subscriptions."""
        texts: list[str] = []
        new_ids: list[str] = []
        for filters in _packed(wanted, self.shape):
            self._last_number += 1
            sub = _Subscription(f"satmachine-{self._last_number}", filters, self.shape)
            self._subscriptions[sub.id] = sub
            texts.append(req(sub.id, filters))
            new_ids.append(sub.id)
        return texts, new_ids


def _authors_of(filters: Iterable[Filter]) -> set[str]:
    return {author for wanted in filters for author in wanted.authors}


def _narrowed(filters: Iterable[Filter], authors: frozenset[str]) -> list[Filter]:
    """The filters with only these authors; filters that are then empty are dropped."""
    narrowed = ((wanted, tuple(a for a in wanted.authors if a in authors)) for wanted in filters)
    return [replace(wanted, authors=kept) for wanted, kept in narrowed if kept]


def _packed(wanted: Iterable[Filter], shape: Shape) -> list[tuple[Filter, ...]]:
    """The same requests in filters and REQs of this shape; those that differ only in authors are merged."""
    authors: dict[tuple[tuple[int, ...], int | None], set[str]] = defaultdict(set)
    for each in wanted:
        everything = _ALL_KINDS + _LIST_KINDS if shape.relay_lists else _ALL_KINDS
        kinds, since = (everything, None) if shape.combined else (each.kinds, each.since)
        authors[kinds, since].update(each.authors)
    filters = [
        Filter(kinds, chunk, since, shape.stored_telemetry if kinds == _TELEMETRY_KINDS else None)
        for (kinds, since), everyone in authors.items()
        for chunk in _chunks(sorted(everyone), shape.authors_per_filter)
    ]
    return list(_chunks(filters, shape.filters_per_req))


def _chunks(items: Sequence[_T], size: int) -> Iterator[tuple[_T, ...]]:
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])

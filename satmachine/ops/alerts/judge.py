"""What is news. Pure: what is known and what is seen in, changes out.

An alarm is raised when its condition has held for `raise_after_s`, and ends when it has been gone for `clear_after_s`;
anything that begins anew meanwhile starts the wait anew. So what flaps raises one alarm, which ends once it is quiet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

#: (what it concerns, what is wrong)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A condition as it looks now. `holds` None: in between two limits, which changes nothing (a level that hovers)."""

    holds: bool | None
    detail: str = ""
    raise_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is known of an alarm; see the columns of `alerts`."""

    subject: str
    condition: str
    raised: bool
    since: int | None
    changed_at: int
    detail: str

    @property
    def key(self) -> Key:
        return self.subject, self.condition


@dataclass(frozen=True, slots=True)
class Step:
    """An alarm as it is from now on; `news`: the operator is to be told."""

    alert: Alert
    news: bool


def steps(known: Mapping[Key, Alert], seen: Mapping[Key, Sighting], *, clear_after_s: int, now: int) -> Iterator[Step]:
    """Every alarm that changes in the books. What is no longer seen at all (a machine that was dropped) has ended."""
    for key in known.keys() | seen.keys():
        alert = known.get(key) or Alert(*key, raised=False, since=None, changed_at=now, detail="")
        step = _judge_one(alert, seen.get(key, Sighting(holds=False)), clear_after_s, now)
        if step.alert != known.get(key) and not _is_nothing(step.alert, key in known):
            yield step


def _judge_one(alert: Alert, sighting: Sighting, clear_after_s: int, now: int) -> Step:
    if sighting.holds is None:
        return Step(alert, news=False)
    if sighting.holds == alert.raised:
        # As told. Only the words may have changed, and a wait that had begun is over.
        detail = sighting.detail if sighting.holds else alert.detail
        return Step(replace(alert, since=None, detail=detail), news=False)
    since = now if alert.since is None else alert.since
    wait_s = sighting.raise_after_s if sighting.holds else clear_after_s
    if now - since < wait_s:
        return Step(replace(alert, since=since), news=False)
    detail = sighting.detail if sighting.holds else alert.detail
    return Step(replace(alert, raised=sighting.holds, since=None, changed_at=now, detail=detail), news=True)


def _is_nothing(alert: Alert, known: bool) -> bool:
    """A quiet alarm that was never written needs no row."""
    return not known and not alert.raised and alert.since is None

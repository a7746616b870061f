"""What is news. Pure: from what is known and what is seen to the changes.

An alarm is raised when its condition has held for `raise_after_s`, and ends when it has been gone for `clear_after_s`;
if it changes again in between, the wait starts again. So a condition that comes and goes raises one alarm, which ends
once it is quiet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

#: (what it concerns, what is wrong)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ConditionState:
    """A condition as it looks now. `holds` None: between two limits, which changes nothing (a level that hovers)."""

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
class AlertStep:
    """An alarm as it is from now on; `news`: the operator must be told."""

    alert: Alert
    news: bool


def steps(
    known: Mapping[Key, Alert], seen: Mapping[Key, ConditionState], *, clear_after_s: int, now: int
) -> Iterator[AlertStep]:
    """Every alarm that changes in the books. What is no longer seen at all (a machine that was removed) has ended."""
    for key in known.keys() | seen.keys():
        alert = known.get(key) or Alert(*key, raised=False, since=None, changed_at=now, detail="")
        step = _judge_one(alert, seen.get(key, ConditionState(holds=False)), clear_after_s, now)
        if step.alert != known.get(key) and not _is_nothing(step.alert, key in known):
            yield step


def _judge_one(alert: Alert, sighting: ConditionState, clear_after_s: int, now: int) -> AlertStep:
    if sighting.holds is None:
        return AlertStep(alert, news=False)
    if sighting.holds == alert.raised:
        # As already sent. Only the words may have changed, and a wait that had begun is over.
        detail = sighting.detail if sighting.holds else alert.detail
        return AlertStep(replace(alert, since=None, detail=detail), news=False)
    since = now if alert.since is None else alert.since
    wait_s = sighting.raise_after_s if sighting.holds else clear_after_s
    if now - since < wait_s:
        return AlertStep(replace(alert, since=since), news=False)
    detail = sighting.detail if sighting.holds else alert.detail
    return AlertStep(replace(alert, raised=sighting.holds, since=None, changed_at=now, detail=detail), news=True)


def _is_nothing(alert: Alert, known: bool) -> bool:
    """A quiet alarm that was never stored needs no row."""
    return not known and not alert.raised and alert.since is None

"""The words of an alarm, for an operator at 2 a.m. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from satmachine.attention.items import CONDITIONS

#: The conditions that are sent as alarms; docs/alerts.md says more about each.
WORDS = {name: condition for name, condition in CONDITIONS.items() if condition.is_alarm}


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """One change of one alarm, as it is delivered. `id` stays the same when it is sent again."""

    id: int
    created_at: int
    channel: str
    subject: str
    condition: str
    raised: bool
    detail: str
    attempts: int


def text_of(message: AlertMessage) -> str:
    """A sentence or two, and what helps."""
    words = CONDITIONS[message.condition]
    who = message.subject or "satmachine"
    if not message.raised:
        return f"OK: {who}: {words.ended}."
    detail = message.detail or f"{who}: {words.started}"
    return f"ALARM: {detail}. What to do: {words.command}"


def json_of(message: AlertMessage) -> dict[str, object]:
    """For programs. By its `id` a message that arrives twice is recognised."""
    return {
        "id": message.id,
        "at": datetime.fromtimestamp(message.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "subject": message.subject,
        "condition": message.condition,
        "state": "raised" if message.raised else "cleared",
        "detail": message.detail,
        "command": CONDITIONS[message.condition].command,
        "text": text_of(message),
    }

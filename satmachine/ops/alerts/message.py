"""The words of an alarm, for an operator at 2 a.m. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

#: {condition: (what has started, what has ended, what to do)}; docs/operations.md says more.
WORDS = {
    "settlement_errored": (
        "payments failed",
        "no failed payments any more",
        "satmachine status shows them, each with its reason",
    ),
    "settlement_held": (
        "sales are held and wait for you",
        "no held sales any more",
        "satmachine settlements list --status held",
    ),
    "machine_silent": ("silent", "heard of again", "look whether it has power and network"),
    "cassette_low": ("low on cash", "cash is refilled", "refill it: satmachine telemetry latest"),
    "cash_out_soon": ("runs out of cash soon", "has cash for longer again", "satmachine forecast says what to load"),
    "relay_quiet": ("relay does not deliver", "relay delivers again", "satmachine doctor; name a second relay"),
    "wallet_low": ("wallet is low", "wallet is filled again", "top up the machine's wallet"),
    "wallet_unreachable": ("wallet cannot be reached", "wallet answers again", "satmachine doctor; is LNbits running?"),
    "safe_mode": ("pays nothing (safe mode)", "has left safe mode", "satmachine audit; docs/operations.md, Safe mode"),
    "books_broken": ("the books do not add up", "the books add up again", "satmachine audit"),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One change of one alarm, as it is delivered. `id` stays the same when it is sent again."""

    id: int
    created_at: int
    channel: str
    subject: str
    condition: str
    raised: bool
    detail: str
    attempts: int


def text_of(message: Message) -> str:
    """A sentence or two, and what helps."""
    started, ended, remedy = WORDS[message.condition]
    who = message.subject or "satmachine"
    if not message.raised:
        return f"OK: {who}: {ended}."
    detail = f": {message.detail}" if message.detail else ""
    return f"ALARM: {who}: {started}{detail}. What to do: {remedy}."


def json_of(message: Message) -> dict[str, object]:
    """For programs. `id` tells a message that came twice."""
    return {
        "id": message.id,
        "at": datetime.fromtimestamp(message.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "subject": message.subject,
        "condition": message.condition,
        "state": "raised" if message.raised else "cleared",
        "detail": message.detail,
        "text": text_of(message),
    }

"""Cash in the machines and how long it lasts, as the pages show it: from the cash book, or else as the machine says;
and the forecast that the daemon stores every hour (SPEC section 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from satmachine.cash import outlook
from satmachine.cash.forecast import DAY_S, RunOut
from satmachine.store import cash_rows
from satmachine.web.views.base import Look

#: For how many days the notes should last.
LOAD_DAYS = 14


def by_machine(look: Look, machine_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{machine: its cash, who says so, and how many days it lasts} of these machines, where they are in scope."""
    return {
        row["machine_id"]: {
            "cash_minor": row["cash_minor"],
            "cash_source": row["source"],
            "days_left": days_left(row["early_at"], row["likely_at"], look.now),
            **{name: row[name] for name in ("early_at", "likely_at", "late_at", "open_differences")},
        }
        for row in cash_rows.now_rows(look.conn, look.scope, machine_ids)
    }


def days_left(early_at: int | None, likely_at: int | None, now: int) -> int | None:
    """Whole days until the cash is probably used up; None: longer than the forecast goes, or not known."""
    at = likely_at if likely_at is not None else early_at
    return None if at is None else max(0, (at - now) // DAY_S)


def of_machine(look: Look, machine_id: str) -> dict[str, Any] | None:
    """One machine's days ahead, computed now: when it runs out, what to load, each kind of note, each LP's balance."""
    found = outlook.whole(look.conn, machine_id, look.now, LOAD_DAYS)
    if found is None:
        return None
    return {
        "currency": found.currency,
        "cash_minor": found.cash_minor,
        "source": found.source,
        "sure": str(found.forecast.sure),
        "per_day_minor": None if found.forecast.profile is None else found.forecast.profile.per_day,
        "load_days": LOAD_DAYS,
        "load_minor": found.load_minor(LOAD_DAYS),
        "days_left": days_left(found.run_out.early_at, found.run_out.likely_at, look.now),
        **_ends(found.run_out),
        "notes": [
            {"denomination_minor": one.denomination_minor, "notes": one.notes, "known": one.known, **_ends(one.run_out)}
            for one in found.notes
        ],
        "clients": [
            {"client_id": one.holding.client_id, "label": one.holding.label, **_ends(one.run_out)}
            for one in found.clients
        ],
        "open_differences": cash_rows.count_differing(look.conn, machine_id),
    }


def _ends(run_out: RunOut) -> dict[str, int | None]:
    return {"early_at": run_out.early_at, "likely_at": run_out.likely_at, "late_at": run_out.late_at}

"""When an LNbits needs its tuning (docs/lnbits-tuning.md), and the files for it (contrib/lnbits).

LNbits adds up payments to find a balance, several times in every call: on SQLite, without tuning, all that it has ever
stored. The time of one wallet's read, less that of a call that reads nothing, shows it on any computer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Final

from satmachine.ops.findings import CheckResult, Finding

#: By how much one wallet's read may be slower than a call that reads nothing: each payment makes about five of them.
SLOW_READ_MS: Final = 40.0
#: From this number of payments on, the tuning is useful if reads are no longer quick, ..
MANY_PAYMENTS: Final = 10_000
#: .. which means this; on PostgreSQL most of the cost comes after each payment and does not show here.
NOT_QUICK_MS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured: milliseconds for a wallet's read and for a call that reads nothing, each the median of
    several; how many payments the machines' wallets have, None if LNbits could not count them. There may be more."""

    read_ms: float
    plain_ms: float
    payments: int | None

    @property
    def cost_ms(self) -> float:
        return max(0.0, self.read_ms - self.plain_ms)


class Tuning(StrEnum):
    """The files; `sqlite-1.5` has what `sqlite` does, and what LNbits can use from 1.5 on."""

    SQLITE = "sqlite"
    SQLITE_1_5 = "sqlite-1.5"
    POSTGRESQL = "postgresql"


def needs_tuning(speed: Speed) -> bool:
    many = speed.payments is not None and speed.payments >= MANY_PAYMENTS
    return speed.cost_ms >= (NOT_QUICK_MS if many else SLOW_READ_MS)


def finding(speed: Speed, url: str, *, external_id: bool) -> Finding:
    """The doctor's line. `external_id`: whether it is LNbits 1.5 or newer."""
    told = f"LNbits needs {speed.cost_ms:.0f} ms to find a wallet's balance"
    if speed.payments is not None:
        told += f"; your machines' wallets have {speed.payments:,} payments"
    if not needs_tuning(speed):
        return Finding("speed", url, CheckResult.OK, told)
    detail = f"{told}. It adds up old payments several times in every call, and every sale waits for that"
    return Finding("speed", url, CheckResult.WARNING, detail, _how(Tuning.SQLITE_1_5 if external_id else Tuning.SQLITE))


def _how(sqlite: Tuning) -> str:
    return (
        f"LNbits on SQLite: `satmachine doctor --tuning {sqlite}`; on PostgreSQL: "
        f"`satmachine doctor --tuning {Tuning.POSTGRESQL}`; they print what to run while LNbits is stopped, and how. "
        "No balance is changed (docs/lnbits-tuning.md). If you have done this already, it cannot get faster"
    )


def text(tuning: Tuning) -> str:
    """The SQL to run on a stopped LNbits, with what it does and how to undo it."""
    names = ("sqlite", "sqlite-1.5") if tuning is Tuning.SQLITE_1_5 else (tuning.value,)
    return "\n".join(_shipped(f"{name}.sql") for name in names)


def _shipped(name: str) -> str:
    shipped = resources.files("satmachine") / "lnbits" / name
    if shipped.is_file():
        return shipped.read_text("utf-8")
    return (Path(__file__).parents[2] / "contrib" / "lnbits" / name).read_text("utf-8")

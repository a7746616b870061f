"""The least that any payer needs: two calls a leg, create and pay, by one client, one call after another.

It stores nothing and checks only the status. What it takes, and what LNbits takes for it, is what others are held to.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from bench.fleet import cpu_s
from testkit.lnbits import LnbitsServer, WalletKeys

LEGS_PER_SALE = 6
CALL_TIMEOUT_S = 120.0
#: A sale of 1,800 GTQ.
SALE: Mapping[str, object] = {
    "gross_sats": 266_800,
    "net_sats": 258_835,
    "fee_sats": 7_965,
    "exchange_rate": 143.797,
    "fiat_amount": 1800,
    "currency": "GTQ",
}
#: What becomes of its sats. Later sales differ by a sat or so from leg to leg.
PAID: Mapping[str, int] = {
    "super": 2_390,
    "owner": 3_902,
    "technician": 1_673,
    "alice": 129_418,
    "bruno": 77_650,
    "carla": 51_767,
}

#: A line of LNbits' access log: the method, the path, and the filter that comes first.
_LOGGED_CALL = re.compile(r'"(GET|POST|PUT|DELETE) /api/v1/([a-z/]+)(?:\?([a-z_]+))?\S* HTTP/')


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds on the clock, of LNbits' processor time and of the client's own, and the calls that LNbits has logged."""

    wall_s: float
    lnbits_cpu_s: float
    own_cpu_s: float
    calls: Counter[str]


def time_bare(lnbits: LnbitsServer, payees: Mapping[str, WalletKeys], payer: WalletKeys, sales: int) -> Timing:
    """The least that any payer needs: an invoice and its payment for each leg, one call after another."""
    with httpx.Client(base_url=lnbits.url, trust_env=False, timeout=CALL_TIMEOUT_S) as http:
        http.get("/api/v1/wallet", headers={"X-Api-Key": payer.admin_key}).raise_for_status()  # it is connected
        time.sleep(0.5)
        stopwatch = Stopwatch.start(lnbits, os.getpid())
        for _ in range(sales):
            for name, sats in PAID.items():
                bolt11 = _post(http, payees[name].invoice_key, _invoice_of(name, sats))["bolt11"]
                _post(http, payer.admin_key, {"out": True, "bolt11": bolt11, **_labels(name)})
        return stopwatch.stop()


def _invoice_of(name: str, sats: int) -> dict[str, object]:
    order = {"out": False, "unit": "sat", "amount": sats, "memo": "bare loop", "internal": True, "expiry": 86_400}
    return {**order, **_labels(name)}


def _labels(name: str) -> dict[str, object]:
    return {"extra": {"leg_key": f"bare:{name}"}, "external_id": f"bare:{name}"}


def _post(http: httpx.Client, key: str, body: Mapping[str, object]) -> dict[str, object]:
    answer = http.post("/api/v1/payments", json=body, headers={"X-Api-Key": key})
    found: dict[str, object] = answer.raise_for_status().json()
    return found


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """What LNbits and a client (by its process) have spent when it was started."""

    lnbits: LnbitsServer
    lnbits_pid: int
    own_pid: int
    began: Timing

    @classmethod
    def start(cls, lnbits: LnbitsServer, own_pid: int) -> Stopwatch:
        assert lnbits._process is not None
        pid = lnbits._process.pid
        return cls(lnbits, pid, own_pid, _spent(lnbits, pid, own_pid))

    def stop(self) -> Timing:
        """What was spent since."""
        now, then = _spent(self.lnbits, self.lnbits_pid, self.own_pid), self.began
        return Timing(
            now.wall_s - then.wall_s,
            now.lnbits_cpu_s - then.lnbits_cpu_s,
            now.own_cpu_s - then.own_cpu_s,
            now.calls - then.calls,
        )


def _spent(lnbits: LnbitsServer, lnbits_pid: int, own_pid: int) -> Timing:
    """So far: the clock, two processes, and the calls by method and path in LNbits' access log."""
    wall_s = time.perf_counter()
    found = _LOGGED_CALL.findall(lnbits.log.read_text(errors="replace"))
    calls = Counter(f"{method} {path}" + (f"?{wanted}" if wanted else "") for method, path, wanted in found)
    return Timing(wall_s, cpu_s(lnbits_pid), cpu_s(own_pid), calls)

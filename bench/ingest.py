"""Events from relays to durable rows: satmachine, other clients, and a bare loop that only verifies, in turn.

The relay is a process of its own that has every frame ready. Each client is a fresh process; a round runs all of them,
one after the other, and its ratios are against the bare loop of that round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import pieces
from bench.report import Figure, Section, median, spread
from satmachine.nostr.event import BEACON_KIND, SETTLEMENT_KIND, sign
from testkit.relays import Machine

EVENTS, MACHINES, ROUNDS = 30_000, 1_000, 5
#: How often the relay sends everything again, to see what a copy costs.
COPIES = 5
PATIENCE_S = 300

ABOUT = (
    "Signed events of {machines:,} machines ({events:,}), from a relay process that has all frames ready, until the "
    "last row is synced to the disk; batches of 500 or 50 ms, as in live use. Every client keeps the same row of an "
    "event in the same table; the lines with 'landed' and 'merged' are the daemon's own tables, with a longer queue. "
    "Ratios: speed over that of a bare coincurve verify loop over the sales of the same round; medians of "
    "{rounds} rounds, with lowest and highest. pynostr {pynostr}, nostr-sdk {sdk}."
)


@dataclass(frozen=True, slots=True)
class Case:
    """One line: a client, how many relays send everything, and what is hoped for."""

    name: str
    client: str
    relays: int = 1
    copies: int = 0
    kind: int = SETTLEMENT_KIND
    at_least: float | None = None


CASES = (
    Case("satmachine, one relay", "satmachine", at_least=0.50),
    Case("pynostr RelayManager, one relay", "pynostr"),
    Case("nostr-sdk client, one relay", "nostr_sdk"),
    Case("satmachine, three relays", "satmachine", relays=3, at_least=0.40),
    Case("pynostr RelayManager, three relays", "pynostr", relays=3),
    Case("nostr-sdk client, three relays", "nostr_sdk", relays=3),
    Case("satmachine, while copies of all follow at once", "satmachine", copies=COPIES),
    Case("satmachine, sales landed as settlements", "daemon"),
    Case("satmachine, beacons merged into states", "daemon", kind=BEACON_KIND),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One client's run: `took_s` from the relay's first frame to the last row on the disk; then `copies_s`."""

    took_s: float
    stored: int
    copies_s: float


def run(quick: bool, say: Callable[[str], None]) -> list[Section]:
    events, machines, rounds = (500, 10, 1) if quick else (EVENTS, MACHINES, ROUNDS)
    cases = [case for case in CASES if not quick or case.relays == 1 or case.at_least is not None]
    taken: dict[Case, list[Run]] = {case: [] for case in cases}
    bare_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        paths = {kind: Path(folder) / f"{kind}.jsonl" for kind in (SETTLEMENT_KIND, BEACON_KIND)}
        for kind, path in paths.items():
            write_events(path, kind, events, machines)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            before = bare(paths[SETTLEMENT_KIND], events)
            for case in cases:
                taken[case].append(one(case, paths[case.kind], events))
            bare_s.append((before + bare(paths[SETTLEMENT_KIND], events)) / 2)
        say("where the time goes")
        where = pieces.run(paths[SETTLEMENT_KIND])
    about = ABOUT.format(
        events=events, machines=machines, rounds=rounds, pynostr=version("pynostr"), sdk=version("nostr-sdk")
    )
    figures = [Figure("bare verify loop", f"{events / median(bare_s):,.0f}/s", "1")]
    figures += [figure(case, taken[case], bare_s, events) for case in cases]
    figures += comparisons(taken, bare_s)
    return [Section("Ingest", about, figures), where]


def figure(case: Case, runs: Sequence[Run], bare_s: Sequence[float], events: int) -> Figure:
    """What was stored counts: a client that loses events is not quicker by that."""
    ratios = [run.stored / events * bare / run.took_s for run, bare in zip(runs, bare_s, strict=True)]
    speed = f"{median([run.stored / run.took_s for run in runs]):,.0f}/s"
    lost = max(events - run.stored for run in runs)
    value = speed if not lost else f"{speed}, {lost:,} lost"
    target = "" if case.at_least is None else f">= {case.at_least:.2f}"
    met = None if case.at_least is None else median(ratios) >= case.at_least and not lost
    return Figure(case.name, value, spread(ratios), target, met)


def comparisons(taken: dict[Case, list[Run]], bare_s: Sequence[float]) -> list[Figure]:
    ours, pynostr, sdk = (taken[case] for case in CASES[:3])
    copied = next(runs for case, runs in taken.items() if case.copies)

    def quicker(others: Sequence[Run]) -> list[float]:
        return [(a.stored / a.took_s) / (b.stored / b.took_s) for a, b in zip(ours, others, strict=True)]

    copies = [COPIES * bare / run.copies_s for run, bare in zip(copied, bare_s, strict=True)]
    return [
        _at_least("satmachine over pynostr", quicker(pynostr), 2.5),
        _at_least("satmachine over nostr-sdk", quicker(sdk), 4),
        _at_least("copies of events that were seen, over the bare loop", copies, 3),
    ]


def _at_least(name: str, ratios: Sequence[float], target: float) -> Figure:
    return Figure(name, "", spread(ratios, 1), f">= {target:g}", median(ratios) >= target)


def one(case: Case, events: Path, count: int) -> Run:
    """Start a relay and a client, and wait for the client's last row."""
    command = [sys.executable, "-m", "bench.flood", str(events)]
    command += ["--relays", str(case.relays), "--times", str(1 + case.copies)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            urls = json.loads(relay.stdout.readline())["urls"]
            result = _client(case.client, events, count, urls, case.copies)
        finally:
            relay.kill()
        started_at = json.loads(relay.stdout.readline())["started_at"]
    return Run(result["done_at"] - started_at, int(result["stored"]), result["copies_s"])


def bare(events: Path, count: int) -> float:
    """Seconds that the bare loop takes."""
    return _client("bare", events, count, [], 0)["took_s"]


def _client(name: str, events: Path, count: int, urls: Sequence[str], copies: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.clients", name, str(events), *urls, "--count", str(count)]
    command += ["--copies", str(copies)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(f"bench.clients {name} ended with {done.returncode}:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_events(path: Path, kind: int, count: int, machines: int) -> None:
    """Signed events, in turn by each machine, a line of JSON each."""
    keys = [Machine() for _ in range(machines)]
    now = int(time.time())
    with path.open("w", encoding="utf-8") as lines:
        for i in range(count):
            content = _sale(i) if kind == SETTLEMENT_KIND else _beacon(i)
            tags = [["d", "beacon"]] if kind == BEACON_KIND else []
            event = sign(kind, json.dumps(content), tags, now - 60 + i // machines, keys[i % machines].secret)
            lines.write(event.to_json() + "\n")


def _sale(number: int) -> dict[str, object]:
    return {
        "source": "bitspire",
        "gross_sats": 266_800,
        "net_sats": 258_835,
        "fee_sats": 7_965,
        "exchange_rate": 3_888.7,
        "fiat_amount": 66.56,
        "currency": "GTQ",
        "payment_hash": f"{number:064x}",
        "txid": f"sale-{number}",
    }


def _beacon(number: int) -> dict[str, object]:
    cassettes = [
        {"denomination": 100, "count": number % 400, "capacity": 500},
        {"denomination": 50, "count": 210, "capacity": 500},
    ]
    return {"status": "online", "software_version": "10.1.2", "cassettes": cassettes, "uptime": number}

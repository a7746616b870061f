"""`satmachine doctor`: whether everything that the daemon needs is in order. Reads, asks, and changes nothing.

A check yields findings: what was checked, its state, and what to do about it. Nobody is paid, no invoice is made, and
no message contains a key. Checks of the host are plain functions; those that ask others run at the same time.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx

from satmachine.config import Config
from satmachine.errors import StoreError
from satmachine.ops import host_check, payee_check, wallet_check
from satmachine.ops.findings import CheckResult, Finding
from satmachine.ops.relay_check import RelayReport, ask_relay
from satmachine.relay_lists import Wanted, relays_of
from satmachine.store import clients, relay_list_rows, wallet_rows
from satmachine.store.database import connect
from satmachine.wallet.transport import PLAIN

#: How much this clock may differ from others': machines' events are judged by it.
MAX_SKEW_S = 30
SLOW_RELAY_MS = 2_000
_HTTP_TIMEOUT_S = 10.0

Clock = Callable[[], float]


async def examine(
    config: Config, *, clock: Clock = time.time, disk_usage: host_check.DiskUsage = shutil.disk_usage
) -> list[Finding]:
    """Every finding, in the order of the table. `clock` gives Unix seconds."""
    findings = [
        *host_check.keys(config),
        *host_check.database(config),
        *host_check.permissions(config),
        *host_check.disk(config, disk_usage),
    ]
    known_wallets, lps, lists = _from_books(config)
    wanted = relays_of(config, {machine_id: told["relays"] for machine_id, told in lists.items()})
    relays = sorted({*config.nostr.relays, *wanted.relays})
    payees = [*_external(config), *lps]
    found: dict[str, list[Finding]] = {}
    dates: dict[str, float] = {}

    async def check_relay(url: str) -> None:
        found[url] = await _relay(config, url, wanted, http, clock, dates)

    async def check_wallets() -> None:
        found["wallets"] = await wallet_check.wallets(config, known_wallets)

    async def check_payees() -> None:
        found["payees"] = await payee_check.check(config, payees)

    async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S) as http, anyio.create_task_group() as tasks:
        for url in relays:
            tasks.start_soon(check_relay, url)
        tasks.start_soon(check_wallets)
        tasks.start_soon(check_payees)
        tasks.start_soon(_note_date, http, config.lnbits.url, clock, dates)
    for url in relays:
        findings += found[url]
    findings += _relay_lists(config, lists)
    payee_findings = found["payees"]
    if any(finding.check == "lnbits" and finding.verdict is CheckResult.UNREACHABLE for finding in found["wallets"]):
        payee_findings = [one for one in payee_findings if one.detail.find(config.lnbits.url) < 0]  # said once
    return [*findings, *found["wallets"], *payee_findings, _clock(dates)]


def _from_books(config: Config) -> tuple[dict[str, str], list[payee_check.Named], dict[str, dict[str, Any]]]:
    """The machines' wallets as the books know them, every LP's payee, and the machines' own lists of relays if they
    count; nothing if there are no books yet."""
    machines = {machine.id for machine in config.machines}
    try:
        with closing(connect(config.database.path, read_only=True)) as conn:
            lps = [one for one in clients.find(conn) if one.machine_id in machines]
            known = {name: wallet_id for name in machines if (wallet_id := wallet_rows.wallet_id(conn, name))}
            told = {name: relay_list_rows.of_machine(conn, name) for name in machines if config.nostr.discover_relays}
    except (StoreError, sqlite3.DatabaseError):
        return {}, [], {}  # host_check.database says so
    payees = [(f"LP {one.label} of {one.machine_id}", one.payee_kind, one.payee) for one in lps]
    payees += [
        (f"forwarding for {one.label} of {one.machine_id}", payee_check.FORWARD_KEY, one.autoforward_key_file)
        for one in lps
        if one.autoforward_key_file is not None
    ]
    return known, payees, {name: found for name, found in sorted(told.items()) if found is not None}


def _external(config: Config) -> Iterator[payee_check.Named]:
    """The Lightning addresses and LNURLs in the configuration."""
    holders = [(one.id, one.splits) for one in config.operators] + [(one.id, one.splits) for one in config.machines]
    named = [(f"payee {split.label} of {holder}", split.payee) for holder, splits in holders for split in splits]
    if config.super_.payee is not None:
        named.insert(0, ("payee super", config.super_.payee))
    for subject, payee in named:
        if payee.lightning_address is not None:
            yield subject, "lightning_address", payee.lightning_address
        elif payee.lnurl is not None:
            yield subject, "lnurl", payee.lnurl


def exit_code(findings: list[Finding]) -> int:
    """1 if something is wrong here, 4 if only somebody could not be reached, else 0 (SPEC section 10)."""
    verdicts = {finding.verdict for finding in findings}
    if CheckResult.PROBLEM in verdicts:
        return 1
    return 4 if CheckResult.UNREACHABLE in verdicts else 0


# --- the clock


def _clock(dates: Mapping[str, float]) -> Finding:
    """`dates`: by how many seconds this clock is ahead of others'. The smallest difference counts."""
    if not dates:
        return Finding(
            "clock", "this host", CheckResult.UNKNOWN, "no server was reached to compare it with", "timedatectl"
        )
    host, ahead_s = min(dates.items(), key=lambda item: abs(item[1]))
    if abs(ahead_s) <= MAX_SKEW_S:
        return Finding("clock", "this host", CheckResult.OK, f"agrees with {host}")
    direction = "ahead of" if ahead_s > 0 else "behind"
    detail = f"{abs(ahead_s):.0f} s {direction} {' and '.join(sorted(dates))}: sales would be refused as too old or new"
    return Finding("clock", "this host", CheckResult.PROBLEM, detail, "timedatectl set-ntp true")


async def _note_date(http: httpx.AsyncClient, url: str, clock: Clock, dates: dict[str, float]) -> None:
    """Compare this clock with the `Date` of a server's answer, whatever it answers."""
    asked_at = clock()
    try:
        async with http.stream("GET", url, headers={"Accept": "application/nostr+json", **PLAIN}) as answer:
            pass  # the head is enough
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return
    middle = (asked_at + clock()) / 2
    dates[httpx.URL(url).host] = middle - told


# --- relays


async def _relay(
    config: Config, url: str, wanted: Wanted, http: httpx.AsyncClient, clock: Clock, dates: dict[str, float]
) -> list[Finding]:
    authors = sorted(wanted.relays.get(url, ()))
    secret = wallet_check.resolved(config.nostr.secret_key, config)
    if url in wanted.named:
        public_only = not config.nostr.discover_private
        report = await ask_relay(url, authors, http, secret=secret, clock=clock, public_only=public_only)
        return [_named_finding(url, report)]
    report = await ask_relay(url, authors, http, secret=secret, clock=clock)
    await _note_date(http, url.replace("ws", "http", 1), clock, dates)
    return list(_relay_findings(url, report, has_key=config.nostr.secret_key is not None, authors=len(authors)))


def _named_finding(url: str, report: RelayReport) -> Finding:
    """Nothing depends on a relay that only machines name."""
    if report.latency_ms is not None and not report.problem:
        return Finding(
            "relay", url, CheckResult.OK, f"answers in {report.latency_ms:.0f} ms; machines name it themselves"
        )
    fix = "nothing depends on it; check the list of the machine that names it"
    return Finding("relay", url, CheckResult.WARNING, f"machines name it themselves, but: {report.problem}", fix)


def _relay_lists(config: Config, lists: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    """Relays on which machines say that they publish, but which the daemon does not use."""
    for machine_id, told in lists.items():
        for url, why in told["refused"].items():
            fix = f'if it is right, name it yourself: relays in [[machines]] "{machine_id}" of {config.path}'
            detail = f"says that it publishes on {url}, which the daemon does not use: {why}"
            yield Finding("relay list", machine_id, CheckResult.WARNING, detail, fix)


def _relay_findings(url: str, report: RelayReport, *, has_key: bool, authors: int) -> Iterator[Finding]:
    if report.latency_ms is None:
        fix = "check the name and this host's network; if the relay is gone, name another one in [nostr] relays"
        yield Finding("relay", url, CheckResult.UNREACHABLE, report.problem, fix)
        return
    asks = "; asks who you are (NIP-42)" if report.asks_auth else ""
    limits = f"; {report.limits}" if report.limits else ""
    told = f"answers in {report.latency_ms:.0f} ms{asks}{limits}"
    if report.problem and report.asks_auth and not has_key:
        fix = "set [nostr] secret_key; the relay's owner may have to allow its public key"
        yield Finding(
            "relay", url, CheckResult.PROBLEM, f"asks who you are, but there is no key: {report.problem}", fix
        )
    elif report.problem:
        fix = "ask the relay's owner to allow this daemon's key, or name another relay"
        yield Finding("relay", url, CheckResult.PROBLEM, f"refuses the subscription: {report.problem}", fix)
    elif report.latency_ms > SLOW_RELAY_MS:
        yield Finding("relay", url, CheckResult.WARNING, f"slow: {told}", "name a second relay that is closer")
    elif report.max_message_bytes and report.max_message_bytes < 100 + 67 * min(authors, 250):
        yield Finding("relay", url, CheckResult.WARNING, f"accepts only short messages: {told}", "name a second relay")
    else:
        yield Finding("relay", url, CheckResult.OK, told)

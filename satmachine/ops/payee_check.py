"""Can a payee be paid? Asked when one is entered, and by the doctor: does it resolve, does it answer, is its key that
of a wallet of this LNbits, and may the *daemon's* user read it. Nobody is paid, no invoice is made."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

import anyio

from satmachine.config import Config, Secret
from satmachine.errors import ConfigError, WalletError, WalletRefused
from satmachine.ops.findings import Finding, Verdict
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient

#: The user that the unit file names.
SERVICE_USER = "satmachine"
_TIMEOUT_S = 10
_AT_ONCE = 5

#: (subject, kind, payee) as `dca_clients` keeps them: an address, an LNURL, or the file of an invoice key.
Named = tuple[str, str, str]


async def check(config: Config, payees: Iterable[Named]) -> list[Finding]:
    """A finding for each payee, in order; each address is asked once."""
    found: dict[Named, Finding] = {}
    gate = anyio.CapacityLimiter(_AT_ONCE)
    settings = config.lnbits
    lnurl = LnurlClient(timeout_s=_TIMEOUT_S, allow_private=config.lnurl.allow_private_hosts)

    async def look(named: Named) -> None:
        async with gate:
            subject, kind, payee = named
            if kind == "invoice_key_file":
                found[named] = await _key(lnbits, subject, Path(payee), config)
            else:
                found[named] = await _address(lnurl, subject, payee, hidden=kind == "lnurl")

    named_payees = list(dict.fromkeys(payees))
    async with (
        Lnbits(settings.url, timeout_s=min(settings.timeout_s, _TIMEOUT_S), instance_id="check") as lnbits,
        anyio.create_task_group() as tasks,
    ):
        for named in named_payees:
            tasks.start_soon(look, named)
    return [found[named] for named in named_payees]


async def _address(lnurl: LnurlClient, subject: str, payee: str, *, hidden: bool) -> Finding:
    told = "its LNURL" if hidden else payee
    try:
        offer = await lnurl.resolve(payee)
    except WalletError as error:
        detail = f"{told} cannot be paid" if hidden else str(error)
        verdict = Verdict.PROBLEM if isinstance(error, WalletRefused) else Verdict.UNREACHABLE
        fix = "ask its owner whether it is written right; until it answers, its payments wait and are tried on"
        return Finding("payee", subject, verdict, detail, fix)
    most, least = offer.max_sendable_msat // 1000, -(-offer.min_sendable_msat // 1000)
    return Finding("payee", subject, Verdict.OK, f"{told} answers, and takes {least} to {most} sats")


async def _key(lnbits: Lnbits, subject: str, path: Path, config: Config) -> Finding:
    if problem := unreadable_to_service(path):
        return Finding("payee", subject, Verdict.PROBLEM, problem, f"chgrp {SERVICE_USER} {path}; chmod 640 {path}")
    try:
        key = Secret("file", str(path), source="payee", place="payee").resolve(config.environ)
        wallet = await lnbits.wallet(key)
    except ConfigError as error:
        if isinstance(error.__cause__, PermissionError) or not os.access(path, os.R_OK):
            detail = f"this user may not read {path}, so that its wallet is not checked"
            return Finding("payee", subject, Verdict.UNKNOWN, detail, "run this with sudo")
        return Finding("payee", subject, Verdict.PROBLEM, "; ".join(error.problems), f"look at {path}")
    except WalletRefused:
        detail = f"the key in {path} is of no wallet of {config.lnbits.url}"
        return Finding(
            "payee", subject, Verdict.PROBLEM, detail, "copy the wallet's Invoice/read key from LNbits again"
        )
    except WalletError as error:
        return Finding("payee", subject, Verdict.UNREACHABLE, str(error), "start LNbits, or correct [lnbits] url")
    return Finding("payee", subject, Verdict.OK, f'"{wallet.name}", a wallet of this LNbits')


def unreadable_to_service(path: Path) -> str:
    """Why the daemon's user may not read a file; empty where it may, or where that cannot be known here."""
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return ""
    groups = {user.pw_gid, *os.getgrouplist(SERVICE_USER, user.pw_gid)}
    try:
        for folder in reversed(path.absolute().parents):
            if not _may(folder, user.pw_uid, groups, stat.S_IXOTH):
                return f"the daemon's user, {SERVICE_USER}, may not enter {folder}, where {path.name} lies"
        if not _may(path, user.pw_uid, groups, stat.S_IROTH):
            return f"the daemon's user, {SERVICE_USER}, may not read {path}"
    except OSError:
        return ""  # the key itself is read next, and says what is wrong
    return ""


def _may(path: Path, uid: int, groups: set[int], bit: int) -> bool:
    """As the kernel decides it: the owner's bits, else the group's, else the others'."""
    found = path.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & (bit << 6))
    return bool(found.st_mode & (bit << 3 if found.st_gid in groups else bit))

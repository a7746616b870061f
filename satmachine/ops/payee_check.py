"""Whether a payee can be paid, checked when one is entered, and by the doctor: does it resolve, does it answer, does
its key belong to a wallet of this LNbits, and may the *daemon's* user read it. Nobody is paid, no invoice is made."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

import anyio

from satmachine.config import Config, Secret
from satmachine.errors import ConfigError, WalletError, WalletRefused
from satmachine.ops.findings import CheckResult, Finding
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient

#: The user that the unit file names.
SERVICE_USER = "satmachine"
#: Where LPs' keys are: the service reads them when it pays, so that a new one needs no restart.
PAYEES = Path("/etc/satmachine/payees")
#: What the unit hides from it (ProtectHome, PrivateTmp, PrivateDevices).
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")))  # noqa: S108
_TIMEOUT_S = 10
_AT_ONCE = 5

#: The kind of a file with the admin key of an LP's wallet, from which payments are forwarded.
FORWARD_KEY = "forward_key_file"

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
            elif kind == FORWARD_KEY:
                found[named] = _forward(subject, Path(payee))
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
        verdict = CheckResult.PROBLEM if isinstance(error, WalletRefused) else CheckResult.UNREACHABLE
        fix = "ask its owner whether the address is right; until it answers, its payments wait and are tried again"
        return Finding("payee", subject, verdict, detail, fix)
    most, least = offer.max_sendable_msat // 1000, -(-offer.min_sendable_msat // 1000)
    return Finding("payee", subject, CheckResult.OK, f"{told} answers, and accepts {least} to {most} sats")


def _forward(subject: str, path: Path) -> Finding:
    """Whether the service can read the key with which it forwards: the key of the LP's own wallet."""
    if problem := unreadable_to_service(path):
        return Finding("payee", subject, CheckResult.PROBLEM, problem, _fix(path))
    if not os.access(path, os.R_OK):
        return Finding("payee", subject, CheckResult.UNKNOWN, f"this user may not read {path}", "run this with sudo")
    return Finding("payee", subject, CheckResult.OK, f"the key in {path} can be read")


async def _key(lnbits: Lnbits, subject: str, path: Path, config: Config) -> Finding:
    if problem := unreadable_to_service(path):
        return Finding("payee", subject, CheckResult.PROBLEM, problem, _fix(path))
    try:
        key = Secret("file", str(path), source="payee", place="payee").resolve(config.environ)
        wallet = await lnbits.wallet(key)
    except ConfigError as error:
        if isinstance(error.__cause__, PermissionError) or not os.access(path, os.R_OK):
            detail = f"this user may not read {path}, so its wallet is not checked"
            return Finding("payee", subject, CheckResult.UNKNOWN, detail, "run this with sudo")
        return Finding("payee", subject, CheckResult.PROBLEM, "; ".join(error.problems), f"look at {path}")
    except WalletRefused:
        detail = f"the key in {path} opens no wallet at {config.lnbits.url}"
        return Finding(
            "payee", subject, CheckResult.PROBLEM, detail, "copy the wallet's Invoice/read key from LNbits again"
        )
    except WalletError as error:
        return Finding("payee", subject, CheckResult.UNREACHABLE, str(error), "start LNbits, or correct [lnbits] url")
    return Finding("payee", subject, CheckResult.OK, f'"{wallet.name}", a wallet of this LNbits')


def _fix(path: Path) -> str:
    """How to let the service read it, and nobody else: commands as they are typed."""
    if path.absolute().is_relative_to(PAYEES):
        return f"sudo chown {SERVICE_USER} {quote(str(path))} && sudo chmod 400 {quote(str(path))}"
    there = PAYEES / path.name
    return f"name {there} instead, after: sudo install -o {SERVICE_USER} -m 400 {quote(str(path))} {quote(str(there))}"


def unreadable_to_service(path: Path) -> str:
    """Why the daemon's user may not read a file; empty if it may, or if that cannot be known here."""
    path = path.absolute()
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return ""
    hidden = next((folder for folder in _HIDDEN if path.is_relative_to(folder)), None)
    if hidden is not None:
        return f"the service cannot see {hidden}, where {path.name} is"
    groups = {user.pw_gid, *os.getgrouplist(SERVICE_USER, user.pw_gid)}
    try:
        for folder in reversed(path.parents):
            if not _may(folder, user.pw_uid, groups, stat.S_IXOTH):
                return f"the daemon's user, {SERVICE_USER}, may not enter {folder}, where {path.name} is"
        if not _may(path, user.pw_uid, groups, stat.S_IROTH):
            return f"the daemon's user, {SERVICE_USER}, may not read {path}"
    except OSError:
        return ""  # the key itself is read next, and says what is wrong
    return ""


def _may(path: Path, uid: int, groups: set[int], bit: int) -> bool:
    """As the kernel decides: the owner's bits, else the group's, else the others'."""
    found = path.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & (bit << 6))
    return bool(found.st_mode & (bit << 3 if found.st_gid in groups else bit))

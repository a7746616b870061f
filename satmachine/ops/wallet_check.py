"""The doctor's check of LNbits: whether each key opens its wallet, and may do what it is for. Only reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from statistics import median

from satmachine.config import Config, Payee, Secret
from satmachine.errors import ConfigError, WalletError, WalletRefused
from satmachine.ops import tuning
from satmachine.ops.findings import CheckResult, Finding
from satmachine.ops.tuning import Speed
from satmachine.wallet.lnbits import Lnbits

#: Calls of each kind to measure how quick LNbits is, and wallets that are asked how many payments they have.
_READS = 10
_WALLETS_COUNTED = 20


async def wallets(config: Config, known: Mapping[str, str]) -> list[Finding]:
    """Every wallet whose key can be read, one after the other: LNbits limits how often it may be asked.

    `known`: the machines' wallet ids in the books, so that a key of another wallet is noticed. An LNbits that
    does not answer is one finding, not one for each wallet.
    """
    settings = config.lnbits
    findings: list[Finding] = []
    good_key = None
    async with Lnbits(settings.url, timeout_s=min(settings.timeout_s, 15), instance_id="doctor") as lnbits:
        for machine in config.machines:
            key = resolved(machine.wallet.admin_key, config)
            if key is not None:
                findings.append(await _machine_wallet(lnbits, machine.id, key, known.get(machine.id)))
                if findings[-1].verdict is CheckResult.UNREACHABLE:
                    return [*findings[:-1], _down(settings.url, findings[-1])]
                good_key = key if findings[-1].verdict is CheckResult.OK else good_key
        for label, payee in _invoice_payees(config):
            key = resolved(payee.invoice_key, config)
            if key is not None:
                findings.append(await _payee_wallet(lnbits, label, key))
                if findings[-1].verdict is CheckResult.UNREACHABLE:
                    return [*findings[:-1], _down(settings.url, findings[-1])]
        if good_key is not None:
            findings += await _server(lnbits, settings.url, good_key, config)
    return findings


def _down(url: str, found: Finding) -> Finding:
    return Finding("lnbits", url, CheckResult.UNREACHABLE, f"{found.detail}; no wallet was checked", found.fix)


async def _machine_wallet(lnbits: Lnbits, machine_id: str, key: str, known: str | None) -> Finding:
    subject = f"machine {machine_id}"
    try:
        wallet = await lnbits.wallet(key)
    except WalletError as error:
        return _no_wallet(subject, error)
    balance = f'"{wallet.name}", {wallet.balance_msat // 1000} sats'
    if not wallet.can_pay:
        detail = f"{balance}: this is the invoice key, which cannot pay"
        return Finding("wallet", subject, CheckResult.PROBLEM, detail, "put the wallet's Admin key there instead")
    if known is not None and wallet.wallet_id not in (None, known):
        detail = f"{balance}: this is another wallet ({wallet.wallet_id}), not the machine's own ({known})"
        return Finding(
            "wallet", subject, CheckResult.PROBLEM, detail, "put the Admin key of the machine's own wallet there"
        )
    return Finding("wallet", subject, CheckResult.OK, f"{balance}; the key may pay")


async def _payee_wallet(lnbits: Lnbits, label: str, key: str) -> Finding:
    try:
        wallet = await lnbits.wallet(key)
    except WalletError as error:
        return _no_wallet(label, error)
    if wallet.can_pay:
        detail = f'"{wallet.name}": this is an admin key, which may spend; to receive, the invoice key is enough'
        return Finding("wallet", label, CheckResult.WARNING, detail, "put the wallet's Invoice/read key there instead")
    return Finding("wallet", label, CheckResult.OK, f'"{wallet.name}" can receive')


def _no_wallet(subject: str, error: WalletError) -> Finding:
    if isinstance(error, WalletRefused):
        return Finding(
            "wallet", subject, CheckResult.PROBLEM, str(error), "the key is wrong: copy it from LNbits again"
        )
    fix = "start LNbits, or correct [lnbits] url; if it is busy (HTTP 429), raise LNBITS_RATE_LIMIT_NO"
    return Finding("wallet", subject, CheckResult.UNREACHABLE, str(error), fix)


async def _server(lnbits: Lnbits, url: str, key: str, config: Config) -> list[Finding]:
    """The version, whether a burst of requests reaches the rate limit, and how much old payments slow it down."""
    try:
        found = await lnbits.probe(key)
        speed = await measure(lnbits, key, _machine_keys(config))
    except WalletError as error:
        return [_no_wallet(f"LNbits {url}", error)]
    lookup = (
        "finds payments by their key"
        if found.external_id
        else "before 1.5: payments are found by their tag, which is slower"
    )
    detail = f"version {found.version}; {lookup}; no rate limit within {_READS} quick calls"
    return [
        Finding("lnbits", url, CheckResult.OK, detail),
        tuning.finding(speed, url, external_id=found.external_id),
    ]


async def measure(lnbits: Lnbits, key: str, machine_keys: Collection[str]) -> Speed:
    """Reads of a wallet, alternating with calls that read nothing; and how many payments the machines' wallets have.

    Raises WalletUnavailable, WalletRefused.
    """
    reads, plain = [], []
    for _ in range(_READS):
        await lnbits.is_up(key)
        plain.append(1_000 * (lnbits.latency_s or 0))
        await lnbits.wallet(key)
        reads.append(1_000 * (lnbits.latency_s or 0))
    counts = [count for one in machine_keys if (count := await lnbits.count_payments(one)) is not None]
    return Speed(median(reads), median(plain), sum(counts) if counts else None)


def _machine_keys(config: Config) -> set[str]:
    """Only some of them, to be quick."""
    keys = (resolved(machine.wallet.admin_key, config) for machine in config.machines[:_WALLETS_COUNTED])
    return {key for key in keys if key is not None}


def _invoice_payees(config: Config) -> Iterator[tuple[str, Payee]]:
    if config.super_.payee is not None and config.super_.payee.invoice_key is not None:
        yield "payee super", config.super_.payee
    rulesets = [(holder.id, holder.splits) for holder in config.operators]
    rulesets += [(holder.id, holder.splits) for holder in config.machines]
    for holder_id, splits in rulesets:
        for split in splits:
            if split.payee.invoice_key is not None:
                yield f"payee {split.label} of {holder_id}", split.payee


def resolved(secret: Secret | None, config: Config) -> str | None:
    """The key, or None if it cannot be read (`host_check.keys` says so)."""
    try:
        return None if secret is None else secret.resolve(config.environ)
    except ConfigError:
        return None

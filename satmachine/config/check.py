"""What can only be known by reading secrets and looking at file permissions (SPEC section 3).

`check_secrets` and `wallet_conflicts` (or both as `key_problems`) report errors; `warnings` reports what works but
should be changed. No message ever contains a secret.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from satmachine.config.credentials import only_root_sees
from satmachine.config.formats import is_loopback
from satmachine.config.model import Config, Machine, Payee
from satmachine.config.patience import look
from satmachine.config.secrets import Secret
from satmachine.errors import ConfigError, KeyHangs, KeyHidden
from satmachine.nostr.keys import parse_secret_key


def key_problems(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """What `check_secrets` says, and if that is nothing, `wallet_conflicts`; reads every secret once.

    Keys on a file system that hangs are no reason not to start: their machines wait, the others continue.
    """
    problems, keys = _resolved(config, config.environ if environ is None else environ)
    return problems or _conflicts(config, keys)


def check_secrets(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """Resolve every secret once; one sentence for each that is missing, empty or open to other users.

    Credentials that this user cannot see are left out: `hidden_credentials` names them.
    """
    problems, _ = _resolved(config, config.environ if environ is None else environ, passed=KeyHidden)
    return problems


def wallet_conflicts(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """Two machines with the same wallet key, or a payee with a machine's key, after all keys are read.

    Secrets that cannot be resolved are skipped: `check_secrets` names them. A wallet's invoice key and admin
    key are different texts; whether they belong together only LNbits knows, and is asked at start.
    """
    _, keys = _resolved(config, config.environ if environ is None else environ)
    return _conflicts(config, keys)


def hidden_credentials(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """The names of the credentials that this user cannot see, so that nothing is said of them."""
    if not only_root_sees(config.environ if environ is None else environ):
        return []
    names = (secret.where for secret in config.secrets() if secret.kind == "credential")
    return list(dict.fromkeys(name.removeprefix("credential ") for name in names))


def warnings(config: Config) -> list[str]:
    """What is allowed but deserves a second look, one sentence each."""
    return [
        *_file_warnings(config),
        *_writable_warnings(config),
        *_transport_warnings(config),
        *_payout_warnings(config),
        *_machine_warnings(config),
        *_left_as_it_came(config),
    ]


#: The machine of config.example.toml: nobody has its key.
_EXAMPLE_NPUB = "npub19hdmwc7qqfwhqac96jvmx8tvmvwzwr43kj6futv84xdl7h7ql8cqehvv7c"


def _left_as_it_came(config: Config) -> Iterator[str]:
    """The example file is valid, and pays nobody."""
    for machine in config.machines:
        if machine.npub == _EXAMPLE_NPUB:
            yield (
                f"machine {machine.id} is the example of config.example.toml, with its npub, relays and LNbits: "
                "`satmachine init` writes your own file"
            )


def open_to_others(path: Path) -> list[str]:
    """What is wrong with a key file that every user of this host may open, with the remedy; nothing for others."""
    if not _mode(path) & 0o007:
        return []
    return [f"{path} is open to every user of this host: chmod o= {shlex.quote(str(path))}"]


def _file_warnings(config: Config) -> Iterator[str]:
    if any(secret.kind == "plain" for secret in config.secrets()) and _mode(config.path) & 0o077:
        yield (
            f"{config.path} holds secrets as plain text and other users may read it: "
            f"chmod 600 {shlex.quote(str(config.path))}"
        )


def _writable_warnings(config: Config) -> Iterator[str]:
    """Whoever may write the file decides who the payees are; whoever may write a folder can replace what is in it."""
    if _mode(config.path) & stat.S_IWOTH:
        yield (
            f"other users may write {config.path}, and so decide who is paid: chmod o-w {shlex.quote(str(config.path))}"
        )
    folder = config.path.parent
    if _mode(folder) & stat.S_IWOTH and not _mode(folder) & stat.S_ISVTX:
        yield f"other users may replace files in {folder}: chmod o-w {shlex.quote(str(folder))}"


def _transport_warnings(config: Config) -> Iterator[str]:
    urls = [*config.nostr.relays, *(url for machine in config.machines for url in machine.relays)]
    for url in dict.fromkeys(urls):
        if url.startswith("ws://") and not is_loopback(url):
            yield f"relay {url} is not encrypted: use wss:// if the relay offers it"
    if config.lnbits.url.startswith("http://") and not is_loopback(config.lnbits.url):
        yield f"[lnbits]: {config.lnbits.url} is not encrypted, and wallet keys travel over it: use https://"
    if config.nostr.discover_private:
        yield (
            "[nostr]: discover_private is true, so whoever has a machine's key can make this host connect to others "
            "in its network: it is meant only for tests, remove it"
        )
    if config.lnurl.allow_private_hosts:
        yield "[lnurl]: allow_private_hosts is true, which is meant only for tests: remove it"


def _payout_warnings(config: Config) -> Iterator[str]:
    if config.payouts.paused:
        yield "[payouts]: paused is true: sales are recorded, but nothing is paid"
    if not config.payouts.require_payment_proof:
        yield (
            "[payouts]: require_payment_proof is false: sales are paid on the machine's word alone, so "
            "whoever has a machine's Nostr key can empty its wallet"
        )
    if config.super_.fee_pct > 0 and config.super_.payee is None:
        yield "[super]: fee_pct is set, but no payee: the platform's fee stays in the machines' wallets"


def _machine_warnings(config: Config) -> Iterator[str]:
    if not config.machines:
        yield "there is no [[machines]] table yet: there is nothing to do"
    for machine in config.machines:
        place = f'[[machines]] "{machine.id}"'
        if not config.relays_of(machine):
            yield f"{place}: it has no relay, so its sales are found only in its wallet: add a relay in [nostr]"
        if config.ruleset(machine).source == "none":
            yield f"{place}: neither it nor its operator has splits: the operator's share stays in its wallet"
        if machine.fallback_commission_pct > machine.max_commission_pct:
            yield (
                f"{place}: fallback_commission_pct is above max_commission_pct, "
                "so every sale without figures of its own will be held"
            )


def _resolved(
    config: Config, environ: Mapping[str, str], *, passed: type[ConfigError] = KeyHangs
) -> tuple[list[str], dict[Secret, str]]:
    """What is wrong with the secrets, and the keys of those that can be read; an error of `passed` is left out."""
    problems: list[str] = []
    keys: dict[Secret, str] = {}
    for secret in config.secrets():
        try:
            keys[secret] = secret.resolve(environ)
        except ConfigError as error:
            problems += () if isinstance(error, passed) else error.problems
        else:
            problems += _open_file(secret, environ)
            if secret is config.nostr.secret_key and not _is_nostr_key(keys[secret]):
                problems.append(f"{secret.place} is not a Nostr secret key: it must be nsec1... or 64 hex digits")
    return problems, keys


def _conflicts(config: Config, keys: Mapping[Secret, str]) -> list[str]:
    problems: list[str] = []
    owners: dict[str, Machine] = {}
    for machine in config.machines:
        key = keys.get(machine.wallet.admin_key)
        owner = owners.setdefault(key, machine) if key else machine
        if owner is not machine:
            problems.append(
                f'{machine.wallet.admin_key.place} is the same wallet key as that of machine "{owner.id}": '
                "two machines never share a wallet; give each its own"
            )
    for payee in _payees(config):
        key = keys.get(payee.invoice_key) if payee.invoice_key else None
        if payee.invoice_key and key and key in owners:
            problems.append(
                f'{payee.invoice_key.place} is the admin key of machine "{owners[key].id}": a payee cannot be a '
                "machine's own wallet; name the invoice key of another wallet"
            )
    return problems


def _open_file(secret: Secret, environ: Mapping[str, str]) -> Iterator[str]:
    """A key file that every user of the host may read. systemd itself guards the files of credentials."""
    path = secret.path(environ) if secret.kind == "file" else None
    if path is not None:
        yield from (f"{secret.place}: {problem}" for problem in open_to_others(path))


def _is_nostr_key(key: str) -> bool:
    try:
        parse_secret_key(key)
    except ValueError:
        return False
    return True


def _payees(config: Config) -> Iterator[Payee]:
    if config.super_.payee is not None:
        yield config.super_.payee
    for splits in [operator.splits for operator in config.operators] + [machine.splits for machine in config.machines]:
        yield from (split.payee for split in splits)


def _mode(path: Path) -> int:
    """Permission bits; none if the file has disappeared, or its file system hangs."""
    try:
        return stat.S_IMODE(look(path.parent, path.stat).st_mode)
    except OSError:
        return 0

"""Machines, payees and keys: the configuration file of a simulated operator, who edits it again and again.

`config()` gives what would be loaded now. `identity` says who a payee really is, however its key is kept: that is what
the judge holds a payment against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from bech32 import bech32_encode, convertbits

from satmachine.config import Config, Payee
from satmachine.errors import ConfigError
from satmachine.nostr.keys import public_key_of
from simulator.bank import Bank, Handle, Identity

#: An LNURL, to a host that nobody asks here.
LNURL = str(bech32_encode("lnurl", convertbits(b"https://pay.example/lnurlp/one", 8, 5) or []))


class KeyFiles(dict[str, str | None]):
    """And what was ever in them, in `kept`."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}

    def __setitem__(self, path: str, key: str | None) -> None:
        super().__setitem__(path, key)
        if key is not None:
            self.kept[path] = key

    def clear(self) -> None:
        super().clear()
        self.kept.clear()


@dataclass(slots=True)
class PayeeSpec:
    """A payee as the operator thinks of it: a wallet of this LNbits, or an address."""

    wallet: Handle | None = None
    address: str | None = None
    #: Where the file says that the wallet's key is: an environment variable's name, or a credential's.
    kept_in: tuple[str, str] = ("env", "")
    with_admin_key: bool = False


@dataclass(slots=True)
class MachineSpec:
    """A machine of the file."""

    id: str
    wallet: Handle
    pubkey: str
    payouts_since: int
    active: bool = True
    npub_number: int = 0
    #: Payments that nothing explains are taken for sales.
    shares: bool = False
    #: So long a sale waits before it is planned.
    delay_s: int = 0


@dataclass(slots=True)
class Registry:
    """One operator's file. Copies of it can differ: a second daemon may have another."""

    bank: Bank
    rng: Random
    files: KeyFiles
    machines: list[MachineSpec] = field(default_factory=list)
    super_payee: PayeeSpec | None = None
    splits: list[tuple[str, Decimal, PayeeSpec]] = field(default_factory=list)
    require_proof: bool = True
    routing_fees: str = "payee"
    paused: bool = False
    environ: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Registry:
        """Another file with the same contents."""
        return replace(
            self,
            machines=[replace(machine) for machine in self.machines],
            super_payee=None if self.super_payee is None else replace(self.super_payee),
            splits=[(label, pct, replace(payee)) for label, pct, payee in self.splits],
            environ=dict(self.environ),
        )

    def machine(self, machine_id: str) -> MachineSpec:
        return next(machine for machine in self.machines if machine.id == machine_id)

    def new_payee(
        self, name: str, kinds: tuple[str, ...] = ("wallet", "wallet", "address", "own", "lnurl")
    ) -> PayeeSpec:
        """A payee of a kind that chance chooses; `own` is an address that this very LNbits serves."""
        kind = self.rng.choice(kinds)
        if kind == "wallet":
            return PayeeSpec(self.bank.new_wallet(name), kept_in=("env", name.upper().replace("-", "_")))
        address = LNURL if kind == "lnurl" else f"{name}@{'self' if kind == 'own' else 'away'}.example"
        if kind == "own":
            self.bank.new_wallet(name, address=address)
        return PayeeSpec(address=address)

    def config(self) -> Config:
        """The file as the daemon would load it now."""
        environ = dict(self.environ)
        machines: list[dict[str, Any]] = []
        for machine in self.machines:
            name = machine.id.upper().replace("-", "_")
            environ[name] = machine.wallet.admin_key
            machines.append(
                {
                    "id": machine.id,
                    "operator": "op",
                    "npub": npub(machine.pubkey),
                    "name": machine.id,
                    "currency": "GTQ",
                    "fallback_commission_pct": Decimal("0.05"),
                    "payouts_since": datetime.fromtimestamp(machine.payouts_since, UTC),
                    "wallet": {"admin_key": {"env": name}},
                    "active": machine.active,
                    "payout_delay_s": machine.delay_s,
                    "unannounced": {"sales": "share" if machine.shares else "report"},
                }
            )
        splits = [
            {"label": label, "pct": pct, "payee": self._payee(payee, environ)} for label, pct, payee in self.splits
        ]
        document: dict[str, Any] = {
            "nostr": {"relays": ["wss://relay.example"]},
            "lnbits": {"url": "https://lnbits.example"},
            "super": {"fee_pct": Decimal("0.3")},
            "payouts": {
                "require_payment_proof": self.require_proof,
                "routing_fees": self.routing_fees,
                "paused": self.paused,
            },
            "operators": [{"id": "op", "name": "Operator", "splits": splits}],
            "machines": machines,
        }
        if self.super_payee is not None:
            document["super"]["payee"] = self._payee(self.super_payee, environ)
        config = Config.model_validate(document, context={"directory": Path("/etc")})
        config.bind(Path("/etc/satmachine.toml"), environ)
        return config

    def _payee(self, payee: PayeeSpec, environ: dict[str, str]) -> dict[str, Any]:
        if payee.address is not None:
            return {"lnurl" if payee.address == LNURL else "lightning_address": payee.address}
        assert payee.wallet is not None
        kind, name = payee.kept_in
        key = payee.wallet.admin_key if payee.with_admin_key else payee.wallet.invoice_key
        if kind == "credential":
            environ["CREDENTIALS_DIRECTORY"] = "/credentials"
            self.files[f"/credentials/{name}"] = key
        else:
            environ[name] = key
        return {"invoice_key": key if kind == "plain" else {kind: name}}


def identity(bank: Bank, payee: Payee, environ: Mapping[str, str], kept: Mapping[str, str]) -> Identity | None:
    """Who is paid, as LNbits knows them; None where that cannot be told (a key that nobody has).

    `kept`: what was ever in key files, whether this user may read them just now or not.
    """
    if payee.invoice_key is None:
        return bank.identity_of_address(payee.lightning_address or payee.lnurl or "")
    path = payee.invoice_key.path(environ)
    if path is not None:
        return bank.wallet_of_key(kept.get(str(path), ""))
    try:
        return bank.wallet_of_key(payee.invoice_key.resolve(environ))
    except ConfigError:
        return None


def pubkey(machine_id: str, number: int) -> str:
    """A machine's public key; its `number`-th."""
    return public_key_of(sha256(f"npub:{machine_id}:{number}".encode()).digest())


def npub(public_key: str) -> str:
    text: str = bech32_encode("npub", convertbits(bytes.fromhex(public_key), 8, 5) or [])
    return text

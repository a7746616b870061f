"""Configuration files for tests: one that is right, and ways to make it wrong."""

from __future__ import annotations

from pathlib import Path

from coincurve import PrivateKey

from satmachine.config import Config, load
from satmachine.errors import ConfigError
from satmachine.nostr.keys import hex_to_npub, public_key_of


def npub(number: int) -> str:
    """The public key of a throw-away secret key."""
    return hex_to_npub(public_key_of(PrivateKey.from_int(number).secret))


LNURL = "lnurl1dp68gurn8ghj7urp0yhx27rpd4cxcefwdaexwtmndphhq5yvc0u"  # https://pay.example.org/shop

VALID = f"""
[database]
path = "satmachine.db"

[nostr]
relays = ["wss://relay.one.example", "wss://relay.two.example"]

[lnbits]
url = "https://lnbits.example.org"

[super]
fee_pct = 0.30
payee = {{ invoice_key = {{ env = "SUPER_KEY" }} }}

[[operators]]
id = "atitlan"
name = "Atitlan Cash"
[[operators.splits]]
label = "owner"
pct = 0.7
payee = {{ invoice_key = {{ env = "OWNER_KEY" }} }}
[[operators.splits]]
label = "technician"
pct = 0.3
payee = {{ lightning_address = "tech@example.org" }}

[[machines]]
id = "panajachel-1"
operator = "atitlan"
npub = "{npub(1)}"
name = "Panajachel market"
currency = "GTQ"
fallback_commission_pct = 0.05
payouts_since = 2026-11-22T00:00:00Z
wallet = {{ admin_key = {{ env = "WALLET_1" }} }}
"""


def a_machine(number: int) -> str:
    """A further machine in GTQ, to append to VALID; its key is the throw-away one of this number."""
    return f"""
[[machines]]
id = "machine-{number}"
operator = "atitlan"
npub = "{npub(number)}"
name = "Machine {number}"
currency = "GTQ"
fallback_commission_pct = 0.05
payouts_since = 2026-11-22T00:00:00Z
wallet = {{ admin_key = {{ env = "WALLET_{number}" }} }}
"""


#: A second machine, in another currency, to append to VALID.
SECOND = f"""
[[machines]]
id = "solola-1"
operator = "atitlan"
npub = "{npub(2)}"
name = "Solola"
currency = "USD"
fallback_commission_pct = 0
payouts_since = 2026-11-22T00:00:00-06:00
wallet = {{ admin_key = {{ env = "WALLET_2" }} }}
"""

#: Where VALID + SECOND find their secrets.
ENVIRON = {"SUPER_KEY": "s" * 32, "OWNER_KEY": "0" * 32, "WALLET_1": "1" * 32, "WALLET_2": "2" * 32}


def changed(old: str, new: str, text: str = VALID) -> str:
    """VALID with one thing different; the thing must be there."""
    assert old in text
    return text.replace(old, new, 1)


def load_text(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    """Write a file that only its owner may read, and load it."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path, environ=ENVIRON if environ is None else environ)


def problems_of(folder: Path, text: str) -> tuple[str, ...]:
    """What is wrong with a file; none if it is right."""
    try:
        load_text(folder, text)
    except ConfigError as error:
        return error.problems
    return ()


def machine_table(number: int, machine_id: str, machine_npub: str, admin_key: str, *, operator: str = "bench") -> str:
    """A `[[machines]]` table; `admin_key` is a secret as TOML writes it. Sales of all times may be paid."""
    return (
        f'[[machines]]\nid = "{machine_id}"\noperator = "{operator}"\nnpub = "{machine_npub}"\n'
        f'name = "Machine {number}"\n'
        'currency = "GTQ"\nfallback_commission_pct = 0.05\npayouts_since = 2020-01-01T00:00:00Z\n'
        f"wallet = {{ admin_key = {admin_key} }}\n\n"
    )

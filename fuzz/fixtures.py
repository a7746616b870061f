"""What the targets read with: one machine, its keys, a configuration file, and books in memory."""

from __future__ import annotations

import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from satmachine.config import Config, Machine, load
from satmachine.nostr.event import Event, sign
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.settlements.claim.envelope import DaemonKey
from satmachine.store.database import SCHEMA_VERSION, prepare
from satmachine.wallet.lnurl import LnurlClient

#: The machine's own key is the attacker's: what it signs is authentic.
MACHINE_SECRET = bytes(31) + b"\x01"
DAEMON_SECRET = bytes(31) + b"\x02"
NOW = 1_800_000_000

MACHINE_PUBKEY = public_key_of(MACHINE_SECRET)
DAEMON_KEY = DaemonKey(DAEMON_SECRET, public_key_of(DAEMON_SECRET))
PAYMENT_HASH = "ab" * 32

CONFIG_TEXT = f"""\
[nostr]
relays = ["wss://relay.example"]
secret_key = {{ env = "NOSTR_KEY" }}
[lnbits]
url = "https://lnbits.example"
[super]
fee_pct = 0.30
payee = {{ lightning_address = "super@example.org" }}
[[operators]]
id = "atitlan"
name = "Atitlan Cash"
[[operators.splits]]
label = "owner"
pct = 1
payee = {{ invoice_key = {{ file = "/etc/owner" }} }}
[[machines]]
id = "machine-1"
operator = "atitlan"
npub = "{hex_to_npub(MACHINE_PUBKEY)}"
name = "Machine 1"
currency = "GTQ"
fallback_commission_pct = 0.05
payouts_since = 2026-11-22T00:00:00Z
wallet = {{ admin_key = "0123456789abcdef" }}
"""


@cache
def scratch() -> Path:
    """A folder for this process, in memory where the system has such a place."""
    shm = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="satmachine-fuzz-", dir=shm if shm.is_dir() else None))


@cache
def config() -> Config:
    """The configuration above, loaded."""
    path = scratch() / "good.toml"
    path.write_text(CONFIG_TEXT)
    return load(path, environ={})


@cache
def machine() -> Machine:
    """The one machine."""
    return config().machines[0]


def event(content: str, *, kind: int = 21000, tags: tuple[tuple[str, ...], ...] = ()) -> Event:
    """What the machine says now. Not signed: the targets start behind the signature."""
    return Event("00" * 32, MACHINE_PUBKEY, NOW, kind, tags, content, "00" * 64)


def signed(content: str, *, kind: int = 21000, tags: tuple[tuple[str, ...], ...] = ()) -> Event:
    """The same, signed; for seeds."""
    return sign(kind, content, tags, NOW, MACHINE_SECRET)


@cache
def lnurl_client() -> LnurlClient:
    """A client that fetches nothing here; its TLS settings are costly to make."""
    return LnurlClient(clock=lambda: NOW)


@cache
def books() -> sqlite3.Connection:
    """The machine's books, in memory; what is read must also be storable."""
    path = scratch() / "books.db"
    prepare(path)
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.row_factory = sqlite3.Row
    with sqlite3.connect(path) as made:
        made.backup(conn)
    made.close()
    assert conn.execute("PRAGMA user_version").fetchone()[0] >= SCHEMA_VERSION
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("INSERT INTO dca_operators VALUES ('atitlan', 'Atitlan Cash', 1)")
    conn.execute(
        "INSERT INTO dca_machines VALUES ('machine-1', 'atitlan', ?, ?, 'Machine 1', 'GTQ', '0.05', 0, 1, 1, ?, 2)",
        (machine().npub, MACHINE_PUBKEY, NOW),
    )
    conn.execute("INSERT INTO dca_wallets (machine_id) VALUES ('machine-1')")
    return conn

"""Machines of a made registry, as config.toml has them."""

from __future__ import annotations


def machine_table(number: int, machine_id: str, npub: str, admin_key: str, *, operator: str = "bench") -> str:
    """A `[[machines]]` table; `admin_key` is a secret as TOML writes it. Sales of all times may be paid."""
    return (
        f'[[machines]]\nid = "{machine_id}"\noperator = "{operator}"\nnpub = "{npub}"\nname = "Machine {number}"\n'
        'currency = "GTQ"\nfallback_commission_pct = 0.05\npayouts_since = 2020-01-01T00:00:00Z\n'
        f"wallet = {{ admin_key = {admin_key} }}\n\n"
    )

"""Invoices that fund a machine's wallet: how to distinguish them from a sale, also with another database. Pure.

`machines top-up` makes an invoice whose key and `extra` say what it is, with a MAC under the wallet's admin key:
somebody who has only the invoice key (as a machine does) cannot make a customer's payment look like a top-up. These
books know their own top-ups by payment hash; the MAC is for the case that they are lost.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from satmachine.identity import PREFIX

_FIELD: Final = "satmachine_topup"
_CONTEXT: Final = b"satmachine top-up v1\n"


def topup_key(machine_id: str, topup_id: str) -> str:
    """What LNbits knows it by."""
    return f"{PREFIX}topup:{machine_id}:{topup_id}"


def extra_of(machine_id: str, topup_id: str, amount_sats: int, admin_key: str) -> dict[str, object]:
    """What travels with the invoice."""
    return {_FIELD: {"id": topup_id, "mac": _mac(machine_id, topup_id, amount_sats, admin_key)}}


def genuine_id(extra: Mapping[str, object], machine_id: str, amount_sats: int, admin_key: str) -> str | None:
    """The top-up that this payment names, if whoever made its words had this wallet's admin key; else None.

    The words can be copied into another invoice, and whoever has the invoice key can read them: so one payment of each
    id is a top-up, and no other (store.incoming.top_ups_among).
    """
    field = extra.get(_FIELD)
    if not isinstance(field, Mapping) or not isinstance(field.get("id"), str) or not isinstance(field.get("mac"), str):
        return None
    expected = _mac(machine_id, field["id"], amount_sats, admin_key)
    same = hmac.compare_digest(field["mac"].encode(errors="replace"), expected.encode())
    return str(field["id"]) if same else None


def _mac(machine_id: str, topup_id: str, amount_sats: int, admin_key: str) -> str:
    message = _CONTEXT + f"{machine_id}\n{topup_id}\n{amount_sats}".encode(errors="replace")
    return hmac.new(admin_key.encode(), message, hashlib.sha256).hexdigest()

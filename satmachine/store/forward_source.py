"""What the books know about the wallet from which a forward is paid."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.models import Leg


@dataclass(frozen=True, slots=True)
class ForwardSource:
    """`payment_hash`: of the payment that brought the sats which are forwarded; None if there was none.
    `machine_wallets`: the wallets' ids in LNbits of all machines, by machine."""

    payment_hash: str | None
    machine_wallets: dict[str, str]


def of_forward(conn: sqlite3.Connection, forward: Leg) -> ForwardSource:
    """The dca leg of a forward has the same key except for its last part."""
    share = forward.leg.replace("fwd:", "dca:", 1)
    row = conn.execute(
        """SELECT payment_hash FROM dca_payments WHERE machine_id = ? AND leg_key = ? AND status = 'completed'
        AND client_id IS ?""",
        (forward.machine_id, forward.leg_key.removesuffix(forward.leg) + share, forward.client_id),
    ).fetchone()
    wallets = conn.execute("SELECT wallet_id, machine_id FROM dca_wallets WHERE wallet_id IS NOT NULL")
    return ForwardSource(
        None if row is None else row["payment_hash"], {w["wallet_id"]: w["machine_id"] for w in wallets}
    )

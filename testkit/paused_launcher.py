"""Runs inside LNbits' own virtual environment: LNbits, with pauses where its work is not atomic.

    python -I paused_launcher.py <switch> <uvicorn's arguments>

`<switch>` is a file. While it does not exist, LNbits is as it came; else it says one of these words:

    wait          an internal payment waits after its debit was committed and before its credit is
    die           the process ends itself there with SIGKILL
    die-address   the same, for payments to a Lightning address of this LNbits only
    look          who looks at a pending payment (LNbits' sweep, or somebody who polls it) waits after the row was read
                  and before what was found is written

`<switch>.reached` gets a line, the payment hash, for each payment that came to such a place.

With NODE_REMEMBERS=1 in the environment the FakeWallet takes an invoice that it does not know for unpaid, as real nodes
do, instead of failed: invoices outlast a restart then.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

_LOOK_AGAIN_S = 0.01

#: Nobody waits for ever, whatever becomes of who holds the switch.
_LONGEST_WAIT_S = 120.0


def main() -> None:
    switch = Path(sys.argv[1])
    payments = importlib.import_module("lnbits.core.services.payments")
    _pause_between_commits(payments, switch)
    _pause_looks(payments, switch)
    if os.environ.get("NODE_REMEMBERS") == "1":
        _remember_invoices(importlib.import_module("lnbits.wallets.fake"))
    sys.argv[1:] = sys.argv[2:]
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)


def _pause_between_commits(payments: Any, switch: Path) -> None:
    """Stop where `_pay_internal_invoice` has stored the debit and is about to store the credit."""
    update_payment = payments.update_payment

    async def paused(payment: Any, *args: Any, **options: Any) -> Any:
        if payment.amount > 0 and _caller() == "_pay_internal_invoice":
            to_address = payment.extra.get("tag") == "wallet_lightning_address"
            await _stop_here(payment.payment_hash, switch, ("wait", "die", "die-address" if to_address else "die"))
        return await update_payment(payment, *args, **options)

    payments.update_payment = paused


def _pause_looks(payments: Any, switch: Path) -> None:
    """Stop where `update_pending_payment` has a row in its hands and asks the funding source about it (before 1.5 by a
    method of the row)."""
    place, name = payments, "check_payment_status"
    if not hasattr(place, name):
        place, name = payments.Payment, "check_status"
    check = getattr(place, name)

    async def paused(payment: Any, *args: Any, **options: Any) -> Any:
        await _stop_here(payment.payment_hash, switch, ("look",))
        return await check(payment, *args, **options)

    setattr(place, name, paused)


def _caller() -> str:
    return sys._getframe(2).f_code.co_name


def _remember_invoices(fake: Any) -> None:
    get_invoice_status = fake.FakeWallet.get_invoice_status

    async def remembered(wallet: Any, checking_id: str) -> Any:
        status = await get_invoice_status(wallet, checking_id)
        return fake.PaymentPendingStatus() if status.failed else status

    fake.FakeWallet.get_invoice_status = remembered


async def _stop_here(payment_hash: str, switch: Path, wishes: tuple[str, ...]) -> None:
    wish = _wish(switch)
    if wish not in wishes:
        return
    with switch.with_name(switch.name + ".reached").open("a") as reached:
        reached.write(payment_hash + "\n")
    if wish.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(int(_LONGEST_WAIT_S / _LOOK_AGAIN_S)):
        if _wish(switch) != wish:
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def _wish(switch: Path) -> str:
    try:
        return switch.read_text().strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    main()

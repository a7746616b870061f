"""An LNbits that was restored from an older copy has forgotten payments to elsewhere; they are not made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from satmachine import identity, marks
from satmachine.models import Answer, HoldReason, Leg, LegStatus
from satmachine.settlements.pay.invoicing import ExternalPayees
from satmachine.settlements.pay.payer import Payer
from satmachine.store import legs, mark_rows, settlements
from satmachine.store.database import atomic, open_store
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment
from testkit.books import NOW, give_invoice
from testkit.sale_desk import MACHINE, Desk, add_provider, open_desk
from tests.settlements.correct.test_changes import a_payment

pytestmark = pytest.mark.anyio

NAME = "cd" * 32
EXPIRES_AT = NOW + 600
LONG_AFTER = EXPIRES_AT + 86_400


class Wallet:
    """Shows what `rows` has, and the mark of the sale."""

    version = "1.6.2"

    def __init__(self, mark: WalletPayment) -> None:
        self.rows: list[WalletPayment] = []
        self.marks = [mark]

    async def payments(self, _key: str, *, payment_hash: str) -> list[WalletPayment]:
        return [row for row in self.rows if row.payment_hash == payment_hash]

    async def bundles(self, _key: str, names: list[str]) -> dict[str, list[WalletPayment]]:
        return {name: [row for row in self.marks if identity.belongs(row.leg_key, name)] for name in names}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 1_000_000)
    desk.land()
    desk.plan()
    with closing(desk.conn):
        yield desk


def sent(desk: Desk) -> tuple[Leg, Wallet]:
    """A share for an LP at an address elsewhere was sent; its answer was lost. The wallet has the sale's mark."""
    leg = next(leg for leg in legs.of_settlement(desk.conn, 1) if leg.client_id is not None)
    bundle = identity.sale_bundle(str(settlements.get(desk.conn, 1).settlement_key))
    mark = marks.Mark("a" * 16, bundle, (), {leg.leg_key: NAME})
    with atomic(desk.conn):
        leg = give_invoice(desk.conn, leg.id, NAME, expires_at=EXPIRES_AT, marked=False, internal=False)
        mark_rows.write_down(desk.conn, MACHINE, mark, NOW)
        mark_rows.establish(desk.conn, mark, NOW)
        desk.conn.execute("UPDATE dca_payments SET status = 'sending' WHERE id = ?", (leg.id,))
        desk.conn.execute("UPDATE dca_invoices SET sent_at = ? WHERE payment_id = ?", (NOW, leg.id))
    shown = replace(a_payment(identity.mark_key(bundle, mark.id)), extra=marks.extra_of(mark, "wallet_1"))
    return leg, Wallet(shown)


async def advance(desk: Desk, leg: Leg, wallet: Wallet, now: int) -> LegStatus:
    async def sleep(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    async with open_store(desk.config.database.path) as store:
        store.keyring.learn(MACHINE, "wallet_1")
        payer = Payer(
            store, cast("Lnbits", wallet), cast("ExternalPayees", None), lambda: desk.config, lambda: now, sleep=sleep
        )
        return await payer.advance(leg.id)


def why(desk: Desk, leg: Leg) -> str | None:
    return legs.get(desk.conn, leg.id)[0].hold_reason


async def test_a_payment_that_the_wallet_has_shown_and_shows_no_more_is_not_made_again(desk: Desk) -> None:
    """The copy of LNbits is from between the mark and the payment, so that the mark is there."""
    leg, wallet = sent(desk)
    wallet.rows = [replace(a_payment(leg.leg_key), payment_hash=NAME, checking_id=NAME, status=Answer.PENDING)]
    assert await advance(desk, leg, wallet, NOW + 60) is LegStatus.SENDING
    wallet.rows = []
    assert await advance(desk, leg, wallet, LONG_AFTER) is LegStatus.HELD
    assert why(desk, leg) == HoldReason.WALLET_ROLLED_BACK


async def test_a_payment_that_it_never_showed_is_made_anew_once_its_invoice_has_expired(desk: Desk) -> None:
    leg, wallet = sent(desk)
    assert await advance(desk, leg, wallet, LONG_AFTER) is LegStatus.FAILED
    invoice = legs.get(desk.conn, leg.id)[1]
    assert invoice is not None
    assert invoice.dead_at is not None


async def test_not_if_the_mark_is_forgotten_as_well(desk: Desk) -> None:
    leg, wallet = sent(desk)
    wallet.marks = []
    assert await advance(desk, leg, wallet, LONG_AFTER) is LegStatus.HELD
    assert why(desk, leg) == HoldReason.WALLET_ROLLED_BACK

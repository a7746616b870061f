"""The invoice that a customer gave is paid once or never: a dead one calls a person, and is never replaced."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import anyio

from satmachine.models import LegStatus
from satmachine.settlements.pay.invoicing import ExternalPayees
from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.store import legs
from satmachine.store.database import Store, atomic
from satmachine.wallet.lnbits import Lnbits
from testkit.books import NOW
from testkit.sale_desk import SyncStore, open_desk
from tests.settlements.correct.test_changes import an_invoice


def test_a_dead_invoice_waits_for_a_person_and_closing_frees_its_sats(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    with closing(desk.conn):
        desk.land()
        desk.do("partial_dispense", part=1, whole=2)
        desk.plan()
        desk.pay_all()
        desk.do("refund", amount_sats=2_000, to=an_invoice())
        leg = desk.invoice("refund:1", sent=False)
        with atomic(desk.conn):
            legs.mark_invoice_dead(desk.conn, leg, now=NOW)
        payer = Payer(
            cast("Store", SyncStore(desk.conn)),
            cast("Lnbits", None),
            cast("ExternalPayees", None),
            lambda: desk.config,
            lambda: NOW,
        )
        anyio.run(payer.prepare, [leg.id])
        leg = desk.leg("refund:1")
        assert (leg.status, leg.generation, leg.next_attempt_at) == (LegStatus.FAILED, 1, None)
        assert "`satmachine settlements close 1` frees the sats" in (leg.error or "")
        assert desk.sale().status == "errored"

        desk.views["refund:1"] = View(Sighting.ABSENT, None, expired=True)
        desk.do("close")
        assert desk.sale().retained_sats == 133_400 + 129_418  # nobody had a balance
        desk.do("refund", amount_sats=133_400, to="ana@example.org")
        assert desk.legs("pending") == {"r2:refund:2": 133_400}

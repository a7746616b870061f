"""The one rule of evidence, cell by cell: ARCHITECTURE.md has the same table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satmachine.identity import PayeeIdentity, PayeeKind, sale_leg_key
from satmachine.models import Leg, LegStatus, LegType
from satmachine.settlements.pay.adoption import Adoption, FoundPayment, Misfit, Verdict, decide

KEY = sale_leg_key("ab" * 32, 1, "dca:maria")
HASH = "cd" * 32
OTHER = "ef" * 32
LEG = Leg(
    id=1,
    settlement_id=1,
    machine_id="machine-1",
    revision=1,
    position=0,
    leg_type=LegType.DCA,
    leg="dca:maria",
    leg_key=KEY,
    label=None,
    client_id=1,
    amount_sats=7_965,
    fiat_amount_minor=1_000,
    exchange_rate=None,
    currency="GTQ",
    payee="LNbits wallet",
    effective_at=0,
    status=LegStatus.PENDING,
    generation=0,
    payment_hash=None,
    attempts=0,
    next_attempt_at=0,
    hold_reason=None,
    error=None,
    payee_kind=PayeeKind.WALLET,
    payee_ref="w1",
    payee_scope="client:1",
    cause=None,
)
EXTERNAL = replace(LEG, payee_kind=PayeeKind.LIGHTNING_ADDRESS, payee_ref="maria@example.org")
FOUND = FoundPayment(KEY, HASH, 7_965, 0, 1_000)
ADOPT, LEAVE = Adoption(Verdict.ADOPT), Adoption(Verdict.LEAVE)


def hold(misfit: Misfit) -> Adoption:
    return Adoption(Verdict.HOLD, misfit)


@pytest.mark.parametrize(
    ("leg", "live_invoice", "found", "decision"),
    [
        pytest.param(LEG, None, FOUND, ADOPT, id="fits"),
        pytest.param(LEG, HASH, FOUND, ADOPT, id="its own invoice"),
        pytest.param(LEG, HASH, replace(FOUND, amount_sats=1), ADOPT, id="its own invoice, which resolve judges"),
        pytest.param(LEG, None, replace(FOUND, leg_key=KEY + "x"), LEAVE, id="another key"),
        pytest.param(LEG, OTHER, FOUND, hold(Misfit.OTHER_INVOICE), id="another invoice is alive"),
        pytest.param(LEG, None, replace(FOUND, amount_sats=9_000), hold(Misfit.AMOUNT), id="more than the leg"),
        pytest.param(LEG, None, replace(FOUND, amount_sats=7_964), hold(Misfit.AMOUNT), id="less, in this LNbits"),
        pytest.param(LEG, None, replace(FOUND, leg_sats=9_000), hold(Misfit.AMOUNT), id="made for another amount"),
        pytest.param(LEG, None, replace(FOUND, leg_sats=7_965), ADOPT, id="made for this amount"),
        pytest.param(LEG, None, replace(FOUND, fiat_amount_minor=900), hold(Misfit.FIAT), id="for other fiat"),
        pytest.param(LEG, None, replace(FOUND, fiat_amount_minor=None), hold(Misfit.FIAT), id="for no fiat"),
        pytest.param(
            LEG,
            None,
            replace(FOUND, credited=PayeeIdentity(PayeeKind.WALLET, "w2")),
            hold(Misfit.PAYEE),
            id="to another wallet",
        ),
        pytest.param(LEG, None, replace(FOUND, credited=LEG.identity), ADOPT, id="to this wallet"),
        pytest.param(EXTERNAL, None, replace(FOUND, amount_sats=7_885, fee_sats=80), ADOPT, id="payee bears the fee"),
        pytest.param(EXTERNAL, None, replace(FOUND, fee_sats=80), ADOPT, id="the machine bears the fee"),
        pytest.param(
            EXTERNAL, None, replace(FOUND, amount_sats=7_900, fee_sats=80), hold(Misfit.AMOUNT), id="more than it bears"
        ),
        *(
            pytest.param(replace(LEG, status=status), None, FOUND, hold(Misfit.FINAL), id=f"{status} already")
            for status in (LegStatus.COMPLETED, LegStatus.VOIDED, LegStatus.SKIPPED)
        ),
        *(
            pytest.param(replace(LEG, status=status), None, FOUND, ADOPT, id=f"still {status}")
            for status in (LegStatus.FAILED, LegStatus.HELD, LegStatus.INVOICED, LegStatus.SENDING)
        ),
    ],
)
def test_what_a_payment_with_a_key_is(
    leg: Leg, live_invoice: str | None, found: FoundPayment, decision: Adoption
) -> None:
    assert decide(leg, live_invoice, found) == decision

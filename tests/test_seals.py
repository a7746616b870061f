"""Seals: the same payment under the same key, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from satmachine.identity import PayeeKind
from satmachine.models import LegType
from satmachine.seals import Given, Keyring, Ordered, is_beyond

LEG = Ordered(
    machine_id="machine-1",
    settlement_id=1,
    leg_key="sm1:ab:r1:super",
    leg="super",
    leg_type=LegType.SUPER_FEE,
    label=None,
    client_id=None,
    amount_sats=100,
    fiat_amount_minor=None,
    payee="LNbits wallet",
    payee_kind=PayeeKind.WALLET,
    payee_ref="w1",
    payee_scope="super",
    gross_sats=1_000,
)
INVOICE = Given("machine-1", "sm1:ab:r1:super", 1, "ab" * 32, "lnbc1", 100, True, "w1")


@pytest.fixture
def ring() -> Keyring:
    found = Keyring()
    found.learn("machine-1", "admin key")
    return found


def another(field: str) -> dict[str, Any]:
    return {field: "machine-2" if field == "machine_id" else "another"}


@pytest.mark.parametrize("field", [field.name for field in fields(Ordered)])
def test_a_payment_that_differs_in_anything_has_another_seal(ring: Keyring, field: str) -> None:
    seal = ring.seal(LEG)
    changed = replace(LEG, **another(field))
    ring.learn("machine-2", "admin key")
    assert ring.fits(seal, LEG)
    assert not ring.fits(seal, changed)


@pytest.mark.parametrize("field", [field.name for field in fields(Given)])
def test_an_invoice_that_differs_in_anything_has_another_seal(ring: Keyring, field: str) -> None:
    seal = ring.seal(INVOICE)
    ring.learn("machine-2", "admin key")
    assert ring.fits(seal, INVOICE)
    assert not ring.fits(seal, replace(INVOICE, **another(field)))


def test_a_seal_of_another_key_or_kind_or_none_does_not_fit(ring: Keyring) -> None:
    other = Keyring()
    other.learn("machine-1", "another admin key")
    for seal in (None, "", "beyond:", other.seal(LEG), ring.seal(INVOICE), "\ud800", f"{ring.seal(LEG)} "):
        assert not ring.fits(seal, LEG)
    assert Keyring().seal(LEG) is None
    assert not Keyring().fits(ring.seal(LEG), LEG)


def test_what_was_not_approved_beyond_its_sale_cannot_be_called_so(ring: Keyring) -> None:
    seal, beyond = ring.seal(LEG), ring.seal(LEG, beyond=True)
    assert beyond is not None
    assert is_beyond(beyond)
    assert not is_beyond(seal)
    assert ring.fits(beyond, LEG)
    assert not ring.fits(f"beyond:{seal}", LEG)
    assert not ring.fits(beyond.removeprefix("beyond:"), LEG)


def test_a_key_that_takes_the_place_of_another_is_told_once_and_the_former_still_verifies(ring: Keyring) -> None:
    former = ring.seal(LEG)
    assert not ring.learn("machine-1", "admin key")
    assert ring.learn("machine-1", "new key")
    assert not ring.learn("machine-1", "new key")
    assert ring.seal(LEG) != former
    assert ring.fits(former, LEG)
    assert ring.fits(ring.seal(LEG), LEG)

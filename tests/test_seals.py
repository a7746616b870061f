"""Seals: the same payment under the same key, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from satmachine.identity import PayeeKind
from satmachine.models import LegType
from satmachine.seals import Given, Keyring, Ordered, is_beyond, order_seal

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


def test_what_an_earlier_version_has_sealed_is_still_sealed(ring: Keyring) -> None:
    """Or an upgrade would hold every payment that is under way."""
    assert ring.seal(LEG) == "7affcd4439d1d955d208a413a2a510df6880502eabcb0ed9aa738f1a47e901fa"
    assert ring.seal(INVOICE) == "fe7c79c8f5c1265efc203a4bf19c76e5e5f12b2b1d0985d0102eceb4927d7d71"
    assert (
        order_seal("key", 5, "ana", "release", "settlement 1", "{}")
        == "8e7f432fa115576e822e322336142a128252d78ff018a901eb827205bef7febe"
    )


@pytest.mark.parametrize("changed", range(6))
def test_an_order_that_differs_in_anything_has_another_seal(changed: int) -> None:
    said: list[Any] = ["key", 5, "ana", "release", "settlement 1", "{}"]
    other = [*said]
    other[changed] = 6 if changed == 1 else f"{said[changed]}x"
    assert order_seal(*said) == order_seal(*said)
    assert order_seal(*other) != order_seal(*said)


def test_only_machines_whose_key_was_read_can_be_sealed_for(ring: Keyring) -> None:
    assert ring.knows("machine-1")
    assert not ring.knows("machine-2")


def test_a_key_that_is_put_back_seals_again_and_what_the_other_sealed_still_fits(ring: Keyring) -> None:
    """Somebody tries another key, and puts the old one back."""
    first = ring.seal(LEG)
    assert ring.learn("machine-1", "new key")
    second = ring.seal(LEG)
    assert ring.learn("machine-1", "admin key")
    assert ring.seal(LEG) == first
    assert ring.fits(second, LEG)


def test_nothing_is_approved_beyond_its_sale_that_has_no_seal() -> None:
    assert not is_beyond(None)
    assert not is_beyond("")


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

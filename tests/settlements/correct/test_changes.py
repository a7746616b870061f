"""Corrections against the database: what they write, what they refuse, and that every revision conserves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from satmachine.audit.proof import check_books
from satmachine.config import load
from satmachine.errors import Refused
from satmachine.models import Answer, HoldReason, RetainedReason, SettlementStatus
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.store import corrections, legs, settlements
from satmachine.store.database import atomic
from satmachine.wallet.rows import WalletPayment
from testkit.books import NOW
from testkit.config_files import VALID
from testkit.sale_desk import Desk, add_provider, open_desk

LEGS = {
    "r1:super": 2_390,
    "r1:split:owner": 3_902,
    "r1:split:technician": 1_673,
    "r1:dca:alice": 129_418,
    "r1:dca:bruno": 77_650,
    "r1:dca:carla": 51_767,
}
HALF = {
    "r2:super": 1_195,
    "r2:split:owner": 1_951,
    "r2:split:technician": 836,
    "r2:dca:alice": 64_709,
    "r2:dca:bruno": 38_825,
    "r2:dca:carla": 25_884,
}
HALVE = {"part": 1, "whole": 2}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """The worked example, landed and proven; its books must be right when the test ends."""
    found = open_desk(tmp_path)
    for label, amount in (("alice", 100_000), ("bruno", 60_000), ("carla", 40_000)):
        add_provider(found, label, amount)
    found.land()
    with closing(found.conn):
        yield found
        assert check_books(found.conn) == []


@pytest.fixture
def planned(desk: Desk) -> Desk:
    desk.plan()
    assert desk.legs() == LEGS
    return desk


# --- partial dispense


async def test_half_of_the_worked_example_before_anything_is_planned(desk: Desk) -> None:
    await desk.ask("partial_dispense", **HALVE)
    assert desk.sale().retained_sats == 133_400
    desk.plan()
    assert desk.legs() == HALF
    assert desk.sale().fiat_amount_minor == 90_000


async def test_half_of_the_worked_example_before_payout(planned: Desk) -> None:
    said = await planned.ask("partial_dispense", **HALVE)
    assert said == "sale 1 now shares out 133400 sats; 133400 sats that were not dispensed are retained."
    assert planned.legs("voided") == LEGS
    planned.plan()
    assert planned.legs("pending") == HALF
    planned.pay_all()
    sale = planned.sale()
    assert (sale.status, sale.revision, sale.retained_sats) == (SettlementStatus.PROCESSED, 2, 133_400)
    assert planned.aside == [1]


async def test_half_of_the_worked_example_after_a_failure(planned: Desk) -> None:
    planned.fail("dca:alice")
    assert planned.sale().status is SettlementStatus.ERRORED
    await planned.ask("partial_dispense", **HALVE)
    assert planned.sale().status is SettlementStatus.PENDING
    planned.plan()
    assert planned.legs("pending") == HALF
    evidence = planned.conn.execute("SELECT evidence FROM dca_payments WHERE leg = 'dca:alice' AND revision = 1")
    assert evidence.fetchone()[0] == '{"source": "absent", "destination": "pending", "expired": false}'


async def test_it_is_refused_once_a_leg_is_paid(planned: Desk) -> None:
    planned.pay("split:owner")
    with pytest.raises(Refused, match=r"payment \d+ of sale 1 is paid, and Lightning cannot claw back"):
        await planned.ask("partial_dispense", **HALVE)
    assert planned.sale().revision == 1


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (View(Sighting.PENDING, Sighting.PENDING, False), "on its way"),
        (View(Sighting.SUCCESS, Sighting.PENDING, False), "machine's wallet shows it paid"),
        (View(Sighting.ABSENT, Sighting.SUCCESS, False), "payee's wallet shows it paid"),
        (View(Sighting.ABSENT, Sighting.PENDING, False), "LNbits may still be working on it"),
    ],
)
@pytest.mark.parametrize("action", ["partial_dispense", "close"])
async def test_it_is_refused_while_a_legs_fate_is_not_proven(
    planned: Desk, action: str, view: View, words: str
) -> None:
    planned.invoice("dca:bruno")
    planned.views["dca:bruno"] = view
    with pytest.raises(Refused, match=rf"payment \d+ of sale 1 is not proven unpaid: .*{words}"):
        await planned.ask(action, **(HALVE if action == "partial_dispense" else {}))
    assert planned.legs("voided") == {}
    assert planned.withdrawn == [], "what may be under way keeps its mark"


async def test_a_payment_that_these_books_do_not_have_refuses_it(planned: Desk) -> None:
    planned.wallet.rows = [a_payment(planned.leg("super").leg_key)]
    with pytest.raises(Refused, match=r"do not have as completed .*`satmachine machines reconcile panajachel-1`"):
        await planned.ask("partial_dispense", **HALVE)


async def test_what_was_paid_of_a_payment_that_lost_its_seal_is_approved_and_not_given_up(planned: Desk) -> None:
    """The machine has another key since it was ordered, and it was paid before: reconciling does not list it."""
    leg = planned.leg("super")
    with atomic(planned.conn):
        legs.hold(planned.conn, leg, reason=HoldReason.UNORDERED, error="not ordered in this form", evidence={})
    planned.wallet.rows = [a_payment(leg.leg_key)]
    with pytest.raises(Refused, match=rf"are right, `satmachine payments approve {leg.id}` books it"):
        await planned.order("payments.cancel", payment_id=leg.id, reason="nobody knows")
    with atomic(planned.conn):
        legs.renew(planned.conn, legs.get(planned.conn, leg.id)[0], now=NOW)


async def test_what_was_paid_of_a_payment_whose_payee_cannot_be_asked_is_vouched_for(planned: Desk) -> None:
    """Another daemon has sent its invoice, and the payee's wallet is another one by now: reconciling leaves it to the
    daemon, and the daemon looks nowhere."""
    planned.invoice("dca:bruno", sent=False)
    planned.gone.add("dca:bruno")
    leg = planned.leg("dca:bruno")
    planned.wallet.rows = [replace(a_payment(leg.leg_key), payment_hash=str(leg.payment_hash))]
    with pytest.raises(Refused, match=rf"made for payment {leg.id} .*`satmachine payments resolve {leg.id} --paid`"):
        await planned.ask("close")


async def test_a_leg_that_moves_between_look_and_write_refuses_it(planned: Desk) -> None:
    planned.fail("dca:alice")
    original = planned.look_up

    async def slow_look_up(leg_id: int) -> View | None:
        if planned.withdrawn:  # the second look, the last before the books are changed
            planned.invoice("super")
        return await original(leg_id)

    planned.look_up = slow_look_up  # type: ignore[method-assign]
    with pytest.raises(Refused, match="was changed in the meantime"):
        await planned.ask("partial_dispense", **HALVE)
    assert planned.legs("voided") == {}
    assert planned.sale().revision == 1


async def test_a_second_correction_scales_from_the_original_figures(planned: Desk) -> None:
    await planned.ask("partial_dispense", part=1, whole=3)
    planned.plan()
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    assert planned.legs("pending") == {name.replace("r2", "r3"): sats for name, sats in HALF.items()}
    await planned.ask("partial_dispense", part=1, whole=1)
    assert (planned.sale().net_sats, planned.sale().undispensed_sats, planned.sale().retained_sats) == (258_835, 0, 0)
    with pytest.raises(Refused, match="nothing changes"):
        await planned.ask("partial_dispense", part=1, whole=1)


async def test_a_held_settlement_stays_held(planned: Desk) -> None:
    with atomic(planned.conn):
        settlements.hold(planned.conn, 1, reason="by_operator", error="jam")
    assert "still held" in await planned.ask("partial_dispense", **HALVE)
    assert planned.sale().status is SettlementStatus.HELD


async def test_nothing_dispensed_pays_nobody(planned: Desk) -> None:
    await planned.ask("partial_dispense", part=0, whole=1)
    planned.plan()
    assert planned.sale().status is SettlementStatus.PROCESSED
    assert planned.sale().retained_sats == 266_800


async def test_original_values_reason_and_new_values_are_in_the_notes_and_the_audit_log(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    notes = planned.conn.execute("SELECT notes FROM dca_settlements").fetchone()[0]
    assert "maria] Partial dispense of 266800 sats: jam." in notes
    assert "Before: net 258835, commission 7965, not dispensed 0 sats, cash 1800.00 GTQ." in notes
    assert "Now: net 129418, commission 3982, not dispensed 133400 sats, cash 900.00 GTQ." in notes
    assert planned.audit()[0] == ("settlement.partial_dispense", "maria", "jam")


# --- close


async def test_closing_voids_what_is_unpaid_and_retains_it_leg_by_leg(planned: Desk) -> None:
    planned.pay("super")
    planned.fail("dca:alice")
    await planned.ask("close")
    sale = planned.sale()
    assert (sale.status, sale.retained_sats) == (SettlementStatus.PARTIAL, 266_800 - 2_390)
    assert planned.legs("completed") == {"r1:super": 2_390}
    entries = {(row.reason, row.leg): row.amount_sats for row in corrections.ledger(planned.conn, 1)}
    assert entries[RetainedReason.VOIDED_LEG, "dca:alice"] == 129_418


async def test_a_sale_that_was_never_planned_can_be_closed_and_refunded(desk: Desk) -> None:
    with atomic(desk.conn):
        settlements.hold(desk.conn, 1, reason="commission_out_of_bounds", error="too high")
    await desk.ask("close")
    assert desk.sale().retained_sats == 266_800
    await desk.ask("refund", amount_sats=266_800, to="ana@example.org")
    assert desk.legs("pending") == {"r1:refund:1": 266_800}
    desk.pay("refund:1")
    assert desk.sale().status is SettlementStatus.REFUNDED


# --- refund


async def test_a_refund_draws_on_what_was_not_dispensed_and_never_exceeds_what_is_retained(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    with pytest.raises(Refused, match="retains 133400 sats: 133401 sats cannot be"):
        await planned.ask("refund", amount_sats=133_401, to="ana@example.org")
    await planned.ask("refund", amount_sats=100_000, to="ana@example.org")
    await planned.ask("refund", amount_sats=33_400, to="ana@example.org")
    assert planned.sale().retained_sats == 0
    planned.pay_all()
    assert planned.sale().status is SettlementStatus.REFUNDED
    assert planned.legs("completed") == HALF | {"r2:refund:1": 100_000, "r2:refund:2": 33_400}


async def test_a_refund_number_that_another_life_has_used_is_not_used_again(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    row = a_payment(f"sm1:{1:064x}:r2:refund:4")
    planned.wallet.rows = [row]
    with pytest.raises(Refused, match="machines reconcile panajachel-1"):
        await planned.ask("refund", amount_sats=100, to="ana@example.org")
    with atomic(planned.conn):
        planned.conn.execute(
            "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, made_at, "
            "first_seen_at, settled_by) VALUES ('panajachel-1', ?, ?, 1, 'success', '{}', 1, 1, 'maria')",
            (row.payment_hash, row.leg_key),
        )
    assert "as refund:5" in await planned.ask("refund", amount_sats=100, to="ana@example.org")


async def test_routing_fees_of_a_refund_to_an_invoice_are_drawn_with_it(planned: Desk) -> None:
    invoice = an_invoice()
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    planned.wallet.reserve_sats = 133_400
    with pytest.raises(Refused, match="too little for 2000 sats and up to 133400 sats of routing fees"):
        await planned.ask("refund", amount_sats=2_000, to=invoice)
    planned.wallet.reserve_sats = 20
    await planned.ask("refund", amount_sats=2_000, to=invoice)
    assert planned.leg("refund:1").amount_sats == 2_020
    with pytest.raises(Refused, match="used for a payment already"):
        await planned.ask("refund", amount_sats=2_000, to=invoice)


async def test_a_refund_draws_what_was_shown_or_is_refused(planned: Desk) -> None:
    invoice = an_invoice()
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    planned.wallet.reserve_sats = 21
    with pytest.raises(Refused, match="sets 21 sats aside for routing fees, not 20: ask again with --reserve 21"):
        await planned.ask("refund", amount_sats=2_000, draw_sats=2_020, to=invoice)
    planned.wallet.reserve_sats = 0
    await planned.ask("refund", amount_sats=2_000, draw_sats=2_020, to=invoice)
    assert planned.leg("refund:1").amount_sats == 2_020
    assert planned.sale().retained_sats == 133_400 - 2_020


@pytest.mark.parametrize(
    ("amount_sats", "invoice", "words"),
    [
        (1_999, None, "the invoice is over 2000000 msats, the refund over 1999000"),
        (2_000, "lnbc1nonsense", "no Lightning invoice"),
    ],
)
async def test_an_invoice_must_be_over_exactly_the_amount(
    planned: Desk, amount_sats: int, invoice: str | None, words: str
) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    with pytest.raises(Refused, match=words):
        await planned.ask("refund", amount_sats=amount_sats, to=invoice or an_invoice())


async def test_the_machines_own_invoice_is_refused(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    planned.wallet.known_hashes = {INVOICE_HASH}
    with pytest.raises(Refused, match="own wallet knows this invoice"):
        await planned.ask("refund", amount_sats=2_000, to=an_invoice())


async def test_a_voided_refund_gives_its_sats_back(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    await planned.ask("refund", amount_sats=100_000, to="ana@example.org")
    await planned.ask("partial_dispense", part=1, whole=4)
    assert planned.sale().retained_sats == 200_100
    planned.plan()
    assert "as refund:2" in await planned.ask("refund", amount_sats=200_100, to="ana@example.org")


# --- redistribute


async def test_a_rate_that_was_unknown_lets_the_lps_be_paid(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 1_000_000)
    desk.land(exchange_rate=Decimal(0))
    desk.plan()
    desk.pay_all()
    assert desk.sale().retained_sats == 258_835
    with pytest.raises(Refused, match="state it with --rate"):
        await desk.ask("redistribute")
    await desk.ask("redistribute", rate="143.797")
    assert desk.legs("pending") == {"r2:dca:alice": 258_835}
    assert desk.sale().status is SettlementStatus.PENDING
    desk.pay_all()
    assert (desk.sale().status, desk.sale().retained_sats) == (SettlementStatus.PROCESSED, 0)
    assert check_books(desk.conn) == []
    with pytest.raises(Refused, match="retains nothing that could be shared out"):
        await desk.ask("redistribute")


async def test_a_deposit_confirmed_after_the_sale_counts_only_when_asked(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 100_000, confirmed_at=NOW + 50)
    desk.land()
    desk.plan()
    desk.pay_all()
    with pytest.raises(Refused, match="--balances now"):
        await desk.ask("redistribute")
    said = await desk.ask("redistribute", as_of=NOW + 100)
    assert said == "sale 1 pays 143797 sats that were retained; 115038 sats stay"
    with pytest.raises(Refused, match="nobody has a balance"):
        await desk.ask("redistribute", as_of=NOW + 100)
    assert check_books(desk.conn) == []


async def test_a_payee_and_a_ruleset_that_were_missing(tmp_path: Path) -> None:
    bare = VALID.replace('payee = { invoice_key = { env = "SUPER_KEY" } }', "")
    start, end = bare.index("[[operators.splits]]"), bare.index("[[machines]]")
    desk = open_desk(tmp_path, bare[:start] + bare[end:])
    desk.land()
    desk.plan()
    assert desk.legs() == {}
    (tmp_path / "full").mkdir()
    full = open_desk(tmp_path / "full")
    full.conn.close()
    desk.config = full.config
    await desk.ask("redistribute")
    assert desk.legs() == {"r2:super": 2_390, "r2:split:owner": 3_902, "r2:split:technician": 1_673}
    assert desk.sale().retained_sats == 258_835
    assert check_books(desk.conn) == []


async def test_what_was_not_dispensed_is_never_shared_out(planned: Desk) -> None:
    await planned.ask("partial_dispense", **HALVE)
    planned.plan()
    planned.pay_all()
    with pytest.raises(Refused, match="retains nothing that could be shared out"):
        await planned.ask("redistribute")


async def test_a_closed_sale_can_be_shared_out_after_all(planned: Desk) -> None:
    planned.pay("super")
    await planned.ask("close")
    await planned.ask("redistribute")
    assert planned.legs("pending") == {name.replace("r1", "r2"): s for name, s in LEGS.items() if name != "r1:super"}
    planned.pay_all()
    assert planned.sale().status is SettlementStatus.PROCESSED


async def test_what_was_given_up_goes_back_to_whom_it_was_meant_for_and_not_by_the_rules(planned: Desk) -> None:
    for name in ("super", "split:owner", "dca:alice", "dca:bruno"):
        planned.pay(name)
    await planned.ask("close")
    await planned.ask("redistribute")
    assert planned.legs("pending") == {"r2:split:technician": 1_673, "r2:dca:carla": 51_767}
    assert planned.sale().retained_sats == 0
    assert planned.sale().person_acted_at == NOW


async def test_what_was_given_up_goes_to_whom_the_person_names(planned: Desk) -> None:
    for name in ("super", "split:owner", "dca:alice", "dca:bruno", "dca:carla"):
        planned.pay(name)
    await planned.ask("close")
    await planned.ask("redistribute", to="split:owner")
    assert planned.legs("pending") == {"r2:split:owner": 1_673}


@pytest.mark.parametrize("to", ["split:nobody", "dca:nobody", "refund:1", "nobody"])
async def test_a_name_that_nobody_has_is_refused(planned: Desk, to: str) -> None:
    await planned.ask("close")
    with pytest.raises(Refused, match=f"nothing can be paid as {to} now"):
        await planned.ask("redistribute", to=to)
    assert planned.legs("pending") == {}


async def test_what_was_a_payees_who_is_not_there_any_more_stays(planned: Desk) -> None:
    for name in ("super", "split:owner", "dca:alice", "dca:bruno", "dca:carla"):
        planned.pay(name)
    await planned.ask("close")
    text = planned.path.read_text().replace('label = "technician"', 'label = "mechanic"')
    planned.path.write_text(text)
    planned.config = load(planned.path, environ=planned.config.environ)
    with pytest.raises(Refused, match="can be shared out now"):
        await planned.ask("redistribute")
    assert planned.sale().retained_sats == 1_673


async def test_an_lp_gets_back_at_most_what_the_balance_is_now(planned: Desk) -> None:
    for name in ("super", "split:owner", "split:technician", "dca:alice", "dca:bruno"):
        planned.pay(name)
    await planned.ask("close")
    with atomic(planned.conn):  # 300 of carla's 400 are being paid out meanwhile
        planned.conn.execute(
            "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, fiat_amount_minor, "
            "exchange_rate, currency, payee, effective_at, planned_at, payee_kind) VALUES ('panajachel-1', "
            "'settlement', 'bal:carla:1', 'sm1:bal:panajachel-1:carla:1', 3, 43139, 30000, '143.797', 'GTQ', "
            "'carla@example.org', 1, 1, 'lightning_address')"
        )
    await planned.ask("redistribute")
    assert planned.legs("pending") == {"r2:dca:carla": 14_379}  # 100 x 143.797, rounded down
    assert planned.sale().retained_sats == 51_767 - 14_379


async def test_what_was_given_up_and_what_was_nobodys_are_revisions_of_their_own(tmp_path: Path) -> None:
    """Both have a leg for the same LP, and a key is never used twice."""
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 100_000)
    desk.land()
    desk.plan()
    given_up = desk.leg("dca:alice").amount_sats
    orphan = next(row.amount_sats for row in corrections.ledger(desk.conn, 1))
    await desk.ask("close")
    add_provider(desk, "bruno", 10_000_000)
    await desk.ask("redistribute", as_of=NOW + 10)
    found = desk.legs("pending")
    assert found["r2:dca:alice"] == given_up
    assert sum(sats for name, sats in found.items() if name.startswith("r3:dca:")) == orphan
    assert "r3:dca:bruno" in found
    assert desk.sale().revision == 3
    assert desk.sale().retained_sats == 0
    assert check_books(desk.conn) == []
    desk.pay_all()
    assert check_books(desk.conn) == []


async def test_a_rate_that_is_known_is_not_replaced(planned: Desk) -> None:
    await planned.ask("close")
    with pytest.raises(Refused, match=r"is known, 143.797 sats per GTQ: leave out --rate"):
        await planned.ask("redistribute", rate="100")


# --- helpers

#: An invoice over 2000 sats, and its payment hash.
INVOICE_HASH = "0001020304050607080900010203040506070809000102030405060708090102"


def an_invoice() -> str:
    return make_invoice(2_000, INVOICE_HASH, NOW, 3_600)


def make_invoice(amount_sats: int, payment_hash: str, created_at: int, expiry_s: int) -> str:
    """A BOLT 11 invoice with a signature of zeros, which satmachine leaves to the node that pays."""
    from bech32 import bech32_encode, convertbits

    def field(tag: str, groups: list[int]) -> list[int]:
        return ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(tag), len(groups) // 32, len(groups) % 32, *groups]

    def number(value: int, length: int) -> list[int]:
        return [(value >> 5 * (length - 1 - place)) & 31 for place in range(length)]

    payment = convertbits(bytes.fromhex(payment_hash), 8, 5) or []
    data = [*number(created_at, 7), *field("p", payment), *field("x", number(expiry_s, 4)), *([0] * 104)]
    return str(bech32_encode(f"lnbc{amount_sats * 10}n", data))


def a_payment(leg_key: str) -> WalletPayment:
    """An outgoing payment of the machine's wallet."""
    return WalletPayment(
        payment_hash="ee" * 32,
        checking_id="x",
        wallet_id="w",
        amount_msat=-1000,
        fee_msat=0,
        status=Answer.SUCCESS,
        memo="",
        tag=None,
        extra={},
        external_id=leg_key,
        bolt11="",
        preimage=None,
        created_at=NOW,
        updated_at=NOW,
    )

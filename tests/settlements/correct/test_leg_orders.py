"""What a person orders for single payments: send it elsewhere, give it up, vouch for it. Every dead end has an exit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from satmachine.audit.proof import check_books
from satmachine.cli.main import app
from satmachine.clients.removal import remove
from satmachine.config import load
from satmachine.errors import Refused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Answer, Cause, HoldReason, LegStatus, SettlementStatus
from satmachine.orders import Repoint
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.store import clients, intent_rows, legs, payees, settlements, wallet_rows
from satmachine.store.database import atomic
from testkit.books import NOW, give_invoice
from testkit.config_files import VALID
from testkit.sale_desk import Desk, add_provider, hash_of, open_desk, preimage_of
from tests.settlements.correct.test_changes import a_payment

TECH = 'payee = { lightning_address = "tech@example.org" }'
ALICE = {"payee_kind": "lightning_address", "payee": "alice@other.example"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A sale with all its legs still to pay; the books must be right when the test ends."""
    found = open_desk(tmp_path)
    add_provider(found, "alice", 10_000_000)
    found.land()
    found.plan()
    with closing(found.conn):
        yield found
        assert check_books(found.conn) == []


def rename(desk: Desk, old: str, new: str) -> None:
    """The operator changes the file, and reloads."""
    text = desk.path.read_text()
    assert old in text
    desk.path.write_text(text.replace(old, new))
    desk.config = load(desk.path, environ=desk.config.environ)


def update_alice(desk: Desk, **changes: object) -> None:
    with atomic(desk.conn):
        clients.update(desk.conn, clients.get(desk.conn, 1), changes, actor="maria", now=NOW)


def remove_alice(desk: Desk) -> None:
    with atomic(desk.conn):
        remove(desk.conn, 1, actor="maria", now=NOW, write_off="moved away")


async def repoint(desk: Desk, *names: str) -> str:
    ids = [desk.leg(name).id for name in names]
    return await desk.order("payments.repoint", payment_ids=ids, reason="moved")


async def resolve(desk: Desk, name: str, verdict: str) -> str:
    return await desk.order(f"payments.declare_{verdict}", payment_id=desk.leg(name).id, reason="asked")


def a_payout(desk: Desk) -> int:
    """A balance payout that is still to pay; returns its id."""
    from decimal import Decimal

    from satmachine.clients.payout import plan_balance_payout

    with atomic(desk.conn):
        plan_balance_payout(
            desk.conn, 1, exchange_rate=Decimal(100), amount_minor=1_000, number=1, actor="maria", now=NOW
        )
        row = desk.conn.execute("SELECT id FROM dca_payments WHERE leg_type = 'settlement'").fetchone()
    return int(row["id"])


class TestPendingForEver:
    """A payment to elsewhere that the wallet calls pending: only the payee's word, or weeks, end it."""

    HOUR_S, DAY_S = 3_600, 86_400

    def on_its_way(self, desk: Desk, *, since_s: int, expired_s: int) -> None:
        name = "cd" * 32
        leg = desk.leg("split:technician")
        with atomic(desk.conn):
            give_invoice(desk.conn, leg.id, name, expires_at=NOW - expired_s, internal=False, now=NOW - since_s)
            desk.conn.execute("UPDATE dca_payments SET status = 'sending' WHERE id = ?", (leg.id,))
            desk.conn.execute("UPDATE dca_invoices SET sent_at = ? WHERE payment_id = ?", (NOW - since_s, leg.id))
        row = replace(a_payment(leg.leg_key), payment_hash=name, checking_id=name, status=Answer.PENDING)
        desk.wallet.rows = [row]
        desk.views["split:technician"] = View(Sighting.PENDING, None, expired_s > 0)

    async def test_the_daemon_waits_for_the_first_hour(self, desk: Desk) -> None:
        self.on_its_way(desk, since_s=self.HOUR_S - 60, expired_s=0)
        with pytest.raises(Refused, match="ask the payee: once they have it"):
            await resolve(desk, "split:technician", "paid")

    async def test_one_that_another_life_has_sent_is_not_older_than_its_invoice(self, desk: Desk) -> None:
        self.on_its_way(desk, since_s=600, expired_s=0)
        desk.conn.execute("UPDATE dca_invoices SET sent_at = NULL")
        with pytest.raises(Refused, match="pending, for 10 minutes"):
            await resolve(desk, "split:technician", "paid")

    async def test_then_the_payees_word_ends_it(self, desk: Desk) -> None:
        self.on_its_way(desk, since_s=self.HOUR_S, expired_s=0)
        await resolve(desk, "split:technician", "paid")
        assert desk.leg("split:technician").status is LegStatus.COMPLETED

    @pytest.mark.parametrize("days", [0, 1, 14])
    async def test_nobody_can_say_that_it_is_unpaid_while_a_node_may_hold_it(self, desk: Desk, days: int) -> None:
        self.on_its_way(desk, since_s=20 * self.DAY_S, expired_s=days * self.DAY_S)
        with pytest.raises(Refused, match="15 days after its invoice has expired"):
            await resolve(desk, "split:technician", "unpaid")

    async def test_afterwards_it_is_made_anew_and_the_old_one_is_decided(self, desk: Desk) -> None:
        self.on_its_way(desk, since_s=20 * self.DAY_S, expired_s=15 * self.DAY_S + 1)
        await resolve(desk, "split:technician", "unpaid")
        leg = desk.leg("split:technician")
        assert (leg.status, leg.error) == (LegStatus.FAILED, None)
        assert wallet_rows.is_decided(desk.conn, leg.machine_id, "cd" * 32), "or it would hold the leg for ever"


class TestRepoint:
    async def test_a_leg_goes_to_whom_the_file_names_now(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        said = await repoint(desk, "split:technician")
        leg = desk.leg("split:technician")
        assert said == f"payment {leg.id} goes to new@example.org now"
        assert leg.identity == PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "new@example.org")
        assert (leg.payee, leg.status, leg.amount_sats) == ("new@example.org", LegStatus.PENDING, 1_673)
        assert payees.known(desk.conn, str(leg.payee_scope)) == leg.identity
        assert desk.withdrawn == [leg.id]
        assert ("leg.repoint", "maria", "moved") in desk.audit()
        notes = desk.conn.execute("SELECT notes FROM dca_settlements").fetchone()[0]
        assert "(split:technician) goes to new@example.org instead of tech@example.org: moved." in notes
        assert desk.sale().person_acted_at == NOW

    async def test_which_wallet_a_new_key_leads_to_is_learnt_anew(self, desk: Desk) -> None:
        with atomic(desk.conn):
            legs.learn_payee(desk.conn, desk.leg("super"), "w-old", NOW)
        await repoint(desk, "super")
        leg = desk.leg("super")
        assert leg.identity == PayeeIdentity(PayeeKind.WALLET, None)
        assert payees.known(desk.conn, "super") is None
        with atomic(desk.conn):
            assert legs.learn_payee(desk.conn, leg, "w-new", NOW)

    async def test_an_lps_leg_goes_to_their_new_address(self, desk: Desk) -> None:
        update_alice(desk, **ALICE)
        await repoint(desk, "dca:alice")
        assert desk.leg("dca:alice").payee == "alice@other.example"

    async def test_a_hold_because_of_the_payee_is_lifted(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        with atomic(desk.conn):
            leg = desk.leg("split:technician")
            legs.hold(desk.conn, leg, reason=HoldReason.PAYEE_CHANGED, error="x", evidence={})
            settlements.refresh_status(desk.conn, 1, NOW)
        assert desk.sale().status is SettlementStatus.ERRORED
        await repoint(desk, "split:technician")
        leg = desk.leg("split:technician")
        assert (leg.status, leg.hold_reason, leg.cause, leg.error) == (LegStatus.PENDING, None, None, None)
        assert desk.sale().status is SettlementStatus.PENDING

    async def test_an_invoice_that_was_only_made_is_given_up(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        desk.invoice("split:technician", sent=False)
        await repoint(desk, "split:technician")
        leg, invoice = legs.get(desk.conn, desk.leg("split:technician").id)
        assert invoice is not None
        assert invoice.dead_at == NOW
        assert leg.payment_hash is None

    async def test_an_invoice_of_the_former_payee_that_is_just_being_made_finds_the_leg_changed(
        self, desk: Desk
    ) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        in_hand = desk.leg("split:technician")
        await repoint(desk, "split:technician")
        with atomic(desk.conn):
            assert not legs.add_invoice(
                desk.conn,
                in_hand,
                bolt11="lnbc1",
                payment_hash="ab" * 32,
                amount_sats=5,
                expires_at=None,
                wallet_id=None,
                now=NOW,
            )

    @pytest.mark.parametrize(
        ("view", "words"),
        [
            (View(Sighting.SUCCESS, None, False), "machine's wallet shows it paid"),
            (View(Sighting.PENDING, None, False), "on its way"),
            (View(Sighting.ABSENT, None, False), "LNbits may still be working on it"),
        ],
    )
    async def test_it_is_refused_while_the_former_payees_invoice_could_be_paid(
        self, desk: Desk, view: View, words: str
    ) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        before = desk.invoice("split:technician")
        desk.views["split:technician"] = view
        with pytest.raises(Refused, match=words):
            await repoint(desk, "split:technician")
        assert desk.leg("split:technician") == before
        assert desk.withdrawn == []

    async def test_what_was_sent_refused_and_withdrawn_may_go_elsewhere(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        desk.fail("split:technician")
        desk.views["split:technician"] = View(Sighting.ABSENT, None, False)
        await repoint(desk, "split:technician")
        assert desk.leg("split:technician").status is LegStatus.PENDING

    async def test_a_payment_in_the_wallet_refuses_it(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        desk.wallet.rows = [a_payment(desk.leg("split:technician").leg_key)]
        with pytest.raises(Refused, match="do not have as completed"):
            await repoint(desk, "split:technician")

    async def test_of_several_those_that_can_go_do_and_the_others_are_named(self, desk: Desk) -> None:
        rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
        update_alice(desk, **ALICE)
        desk.invoice("dca:alice")
        said = await repoint(desk, "split:technician", "dca:alice", "split:owner")
        assert "goes to new@example.org" in said
        assert "of sale 1 is not proven unpaid" in said
        assert desk.leg("dca:alice").payee == "alice@example.org"

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("split:technician", "goes there already"),
            ("dca:alice", "may have been paid: `satmachine payments resolve"),
        ],
    )
    async def test_what_has_nowhere_to_go_is_refused(self, desk: Desk, name: str, words: str) -> None:
        with atomic(desk.conn):
            legs.hold(desk.conn, desk.leg("dca:alice"), reason=HoldReason.DEBIT_WITHOUT_CREDIT, error="x", evidence={})
        with pytest.raises(Refused, match=words):
            await repoint(desk, name)
        with atomic(desk.conn):
            desk.conn.execute("UPDATE dca_payments SET status = 'pending', hold_reason = NULL WHERE status = 'held'")

    async def test_a_payee_that_nobody_names_any_more_is_said_so(self, desk: Desk) -> None:
        leg = replace(desk.leg("split:technician"))
        rename(desk, 'label = "technician"', 'label = "mechanic"')
        with pytest.raises(Refused, match=f"payment {leg.id}: the file names no payee for split:technician"):
            await repoint(desk, "split:technician")

    async def test_a_refund_is_not_sent_elsewhere(self, desk: Desk) -> None:
        await desk.ask("close")
        await desk.ask("refund", amount_sats=100, to="ana@example.org")
        with pytest.raises(Refused, match="is a refund, to whom the customer said"):
            await repoint(desk, "refund:1")


class TestDeadPayees:
    """Deleted wallets, key files that the daemon may not read, addresses that do not resolve."""

    @pytest.fixture(params=["never asked", "asked by an earlier version", "made", "marked"])
    def stuck(self, desk: Desk, request: pytest.FixtureRequest) -> Desk:
        """Alice's leg failed, and her payee cannot be asked; no invoice was ever sent."""
        leg = desk.leg("dca:alice")
        if request.param == "asked by an earlier version":
            with atomic(desk.conn):
                desk.conn.execute(
                    "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, internal) "
                    "VALUES (?, 1, ?, ?, 1)",
                    (leg.id, leg.amount_sats, NOW),
                )
                desk.conn.execute("UPDATE dca_payments SET generation = 1 WHERE id = ?", (leg.id,))
        elif request.param != "never asked":
            desk.invoice("dca:alice", sent=False)
        if request.param == "made":
            with atomic(desk.conn):
                desk.conn.execute("UPDATE dca_invoices SET marked_at = NULL, mark_id = NULL")
        desk.gone.add("dca:alice")
        with atomic(desk.conn):
            leg = desk.leg("dca:alice")
            legs.postpone(
                desk.conn, leg, status=LegStatus.FAILED, until=None, error="gone", cause=Cause.PAYEE_UNREACHABLE
            )
        return desk

    async def test_the_sale_can_be_closed_and_the_lp_removed(self, stuck: Desk) -> None:
        await stuck.ask("close")
        assert stuck.leg("dca:alice").status is LegStatus.VOIDED
        remove_alice(stuck)

    async def test_the_lp_can_be_updated_and_the_leg_repointed(
        self, stuck: Desk, request: pytest.FixtureRequest
    ) -> None:
        if "marked" in request.node.name:
            with pytest.raises(Refused, match="payments resolve"):
                update_alice(stuck, **ALICE)
            await resolve(stuck, "dca:alice", "unpaid")
        update_alice(stuck, **ALICE)
        await repoint(stuck, "dca:alice")
        assert stuck.leg("dca:alice").payee == "alice@other.example"

    async def test_a_payout_can_be_cancelled_and_the_balance_is_the_lps_again(self, desk: Desk) -> None:
        payout = a_payout(desk)
        with atomic(desk.conn):
            leg, _ = legs.get(desk.conn, payout)
            legs.postpone(desk.conn, leg, status=LegStatus.FAILED, until=None, error="gone")
        said = await desk.order("payments.cancel", payment_id=payout, reason="gone")
        assert said == f"payment {payout} is given up; the balance is the LP's again"
        assert legs.get(desk.conn, payout)[0].status is LegStatus.VOIDED
        assert desk.withdrawn == [payout]
        with pytest.raises(Refused, match="is voided: there is nothing to give up"):
            await desk.order("payments.cancel", payment_id=payout, reason="gone")

    async def test_a_leg_of_a_sale_is_not_cancelled_here(self, desk: Desk) -> None:
        with pytest.raises(Refused, match="settlements close"):
            await desk.order("payments.cancel", payment_id=desk.leg("super").id, reason="x")


class TestSentToAWalletThatIsGone:
    """An invoice was sent, and its payee's wallet cannot be asked any more: a person asks the payee, and decides."""

    @pytest.fixture
    def sending(self, desk: Desk) -> Desk:
        desk.invoice("dca:alice")
        desk.gone.add("dca:alice")
        return desk

    @pytest.mark.parametrize("action", ["close", "partial_dispense"])
    async def test_corrections_name_the_way_out(self, sending: Desk, action: str) -> None:
        leg = sending.leg("dca:alice")
        params = {"part": 1, "whole": 2} if action == "partial_dispense" else {}
        with pytest.raises(Refused, match=f"satmachine payments resolve {leg.id} --unpaid"):
            await sending.ask(action, **params)
        with pytest.raises(Refused, match=f"satmachine payments resolve {leg.id}"):
            update_alice(sending, **ALICE)

    async def test_unpaid_leads_to_closing_updating_and_removing(self, sending: Desk) -> None:
        await resolve(sending, "dca:alice", "unpaid")
        assert sending.leg("dca:alice").status is LegStatus.FAILED
        update_alice(sending, **ALICE)
        await repoint(sending, "dca:alice")
        await sending.ask("close")
        remove_alice(sending)

    async def test_paid_completes_it_on_the_persons_word(self, sending: Desk) -> None:
        await resolve(sending, "dca:alice", "paid")
        row = sending.conn.execute(
            "SELECT status, proof, vouched_by, error FROM dca_payments WHERE leg = 'dca:alice'"
        ).fetchone()
        assert tuple(row) == ("completed", "person", "maria: asked", None)
        assert sending.sale().person_acted_at == NOW

    async def test_it_is_not_unpaid_while_the_machines_wallet_shows_a_payment(self, sending: Desk) -> None:
        leg = sending.leg("dca:alice")
        sending.wallet.rows = [replace(a_payment(leg.leg_key), payment_hash=hash_of(preimage_of(leg)))]
        with pytest.raises(Refused, match="machine's wallet shows a payment of its invoice; it is not unpaid"):
            await resolve(sending, "dca:alice", "unpaid")
        assert sending.leg("dca:alice") == leg

    async def test_what_both_wallets_can_tell_is_not_decided_by_a_person(self, sending: Desk) -> None:
        sending.gone.clear()
        for verdict in ("paid", "unpaid"):
            with pytest.raises(Refused, match="both wallets can be asked"):
                await resolve(sending, "dca:alice", verdict)

    async def test_what_was_never_sent_is_not_decided_by_a_person(self, desk: Desk) -> None:
        with pytest.raises(Refused, match="nothing of it was sent: there is nothing to resolve"):
            await resolve(desk, "dca:alice", "paid")

    async def test_what_is_declared_is_withdrawn_first(self, sending: Desk) -> None:
        await resolve(sending, "dca:alice", "paid")
        assert sending.withdrawn == [sending.leg("dca:alice").id]

    async def test_a_held_payout_is_resolved_by_its_number(self, desk: Desk) -> None:
        payout = a_payout(desk)
        with atomic(desk.conn):
            leg, _ = legs.get(desk.conn, payout)
            legs.hold(desk.conn, leg, reason=HoldReason.CREDIT_UNSEEN, error="x", evidence={"payment": "ef" * 32})
        await desk.order("payments.declare_paid", payment_id=payout, reason="she has them")
        assert legs.get(desk.conn, payout)[0].status is LegStatus.COMPLETED


# --- as a person types it


def run(desk: Desk, *arguments: str, answer: str | None = None, operator: str = "") -> Result:
    root = ["--config", str(desk.path), "--actor", "maria"]
    return CliRunner().invoke(app, [*root, *arguments], input=answer, env={"SATMACHINE_OPERATOR": operator})


def asked(desk: Desk) -> list[Any]:
    return [one.order for one in intent_rows.open_orders(desk.conn)]


@pytest.mark.parametrize(
    "payee", ["super", "technician", "technician@panajachel-1", "split:technician@panajachel-1", "client:1"]
)
def test_all_open_payments_of_a_payee_are_repointed_in_one_order(desk: Desk, payee: str) -> None:
    desk.land(2)
    desk.plan(2)
    rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
    update_alice(desk, **ALICE)
    name = {"super": "super", "client:1": "dca:alice"}.get(payee, "split:technician")
    ids = tuple(desk.leg(name, number).id for number in (1, 2))
    dry = run(desk, "payments", "repoint", "--payee", payee, "--reason", "moved", "--dry-run", "--json")
    assert [row["payment_id"] for row in json.loads(dry.stdout)["payments"]] == list(ids)
    assert asked(desk) == []
    result = run(desk, "payments", "repoint", "--payee", payee, "--reason", "moved", "--yes")
    assert result.exit_code == 0, result.output
    assert asked(desk) == [Repoint(ids, "moved")]


def test_a_dry_run_shows_from_whom_to_whom(desk: Desk) -> None:
    rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
    leg = desk.leg("split:technician")
    dry = run(desk, "payments", "repoint", str(leg.id), "--reason", "moved", "--dry-run", "--json")
    [row] = json.loads(dry.stdout)["payments"]
    assert (row["from"], row["to"], row["amount_sats"]) == ("tech@example.org", "new@example.org", 1_673)


def test_a_command_without_its_reason_asks_for_it_on_a_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a message suggests runs as it stands."""
    rename(desk, TECH, 'payee = { lightning_address = "new@example.org" }')
    leg = desk.leg("split:technician")
    assert run(desk, "payments", "repoint", str(leg.id), "--yes").exit_code == 2
    monkeypatch.setattr("satmachine.cli.kit.requests.sys", Terminal())
    result = run(desk, "payments", "repoint", str(leg.id), answer="y\nmoved\n")
    assert result.exit_code == 0, result.output
    assert asked(desk) == [Repoint((leg.id,), "moved")]
    assert run(desk, "settlements", "close", "1", answer="jam\ny\n").exit_code == 0
    assert asked(desk)[1].reason == "jam"


class Terminal:
    """A standard input that a person types at."""

    @property
    def stdin(self) -> Terminal:
        return self

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("payee", ["client:", "@panajachel-1", "owner@", "a:b"])
def test_a_payee_that_is_none_is_a_usage_error(desk: Desk, payee: str) -> None:
    assert run(desk, "payments", "repoint", "--payee", payee, "--reason", "x", "--yes").exit_code == 2


def test_an_lp_that_is_none_is_not_found(desk: Desk) -> None:
    result = run(desk, "payments", "repoint", "--payee", "client:x", "--reason", "x", "--yes")
    assert (result.exit_code, "there is no LP x" in result.stderr) == (1, True)


def test_a_foreign_payment_is_answered_like_a_missing_one(desk: Desk) -> None:
    with atomic(desk.conn):
        desk.conn.execute("INSERT INTO dca_operators VALUES ('flores', 'Flores Cash', 1)")
    for command in (("repoint",), ("resolve", "--paid"), ("cancel",)):
        verb, *rest = command
        result = run(desk, "payments", verb, "1", *rest, "--reason", "x", "--yes", operator="flores")
        assert (result.exit_code, "there is no payment 1" in result.output) == (1, True), result.output


def test_resolve_asks_whether_the_payee_has_the_sats(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satmachine.cli.kit.requests.sys", Terminal())
    leg = desk.invoice("dca:alice")
    with atomic(desk.conn):
        legs.hold(desk.conn, leg, reason=HoldReason.CREDIT_UNSEEN, error="ask the payee", evidence={"source": None})
    result = run(desk, "payments", "resolve", str(leg.id), answer="y\ny\nshe says so\n")
    assert result.exit_code == 0, result.output
    assert "ask the payee" in result.stderr
    [order] = asked(desk)
    assert (order.action, order.payment_id, order.reason) == ("payments.declare_paid", leg.id, "she says so")
    result = run(desk, "settlements", "resolve", "1", "--leg", "dca:alice", "--unpaid", "--reason", "x", "--yes")
    assert result.exit_code == 0, result.output
    assert asked(desk)[1].action == "payments.declare_unpaid"
    assert run(desk, "payments", "resolve", str(leg.id), "--reason", "x", "--yes").exit_code == 2
    with atomic(desk.conn):
        legs.look_again(desk.conn, desk.leg("dca:alice"))


def test_the_configuration_of_these_tests_names_its_technician() -> None:
    assert TECH in VALID

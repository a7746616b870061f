"""Who is paid by a leg: the payee named by the configuration in force, or by the client's row."""

from __future__ import annotations

from decimal import Decimal

from satmachine.config import Config, Payee, Secret
from satmachine.identity import SUPER_SCOPE, PayeeKind, ruleset_scope
from satmachine.models import Client, Leg, LegType
from satmachine.settlements.plan.amounts import Rule, Terms
from satmachine.store.clients import ClientPayee


def terms_for(config: Config, machine_id: str) -> Terms:
    """The super fee and the effective ruleset of a machine at this moment."""
    machine = config.machine(machine_id)
    assert machine is not None, f"machine {machine_id} is in the registry"
    ruleset = config.ruleset(machine)
    super_payee = config.super_.payee
    return Terms(
        super_fee_pct=config.super_.fee_pct,
        super_payee=None
        if super_payee is None
        else _rule(SUPER_SCOPE, config.super_.fee_pct, super_payee, SUPER_SCOPE),
        ruleset_source=ruleset.source,
        rules=tuple(
            _rule(
                split.label,
                split.pct,
                split.payee,
                ruleset_scope(ruleset.source, machine.id, machine.operator, split.label),
            )
            for split in ruleset.splits
        ),
    )


def wallets_named(config: Config, machine_id: str) -> dict[str, Secret]:
    """The keys of a machine's configured payees that are wallets of this LNbits, by where they are named."""
    machine = config.machine(machine_id)
    assert machine is not None, f"machine {machine_id} is in the registry"
    ruleset = config.ruleset(machine)
    named = {
        ruleset_scope(ruleset.source, machine.id, machine.operator, split.label): split.payee
        for split in ruleset.splits
    }
    if config.super_.payee is not None:
        named[SUPER_SCOPE] = config.super_.payee
    return {scope: payee.invoice_key for scope, payee in named.items() if payee.invoice_key is not None}


def _rule(label: str, pct: Decimal, payee: Payee, scope: str) -> Rule:
    return Rule(label, pct, payee.describe(), payee.identity, scope)


def configured_payee(config: Config, leg: Leg) -> Payee | None:
    """The payee of a super_fee or operator_split leg; None where the file no longer has it."""
    if leg.leg_type is LegType.SUPER_FEE:
        return config.super_.payee
    machine = config.machine(leg.machine_id)
    if leg.leg_type is not LegType.OPERATOR_SPLIT or machine is None:
        return None
    splits = config.ruleset(machine).splits
    return next((split.payee for split in splits if split.label == leg.label), None)


def has_changed(payee: Payee, leg: Leg) -> bool:
    """Whether somebody else is named now than when the leg was planned; a wallet shows its id when it is asked."""
    return payee.identity.differs(leg.identity)


def refund_payee(leg: Leg) -> Payee | None:
    """The Lightning address that a refund goes to; None where it goes to an invoice (`given_invoice`)."""
    return Payee(lightning_address=leg.payee) if leg.payee_kind is PayeeKind.LIGHTNING_ADDRESS else None


def given_invoice(leg: Leg) -> str | None:
    """The BOLT 11 invoice that a refund is to pay: the customer's own, never another one."""
    return leg.payee_ref if leg.payee_kind is PayeeKind.INVOICE else None


def client_payee(client: ClientPayee) -> Payee:
    """An LP's payee from the books."""
    if client.kind == "invoice_key_file":
        key = Secret("file", client.payee, source="the database", place=f'client "{client.label}": payee')
        return Payee(invoice_key=key)
    if client.kind == "lightning_address":
        return Payee(lightning_address=client.payee)
    return Payee(lnurl=client.payee)


def forwarding_key(client: Client) -> Secret | None:
    """The admin key of an LP's own wallet; None where nothing is forwarded any more."""
    if client.autoforward_key_file is None:
        return None
    place = f'client "{client.label}": autoforward'
    return Secret("file", client.autoforward_key_file, source="the database", place=place)

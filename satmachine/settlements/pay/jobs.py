"""A leg with everything needed to pay it: whose wallet pays, who is paid, and what the payment says about itself.

Built again at every step from the books and the configuration in force; nothing is kept. The payee is the one that the
file, or the LP's row, names now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from satmachine import identity
from satmachine.config import Config, Machine, Payee, Secret
from satmachine.errors import WalletUnavailable
from satmachine.models import Cause, Client, Leg, LegInvoice, LegType, leg_types
from satmachine.models.leg_types import NamedBy
from satmachine.settlements.pay.marker import Purse
from satmachine.store import clients, legs, wallet_rows
from satmachine.store.clients import ClientPayee
from satmachine.store.database import Store


class Stuck(Exception):
    """This leg cannot continue without a person; `cause` in one word, `detail` in a sentence."""

    def __init__(self, cause: Cause, detail: str) -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Job:
    """`payee` None: nobody names one any more. `source_key`: the admin key of the wallet that pays, the machine's, and
    for an autoforward the LP's own. `source_id`: that wallet's id, None where it is not known (an LP's)."""

    leg: Leg
    invoice: LegInvoice | None
    machine: Machine
    payee: Payee | None
    source_key: Secret | None
    source_id: str | None

    @property
    def bundle(self) -> str:
        """What is listed and marked together with this leg: its sale, or only itself."""
        return bundle_of(self.leg.leg_key, self.leg.leg_type)


def bundle_of(leg_key: str, leg_type: LegType) -> str:
    """A sale's legs are one bundle; a balance payout is one of its own, and so is a forward, from the LP's wallet."""
    parsed = identity.parse_key(leg_key)
    if isinstance(parsed, identity.SaleLeg) and leg_type not in leg_types.PAID_BY_LP:
        return identity.sale_bundle(parsed.settlement_key)
    return leg_key


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
    return Payee(lightning_address=leg.payee) if leg.payee_kind is identity.PayeeKind.LIGHTNING_ADDRESS else None


def given_invoice(leg: Leg) -> str | None:
    """The BOLT 11 invoice that a refund is to pay: the customer's own, never another one."""
    return leg.payee_ref if leg.payee_kind is identity.PayeeKind.INVOICE else None


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


class Jobs:
    """Makes jobs, and answers what the configuration says about them."""

    def __init__(self, store: Store, config: Callable[[], Config], *, is_verified: Callable[[str, str], bool]) -> None:
        """`is_verified(machine id, admin key)`: whether a sweep has seen that the key is of the machine's wallet."""
        self._store = store
        self._config = config
        self._is_verified = is_verified

    async def of(self, leg_id: int) -> Job:
        """The leg as it stands now."""
        leg, invoice = await self._store.read(legs.get, leg_id)
        config = self._config()
        machine = config.machine(leg.machine_id)
        assert machine is not None, f"machine {leg.machine_id} has work, so it is in the registry"
        source_key: Secret | None = machine.wallet.admin_key
        source_id = await self._store.read(wallet_rows.wallet_id, leg.machine_id)
        named_by = leg_types.KINDS[leg.leg_type].named_by
        if named_by is NamedBy.FORWARD and leg.client_id is not None:
            payee: Payee | None = Payee(lightning_address=leg.payee)
            source_key, source_id = forwarding_key(await self._store.read(clients.get, leg.client_id)), None
        elif named_by is NamedBy.LP and leg.client_id is not None:
            payee = client_payee(await self._store.read(clients.payee_of, leg.client_id))
        elif named_by is NamedBy.ORDER:
            payee = refund_payee(leg)
        else:
            payee = configured_payee(config, leg)
        if invoice is not None and invoice.payment_hash is None:
            invoice = None  # it was only asked for, by an earlier version
        return Job(leg, invoice, machine, payee, source_key, source_id)

    def admin_key(self, job: Job) -> str:
        """The key that pays. Raises Stuck, WalletUnavailable before it was verified, ConfigError where unreadable."""
        if job.source_key is None:
            raise Stuck(Cause.NO_PAYEE, "the client has no key to forward with any more: nothing is forwarded")
        if job.leg.leg_type in leg_types.PAID_BY_LP:
            return job.source_key.resolve(self._config().environ)
        return self.machine_key(job.machine)

    def machine_key(self, machine: Machine) -> str:
        """A machine's own key. Raises WalletUnavailable before it was verified, ConfigError where it is unreadable."""
        key = machine.wallet.admin_key.resolve(self._config().environ)
        if not self._is_verified(machine.id, key):
            raise WalletUnavailable("the machine's wallet key is new; nothing is sent before it was looked at")
        self._store.keyring.learn(machine.id, key)
        return key

    def purse(self, job: Job) -> Purse:
        """The wallet that pays, to be listed and marked. Raises as `admin_key`."""
        key, tag = self.admin_key(job), identity.tag(job.machine.npub)
        return Purse(job.leg.machine_id, job.source_id, key, tag, job.bundle)

    async def purse_of(self, machine_id: str, bundle: str) -> Purse:
        """A machine's wallet, for a sale that may have no leg yet. Raises Refused, and as `machine_key`."""
        machine = self._config().required_machine(machine_id)
        key = self.machine_key(machine)
        wallet_id = await self._store.read(wallet_rows.wallet_id, machine_id)
        return Purse(machine_id, wallet_id, key, identity.tag(machine.npub), bundle)

    def payee(self, job: Job) -> Payee:
        """Who is paid: as planned. Raises Stuck where nobody, or somebody else, is named by now."""
        if job.payee is None:
            raise Stuck(
                Cause.NO_PAYEE,
                f"nobody is named as payee of {job.leg.leg} any more; add it again, then retry, or close the sale",
            )
        if has_changed(job.payee, job.leg):
            raise Stuck(Cause.PAYEE_CHANGED, changed_payee(job.leg, job.payee.describe()))
        return job.payee

    def payee_key(self, job: Job) -> str:
        """The invoice key of a payee that is a wallet of this LNbits. Raises Stuck, ConfigError."""
        key = self.payee(job).invoice_key
        assert key is not None, "a payee of kind wallet has an invoice key"
        return key.resolve(self._config().environ)

    def fee_on_top_sats(self, job: Job) -> int:
        """Where the machine bears routing fees, they come on top of the leg's amount; an LP's wallet never can."""
        external = job.leg.payee_kind is not identity.PayeeKind.WALLET
        bears = self._config().payouts.routing_fees == "machine" and external
        return job.leg.amount_sats if bears and job.leg.leg_type not in leg_types.PAID_BY_LP else 0

    async def owed_sats(self, job: Job) -> int:
        """What the machine's wallet owes: this payment, and the others that are not on their way yet."""
        others_sats = await self._store.read(legs.waiting_sats, job.machine.id, job.leg.id)
        return job.leg.amount_sats + others_sats

    def memo(self, job: Job) -> str:
        """For the person who reads the wallet's history."""
        sale = f"sale {job.leg.settlement_id}" if job.leg.settlement_id is not None else "balance"
        return f"{job.machine.name}: {job.leg.leg_type.replace('_', ' ')} of {sale}"

    def extra(self, job: Job) -> Mapping[str, object]:
        """The data that the payment carries: enough to rebuild the books from the wallets (SPEC section 6.2)."""
        leg = job.leg
        return {
            "tag": identity.tag(job.machine.npub),
            "machine": leg.machine_id,
            "leg_type": leg.leg_type,
            "leg_sats": leg.amount_sats,
            "generation": leg.generation,
            "client": leg.leg.split(":")[1] if leg.client_id is not None else None,
            "fiat_amount_minor": leg.fiat_amount_minor,
            "currency": leg.currency,
            "exchange_rate": None if leg.exchange_rate is None else f"{leg.exchange_rate:f}",
        }


def changed_payee(leg: Leg, named: str) -> str:
    """What a person reads where somebody else is named by now, and the two ways on."""
    return (
        f"it was planned for {leg.payee}, but the payee is {named} now: `satmachine payments repoint {leg.id}` pays "
        "there instead; if the former one was right, put it back"
    )


def leg_name(leg: Leg) -> str:
    """A leg in a log line; a sale can be followed by its settlement number."""
    sale = "balance payout" if leg.settlement_id is None else f"settlement {leg.settlement_id}"
    return f"{sale} of {leg.machine_id}, leg {leg.leg}"

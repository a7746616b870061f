"""What a person asks of the daemon: one dataclass for each order, written by the CLI and carried out by the daemon.

An order is kept as JSON: whole numbers as numbers, exact decimals as text, nothing else. Reading one is strict: what is
not exactly an order is an `Unreadable` with the reason in words, never half an order. A field with a default may be
missing, so that orders which an earlier version wrote are read as they were meant.

Pure. Amounts are sats (`.._sats`) or minor units (`.._minor`); rates are sats per major unit of fiat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, get_args, get_type_hints


@dataclass(frozen=True, slots=True)
class _OfSale:
    """What is asked of one sale."""

    settlement_id: int

    @property
    def subject(self) -> str:
        """Of what."""
        return f"settlement {self.settlement_id}"


@dataclass(frozen=True, slots=True)
class _OfPayment:
    """What is asked of one payment."""

    payment_id: int

    @property
    def subject(self) -> str:
        """Of what."""
        return f"payment {self.payment_id}"


@dataclass(frozen=True, slots=True)
class PartialDispense(_OfSale):
    """`part` of `whole` of a sale's cash was handed out."""

    action: ClassVar[str] = "settlement.partial_dispense"
    part: int
    whole: int
    reason: str

    def __post_init__(self) -> None:
        if not 0 <= self.part <= self.whole or self.whole == 0:
            raise ValueError(f"{self.part} of {self.whole} is not a part of a sale")


@dataclass(frozen=True, slots=True)
class Close(_OfSale):
    """What is unpaid of a sale is given up and retained."""

    action: ClassVar[str] = "settlement.close"
    reason: str


@dataclass(frozen=True, slots=True)
class Redistribute(_OfSale):
    """Pay out what a sale retains.

    `rate` replaces an unknown one; `as_of` (Unix seconds) says which balances count, None: those at the time of the
    sale. `to` names the leg (`super`, `split:owner`, `dca:maria`) that gets what other payees were not paid.
    """

    action: ClassVar[str] = "settlement.redistribute"
    reason: str
    rate: Decimal | None = None
    as_of: int | None = None
    to: str | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"the rate {self.rate} is not above 0")


@dataclass(frozen=True, slots=True)
class Refund(_OfSale):
    """Pay `amount_sats` of what a sale retains to an invoice or a Lightning address.

    `draw_sats` is what the person was shown that it takes out of what is retained, with the reserve for routing fees;
    None (an order of an earlier version): whatever it takes.
    """

    action: ClassVar[str] = "settlement.refund"
    amount_sats: int
    to: str
    reason: str
    draw_sats: int | None = None

    def __post_init__(self) -> None:
        if self.amount_sats <= 0 or (self.draw_sats is not None and self.draw_sats < self.amount_sats):
            raise ValueError(f"{self.amount_sats} sats out of {self.draw_sats} is not a refund")


@dataclass(frozen=True, slots=True)
class Shortfall(_OfSale):
    """The customer of a sale that is paid out got `short_minor` less cash than the sale says.

    `to`: the invoice or Lightning address that is paid `refund_sats` once a top-up of `topup_sats` has brought them;
    None: the customer was paid by hand. `client_id`: whose cash the rest is now; None: the operator's.
    """

    action: ClassVar[str] = "settlement.shortfall"
    short_minor: int
    refund_sats: int
    topup_sats: int
    reason: str
    to: str | None = None
    client_id: int | None = None

    def __post_init__(self) -> None:
        if self.short_minor <= 0 or not 0 <= self.refund_sats <= self.topup_sats:
            raise ValueError(f"{self.short_minor} minor units for {self.refund_sats} sats is not a shortfall")


@dataclass(frozen=True, slots=True)
class UndoShortfall(_OfSale):
    """Take back the latest shortfall of a sale, whose refund is not paid."""

    action: ClassVar[str] = "settlement.undo_shortfall"
    reason: str


@dataclass(frozen=True, slots=True)
class SettleBalance:
    """Pay out a part of an LP's balance; `number` is the payout's, so that it is planned once."""

    action: ClassVar[str] = "clients.settle"
    client_id: int
    exchange_rate: Decimal
    amount_minor: int
    number: int

    @property
    def subject(self) -> str:
        """Of what."""
        return f"client {self.client_id}"


@dataclass(frozen=True, slots=True)
class RetryQuarantined:
    """Read a message in quarantine again."""

    action: ClassVar[str] = "quarantine.retry"
    quarantine_id: int

    @property
    def subject(self) -> str:
        """Of what."""
        return f"quarantine {self.quarantine_id}"


@dataclass(frozen=True, slots=True)
class Repoint:
    """Send these payments to the payee that the file, or the client's row, names when it is carried out."""

    action: ClassVar[str] = "payments.repoint"
    payment_ids: tuple[int, ...]
    reason: str

    def __post_init__(self) -> None:
        if not self.payment_ids:
            raise ValueError("it names no payment")

    @property
    def subject(self) -> str:
        """Of what."""
        rest = len(self.payment_ids) - 1
        return f"payment {self.payment_ids[0]}" + (f" and {rest} more" if rest else "")


@dataclass(frozen=True, slots=True)
class CancelPayout(_OfPayment):
    """Give up the payout of a balance."""

    action: ClassVar[str] = "payments.cancel"
    reason: str


@dataclass(frozen=True, slots=True)
class DeclarePaid(_OfPayment):
    """A person vouches that a payment has reached its payee, or will by hand."""

    action: ClassVar[str] = "payments.declare_paid"
    reason: str


@dataclass(frozen=True, slots=True)
class DeclareUnpaid(_OfPayment):
    """A person vouches that a payment's invoice is dead: a new one is made."""

    action: ClassVar[str] = "payments.declare_unpaid"
    reason: str


@dataclass(frozen=True, slots=True)
class SweepNow:
    """Search a machine's wallet now, out of turn."""

    action: ClassVar[str] = "machines.sweep"
    machine_id: str

    @property
    def subject(self) -> str:
        """Of what."""
        return f"machine {self.machine_id}"


@dataclass(frozen=True, slots=True)
class MakeTopUp:
    """Make an invoice that funds a machine's wallet. By `topup_id` the asker finds it afterwards."""

    action: ClassVar[str] = "machines.top_up"
    machine_id: str
    topup_id: str
    amount_sats: int
    note: str

    def __post_init__(self) -> None:
        if self.amount_sats <= 0:
            raise ValueError(f"an invoice of {self.amount_sats} sats cannot fund a wallet")

    @property
    def subject(self) -> str:
        """Of what."""
        return f"machine {self.machine_id}"


@dataclass(frozen=True, slots=True)
class SignStatement:
    """Sign an LP's statement of `since` <= time < `until` (Unix seconds; None: from the beginning, up to now); its page
    shows times in the zone `tz`."""

    action: ClassVar[str] = "clients.sign_statement"
    client_id: int
    since: int | None = None
    until: int | None = None
    tz: str = "UTC"

    @property
    def subject(self) -> str:
        """Of what."""
        return f"client {self.client_id}"


Order = (
    PartialDispense
    | Close
    | Redistribute
    | Refund
    | Shortfall
    | UndoShortfall
    | SettleBalance
    | RetryQuarantined
    | Repoint
    | CancelPayout
    | DeclarePaid
    | DeclareUnpaid
    | SweepNow
    | MakeTopUp
    | SignStatement
)

#: Every order by its action, the word under which it is stored.
ORDERS: Mapping[str, type[Order]] = {order.action: order for order in get_args(Order)}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is not an order of this program; `why` completes "this cannot be carried out: "."""

    why: str


def to_json(order: Order) -> dict[str, object]:
    """An order's fields as JSON values."""
    return {field.name: _plain(getattr(order, field.name)) for field in fields(order)}


def from_json(action: str, params: object) -> Order | Unreadable:
    """The order that a row holds."""
    kind = ORDERS.get(action)
    if kind is None:
        return Unreadable(f"this daemon does not know {action}; is it older than the command?")
    if not isinstance(params, dict):
        return Unreadable("its parameters are not a JSON object")
    known = {field.name: field for field in fields(kind)}
    if strange := sorted(params.keys() - known.keys()):
        return Unreadable(f"it says {strange[0]}, which this daemon does not know; is it older than the command?")
    values: dict[str, object] = {}
    for name, field in known.items():
        if name not in params:
            if field.default is MISSING:
                return Unreadable(f"it does not say {name}")
            continue
        try:
            values[name] = _read(_hints(kind)[name], params[name])
        except ValueError as error:
            return Unreadable(f"its {name} {error}")
    try:
        return kind(**values)  # type: ignore[arg-type]  # each was read by its own field's type
    except ValueError as error:
        return Unreadable(str(error))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return list(value) if isinstance(value, tuple) else value


def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, value: object) -> object:
    """A JSON value as a field's type. Raises ValueError, whose message says what it is instead."""
    options = get_args(hint)
    if hint == tuple[int, ...]:
        if isinstance(value, list) and all(type(one) is int for one in value):
            return tuple(value)
        raise ValueError(f"is not a list of numbers: {value!r}")
    if type(None) in options:
        if value is None:
            return None
        hint = next(option for option in options if option is not type(None))
    if hint is Decimal:
        return _decimal(value)
    if type(value) is not hint:  # a bool is not an int here
        raise ValueError(f"is {value!r}, not {'a whole number' if hint is int else 'a text'}")
    return value


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise ValueError(f"is not a decimal in quotes: {value!r}")
    return number

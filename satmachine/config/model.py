"""The configuration as frozen values (SPEC section 3). `load.load()` is the one way to get a `Config`.

Each model checks what it can see itself; what concerns several tables is in `crosscheck.py`. Validators
raise ValueError, because pydantic gathers those, and their messages complete the sentence `key "x" ...`.
Rates and pcts are Decimal (a fraction 0..1), amounts int sats, durations int seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from satmachine.config import formats
from satmachine.config.secrets import Secret
from satmachine.errors import NotFound, Refused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.money import exact_sum
from satmachine.nostr.keys import npub_to_hex

#: Where a value is in the file: `("machines", 0, "wallet", "admin_key")`.
Location = tuple[str | int, ...]

PayeeWay = Literal["invoice_key", "lightning_address", "lnurl"]

_MAX_SATS = 21_000_000 * 100_000_000
_YEAR_S = 366 * 24 * 3600
#: How long a payment may wait for its event: a later sweep must still read it (settlements/sweep/arrivals.py).
LONGEST_AFTER_S = 480
#: More decimals are a mistake, and would not survive arithmetic with 120 digits.
_MAX_PCT_DECIMALS = 18
_MAX_RATE = 10**12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _fraction(value: object) -> Decimal:
    """A pct as the file has it: a TOML number within 0..1."""
    number = Decimal(value) if type(value) is int else value
    if not isinstance(number, Decimal):
        raise ValueError("must be a number between 0 and 1 without quotes, like 0.05")  # noqa: TRY004
    if not number.is_finite() or not 0 <= number <= 1:
        hint = "; 5 percent is written as 0.05" if number.is_finite() and 1 < number <= 100 else ""
        raise ValueError(f"must be between 0 and 1{hint}")
    if -int(number.as_tuple().exponent) > _MAX_PCT_DECIMALS:
        raise ValueError(f"must have at most {_MAX_PCT_DECIMALS} decimals")
    return number


def _rate(value: object) -> Decimal:
    """Sats for one major unit of fiat, as the file has it: a TOML number above 0."""
    number = Decimal(value) if type(value) is int else value
    if not isinstance(number, Decimal) or not number.is_finite() or not 0 < number < _MAX_RATE:
        raise ValueError("must be a number above 0 without quotes: sats for one unit of the machine's currency")
    return number


def _unix_seconds(value: object) -> int:
    """An RFC 3339 date and time with an offset, as Unix seconds (a fraction of a second is cut off)."""
    example = "2026-11-22T00:00:00Z"
    if not isinstance(value, date | time):
        raise ValueError(f"must be a date and time without quotes, like {example}")  # noqa: TRY004
    if not isinstance(value, datetime):
        raise ValueError(f"must be a full date and time, like {example}")  # noqa: TRY004
    if value.tzinfo is None:
        raise ValueError(f'must have a time zone: end it with "Z" for UTC, as in {example}, or an offset')
    seconds = (value - _EPOCH) // timedelta(seconds=1)
    if seconds < 0:
        raise ValueError("must not be before 1970")
    return seconds


def _show_time(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _absolute(value: object, info: ValidationInfo) -> Path:
    """A path; a relative one starts at the configuration file, wherever a command is run."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError('must be the name of a file in quotes, like "/var/lib/satmachine/satmachine.db"')
    directory: Path = (info.context or {}).get("directory", Path())
    return directory / value


def _nonempty(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be a name on one line")
    return text.strip()


def _npub(text: str) -> str:
    npub = text.strip().lower()
    if npub.startswith("nsec"):
        raise ValueError('is a SECRET key: take it out of this file, and write the public one, "npub1..."')
    try:
        _public_key(npub)
    except ValueError:
        raise ValueError('must be the public key that the machine shows, "npub1...": copy it in full') from None
    return npub


@lru_cache(maxsize=65_536)
def _public_key(npub: str) -> str:
    """As 64 hex digits. Cached, because each is needed twice, and again at a reload: 0.1 ms is much here."""
    return npub_to_hex(npub)


def _operator_or_all(text: str) -> str:
    return text if text == "*" else formats.slug(text)


def _unique(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(urls))


def _listed(value: object) -> object:
    """A single text may be written without brackets."""
    return (value,) if isinstance(value, str) else value


def _ruleset(splits: tuple[Split, ...]) -> tuple[Split, ...]:
    """An empty ruleset counts as none; any other shares out exactly everything, under different labels."""
    labels = [split.label for split in splits]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f'has the label "{label}" more than once: give each split a label of its own')
    total = exact_sum([split.pct for split in splits])
    if splits and total != 1:
        raise ValueError(f"must have pcts that sum to exactly 1, but they sum to {total.normalize():f}")
    return splits


Slug = Annotated[str, AfterValidator(formats.slug)]
Name = Annotated[str, AfterValidator(_nonempty)]
Pct = Annotated[Decimal, BeforeValidator(_fraction)]
Rate = Annotated[Decimal, BeforeValidator(_rate)]
Seconds = Annotated[int, Field(ge=0, le=_YEAR_S)]
FilePath = Annotated[Path, BeforeValidator(_absolute)]
Time = Annotated[int, BeforeValidator(_unix_seconds), PlainSerializer(_show_time, when_used="json")]
RelayUrl = Annotated[str, AfterValidator(formats.relay_url)]
Relays = Annotated[tuple[RelayUrl, ...], Field(strict=False), AfterValidator(_unique)]
DTags = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_listed)]
Splits = Annotated[tuple["Split", ...], Field(strict=False), AfterValidator(_ruleset)]


class Table(BaseModel):
    """A table of the file: no unknown keys, no silent conversions, no changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Payee(Table):
    """Who is paid: exactly one of a wallet on the same LNbits, a Lightning address, or an LNURL."""

    invoice_key: Secret | None = None
    lightning_address: Annotated[str, AfterValidator(formats.lightning_address)] | None = None
    lnurl: Annotated[str, AfterValidator(formats.lnurl)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Payee:
        if sum(way is not None for way in (self.invoice_key, self.lightning_address, self.lnurl)) != 1:
            raise ValueError('must have exactly one of "invoice_key", "lightning_address" and "lnurl"')
        return self

    @property
    def kind(self) -> PayeeWay:
        """Which of the three it is."""
        if self.invoice_key is not None:
            return "invoice_key"
        return "lightning_address" if self.lightning_address is not None else "lnurl"

    @property
    def identity(self) -> PayeeIdentity:
        """Who this is; to which wallet a key leads is not known before LNbits was asked."""
        if self.invoice_key is not None:
            return PayeeIdentity(PayeeKind.WALLET, None)
        if self.lightning_address is not None:
            return PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, self.lightning_address)
        return PayeeIdentity(PayeeKind.LNURL, self.lnurl)

    def describe(self) -> str:
        """For people; never shows a secret."""
        if self.invoice_key is not None:
            return f"LNbits wallet (key from {self.invoice_key.where})"
        if self.lightning_address is not None:
            return self.lightning_address
        return f"LNURL of {formats.lnurl_host(self.lnurl or '')}"


class Split(Table):
    """One share of the operator's part of a commission."""

    label: Slug
    pct: Pct
    payee: Payee


class Operator(Table):
    """Who runs machines; `splits` is the default ruleset of all of them."""

    id: Slug
    name: Name
    splits: Splits = ()


class Wallet(Table):
    """A machine's own LNbits wallet, into which the customers pay. `invoice_key`: to listen for payments."""

    admin_key: Secret
    invoice_key: Secret | None = None


class Unannounced(Table):
    """What is done with payments into a machine's wallet that no event and no `extra` explains (SPEC section 3).

    `after_s` None: 0 for a machine that never announced a sale, else ANNOUNCED_AFTER_S.
    """

    sales: Literal["share", "report"] = "report"
    memo: Annotated[str, AfterValidator(formats.pattern)] | None = None
    min_sats: Annotated[int, Field(ge=1, le=_MAX_SATS)] = 1_000
    max_sats: Annotated[int, Field(ge=1, le=_MAX_SATS)] = 5_000_000
    after_s: Annotated[int, Field(ge=0, le=LONGEST_AFTER_S)] | None = None
    rate_max_age_s: Annotated[int, Field(ge=0, le=86_400)] = 900
    tags: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Unannounced:
        if self.min_sats > self.max_sats:
            raise ValueError("has a min_sats above its max_sats: no payment could ever be a sale")
        return self


class Machine(Table):
    """A Bitcoin ATM. `payouts_since`: sales settled before (Unix seconds) are never paid."""

    id: Slug
    operator: Slug
    npub: Annotated[str, AfterValidator(_npub)]
    name: Name
    currency: Annotated[str, AfterValidator(formats.currency)]
    fallback_commission_pct: Pct
    payouts_since: Time
    wallet: Wallet
    active: bool = True
    relays: Relays = ()
    splits: Splits = ()
    max_commission_pct: Pct = Decimal("0.25")
    max_rate_deviation: Pct = Decimal("0.25")
    rate_min: Rate | None = None
    rate_max: Rate | None = None
    daily_limit_sats: Annotated[int, Field(ge=1, le=_MAX_SATS)] | None = None
    payout_delay_s: Annotated[Seconds, Field(le=86_400)] = 0
    hold_on_error: bool = False
    encrypted: bool = False
    unannounced: Unannounced = Unannounced()

    @model_validator(mode="after")
    def _rates_in_order(self) -> Machine:
        if self.rate_min is not None and self.rate_max is not None and self.rate_min >= self.rate_max:
            raise ValueError("has a rate_min that is not below its rate_max: no sale could ever be paid")
        return self

    @cached_property
    def pubkey(self) -> str:
        """The npub as 64 hex digits, as events carry it."""
        return _public_key(self.npub)


class Database(Table):
    path: FilePath = Path("/var/lib/satmachine/satmachine.db")
    busy_timeout_s: Annotated[Seconds, Field(ge=1)] = 30


class Nostr(Table):
    relays: Relays
    secret_key: Secret | None = None
    max_event_bytes: Annotated[int, Field(ge=16_384, le=16_777_216)] = 131_072
    max_event_age_s: Annotated[Seconds, Field(ge=60)] = 604_800
    max_future_s: Seconds = 900
    since_overlap_s: Seconds = 259_200
    quarantine_keep_days: Annotated[int, Field(ge=8, le=36_500)] = 90
    discover_relays: bool = False
    discover_private: bool = False


class LnbitsTable(Table):
    url: Annotated[str, AfterValidator(formats.http_url)]
    timeout_s: Annotated[Seconds, Field(ge=1)] = 30
    pay_timeout_s: Annotated[Seconds, Field(ge=60)] = 75
    max_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    websockets: Annotated[int, Field(ge=0, le=10_000)] = 500
    own_wallets: Annotated[tuple[Secret, ...], Field(strict=False)] = ()


class Super(Table):
    """The platform: gets `fee_pct` of every commission."""

    fee_pct: Pct
    payee: Payee | None = None


class Payouts(Table):
    paused: bool = False
    require_payment_proof: bool = True
    routing_fees: Literal["payee", "machine"] = "payee"
    proof_wait_s: Annotated[Seconds, Field(ge=1)] = 900
    attention_after_s: Annotated[Seconds, Field(ge=10)] = 600
    invoice_expiry_s: Annotated[Seconds, Field(ge=3600)] = 86_400
    order_key: Secret | None = None


class Reconcile(Table):
    interval_s: Annotated[Seconds, Field(ge=5)] = 300
    sweeps_per_minute: Annotated[int, Field(ge=1, le=6_000)] = 30


class Lnurl(Table):
    allow_private_hosts: bool = False


class Telemetry(Table):
    """`beacon_d`, `fleet_d`: the `d` tags that count; empty: every one that can be read as telemetry."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    beacon_d: DTags = ()
    fleet_d: DTags = ()


class Display(Table):
    """How times are shown: `tz` is an IANA name."""

    tz: Annotated[str, AfterValidator(formats.time_zone)] = "UTC"


class Log(Table):
    """How the daemon logs."""

    format: Literal["text", "json"] = "text"


class Metrics(Table):
    """What monitors can read. Nothing is served or sent unless it is asked for here."""

    listen: Annotated[str, AfterValidator(formats.host_port)] | None = None
    textfile: FilePath | None = None
    heartbeat_url: Secret | None = None
    heartbeat_every_s: Annotated[Seconds, Field(ge=10)] = 60


class Alerts(Table):
    """What the operator is told, and how. Without a channel, alarms are only in the log and in the books."""

    webhook_url: Secret | None = None
    command: Annotated[tuple[str, ...], Field(strict=False)] = ()
    npub: Annotated[str, AfterValidator(_npub)] | None = None
    relays: Relays = ()
    machine_silent_after_s: Annotated[Seconds, Field(ge=60)] = 1_800
    relay_quiet_after_s: Annotated[Seconds, Field(ge=10)] = 600
    wallet_unreachable_after_s: Annotated[Seconds, Field(ge=10)] = 300
    wallet_low_sats: Annotated[int, Field(ge=1, le=_MAX_SATS)] | None = None
    cassette_low_pct: Pct = Decimal("0.2")
    cash_out_days: Annotated[int, Field(ge=1, le=60)] = 2
    clear_after_s: Annotated[Seconds, Field(ge=10)] = 900
    check_books_every_s: Annotated[Seconds, Field(ge=60)] = 21_600


class WebPerson(Table):
    """Somebody who may look at the pages: of an operator ("*": of all of them), or one of its liquidity providers.

    `client` is the person that the LP was entered with (`clients add --person`).
    """

    id: Slug
    name: Name
    operator: Annotated[str, AfterValidator(_operator_or_all)]
    client: Name | None = None
    npub: Annotated[str, AfterValidator(_npub)] | None = None
    language: Literal["en", "es"] | None = None
    tz: Annotated[str, AfterValidator(formats.time_zone)] | None = None

    @model_validator(mode="after")
    def _of_one_operator(self) -> WebPerson:
        if self.client is not None and self.operator == "*":
            raise ValueError('has a "client", so its "operator" must be one operator, not "*"')
        return self

    @cached_property
    def pubkey(self) -> str | None:
        """The npub as 64 hex digits."""
        return None if self.npub is None else _public_key(self.npub)


class Web(Table):
    """The pages (SPEC section 14). `public_url` is how browsers reach them, through the proxy that does TLS."""

    listen: Annotated[str, AfterValidator(formats.listen_address)] = "127.0.0.1:8021"
    public_url: Annotated[str, AfterValidator(formats.origin)] | None = None
    database: FilePath | None = None
    link_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24
    session_days: Annotated[int, Field(ge=1, le=366)] = 30
    people: Annotated[tuple[WebPerson, ...], Field(strict=False)] = ()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The effective splits of a machine, and whose they are. `none` has no splits: the sats are retained."""

    source: Literal["machine", "operator", "none"]
    splits: tuple[Split, ...]


class Config(Table):
    """The whole file."""

    database: Database = Database()
    nostr: Nostr
    lnbits: LnbitsTable
    super_: Annotated[Super, Field(alias="super")] = Super(fee_pct=Decimal(0))
    payouts: Payouts = Payouts()
    reconcile: Reconcile = Reconcile()
    lnurl: Lnurl = Lnurl()
    telemetry: Telemetry = Telemetry()
    display: Display = Display()
    log: Log = Log()
    metrics: Metrics = Metrics()
    alerts: Alerts = Alerts()
    web: Web = Web()
    operators: Annotated[tuple[Operator, ...], Field(strict=False)] = ()
    machines: Annotated[tuple[Machine, ...], Field(strict=False)] = ()

    _path: Path = PrivateAttr(default=Path())
    _environ: Mapping[str, str] = PrivateAttr(default_factory=lambda: os.environ)

    def bind(self, path: Path, environ: Mapping[str, str]) -> None:
        """Say which file this is and where secrets must be looked up. `load()` does this once."""
        self._path = path
        self._environ = environ

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment that `check_secrets()` and `wallet_conflicts()` look secrets up in."""
        return self._environ

    def operator(self, operator_id: str) -> Operator | None:
        """The operator with this id."""
        return self._operators_by_id.get(operator_id)

    def machine(self, machine_id: str) -> Machine | None:
        """The machine with this id."""
        return self._machines_by_id.get(machine_id)

    def required_machine(self, machine_id: str) -> Machine:
        """The machine with this id, for a change that needs it. Raises Refused where the file no longer has it."""
        machine = self.machine(machine_id)
        if machine is None:
            raise Refused(f"machine {machine_id} is no longer in the configuration: put it back first")
        return machine

    def machine_by_pubkey(self, pubkey: str) -> Machine | None:
        """The machine that signs with this key (64 small hex digits)."""
        return self._machines_by_pubkey.get(pubkey)

    def limited_to(self, operator_id: str) -> Config:
        """The same file as this operator may see it: without the machines and splits of others. Raises NotFound."""
        if self.operator(operator_id) is None:
            raise NotFound(f"there is no operator {operator_id}")
        limited = Config.model_construct(
            **{
                **{name: getattr(self, name) for name in Config.model_fields},
                "operators": tuple(one for one in self.operators if one.id == operator_id),
                "machines": tuple(one for one in self.machines if one.operator == operator_id),
                "web": self.web.model_copy(
                    update={"people": tuple(one for one in self.web.people if one.operator == operator_id)}
                ),
            }
        )
        limited.bind(self._path, self._environ)
        return limited

    def ruleset(self, machine: Machine) -> Ruleset:
        """The machine's own splits if it has any, else its operator's default, else none (SPEC section 3)."""
        if machine.splits:
            return Ruleset("machine", machine.splits)
        operator = self.operator(machine.operator)
        if operator is not None and operator.splits:
            return Ruleset("operator", operator.splits)
        return Ruleset("none", ())

    def relays_of(self, machine: Machine) -> tuple[str, ...]:
        """The common relays and the machine's own, each once."""
        return _unique(self.nostr.relays + machine.relays)

    def secrets(self) -> Iterator[Secret]:
        """Every secret that the file refers to, in the order of the tables."""
        return (secret for _, secret in secrets_of(self))

    @cached_property
    def _operators_by_id(self) -> dict[str, Operator]:
        return {operator.id: operator for operator in self.operators}

    @cached_property
    def _machines_by_id(self) -> dict[str, Machine]:
        return {machine.id: machine for machine in self.machines}

    @cached_property
    def _machines_by_pubkey(self) -> dict[str, Machine]:
        return {machine.pubkey: machine for machine in self.machines}


def secrets_of(value: object, location: Location = ()) -> Iterator[tuple[Location, Secret]]:
    """Walk models and tuples for secrets, so that none is forgotten when a key is added."""
    if isinstance(value, Secret):
        yield location, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from secrets_of(item, (*location, index))
    elif isinstance(value, BaseModel):
        for name, key in _ways_to_secrets(type(value)):
            yield from secrets_of(getattr(value, name), (*location, key))


@cache
def _ways_to_secrets(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """(attribute, key in the file) of everything in this model that may be or contain a secret."""
    return tuple(
        (name, field.alias or name) for name, field in model.model_fields.items() if _may_hold_secret(field.annotation)
    )


def _may_hold_secret(annotation: object) -> bool:
    """Whether a type like `tuple[Split, ...]` or `Secret | None` leads to one."""
    if annotation is Secret:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bool(_ways_to_secrets(annotation))
    return any(_may_hold_secret(part) for part in get_args(annotation))

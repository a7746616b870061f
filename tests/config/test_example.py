"""config.example.toml is valid, complete, and says what the defaults are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from satmachine.config import Config, load, warnings

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"

#: Optional values without a default: the example shows one.
EXAMPLES_ONLY = {
    "web.public_url",
    "web.database",
    "web.people.client",
    "web.people.npub",
    "web.people.language",
    "web.people.tz",
    "payouts.order_key",
    "machines.daily_limit_sats",
    "machines.rate_min",
    "machines.rate_max",
    "machines.relays",
    "machines.unannounced.memo",
    "machines.unannounced.after_s",
    "machines.unannounced.tags",
    "machines.wallet.invoice_key",
    "lnbits.own_wallets",
    "telemetry.beacon_d",
    "telemetry.fleet_d",
    "metrics.listen",
    "metrics.textfile",
    "metrics.heartbeat_url",
    "alerts.webhook_url",
    "alerts.command",
    "alerts.npub",
    "alerts.relays",
    "alerts.wallet_low_sats",
}


#: Values that are lists; all other lists are tables.
LISTS = {"relays", "command"}


def everything() -> dict[str, Any]:
    """The example with every commented-out key switched on."""
    text = re.sub(r"(?m)^# (?=\w+ = |\[)", "", EXAMPLE.read_text())
    return tomllib.loads(text, parse_float=Decimal)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every key of the models: its dotted name in the file, its model, its name there."""
    for name, field in model.model_fields.items():
        dotted = f"{prefix}{field.alias or name}"
        inner = [part for part in (field.annotation, *get_args(field.annotation)) if isinstance(part, type)]
        tables = [part for part in inner if issubclass(part, BaseModel)]
        if tables:
            yield from fields(tables[0], f"{dotted}.")
        else:
            yield dotted, model, name


def values_at(value: Any, dotted: str) -> list[Any]:
    """What the example says for a key, in each table of an array."""
    for step in dotted.split("."):
        tables = value if isinstance(value, list) else [value]
        value = [
            found
            for table in tables
            if step in table
            for found in (table[step] if isinstance(table[step], list) and step not in LISTS else [table[step]])
        ]
    assert isinstance(value, list)
    return value


def test_the_example_loads_without_problems_and_says_that_it_is_one() -> None:
    config = load(EXAMPLE, environ={})
    assert [machine.id for machine in config.machines] == ["panajachel-1"]
    [warning] = warnings(config)
    assert "is the example of config.example.toml" in warning


def test_the_example_with_everything_switched_on_is_valid() -> None:
    Config.model_validate(everything())


@pytest.mark.parametrize("dotted", [dotted for dotted, _, _ in fields(Config)])
def test_the_example_documents_every_key(dotted: str) -> None:
    text = EXAMPLE.read_text()
    key = dotted.rpartition(".")[2]
    if dotted == "machines.wallet.invoice_key":  # in an inline table, which cannot be commented out by half
        assert "beside admin_key: invoice_key = SECRET" in text
        return
    in_payee = key in {"invoice_key", "lightning_address", "lnurl"} and "payee" in dotted
    assert (in_payee and f"{{ {key} = " in text) or values_at(everything(), dotted)


@pytest.mark.parametrize(
    ("dotted", "model", "name"), [entry for entry in fields(Config) if entry[0] not in EXAMPLES_ONLY]
)
def test_the_example_shows_true_defaults(dotted: str, model: type[BaseModel], name: str) -> None:
    commented = re.search(rf"(?m)^# {re.escape(dotted.rpartition('.')[2])} = ", EXAMPLE.read_text())
    field = model.model_fields[name]
    if commented and not field.is_required() and name != "splits":
        default = str(field.default) if isinstance(field.default, Path) else field.default
        assert values_at(everything(), dotted) == [default]


def test_the_example_has_no_secret_in_plain_text() -> None:
    assert all(secret.kind != "plain" for secret in load(EXAMPLE).secrets())

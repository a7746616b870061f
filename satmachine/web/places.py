"""Every address that exists: for whom, whose record, and what is on it. Access is tested against this table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from satmachine.web import owners
from satmachine.web.access import Owner, Who
from satmachine.web.views import operators, programs, providers, statements_page
from satmachine.web.views.base import Download, Look, PageView

#: Finds whose record an address names; None: there is no such record.
OwnerOf = Callable[[sqlite3.Connection, Mapping[str, Any]], Owner | None]


@dataclass(frozen=True, slots=True)
class Place:
    """One address. `page` gives a `PageView`, or the rows for programs; `owner_of` None: it names no record."""

    path: str
    who: Who
    page: Callable[[Look], PageView | Download | dict[str, Any] | list[dict[str, Any]]]
    owner_of: OwnerOf | None = None


def _home(look: Look) -> PageView:
    return providers.home(look) if look.viewer.is_provider else operators.home(look)


PAGES = (
    Place("/", Who.SIGNED_IN, _home),
    Place("/machines", Who.OPERATOR, operators.fleet),
    Place("/machines/{machine}", Who.OPERATOR, operators.machine, owners.of_machine),
    Place("/machines/{machine}/days/{day}", Who.OPERATOR, operators.machine_day, owners.of_machine),
    Place("/sales", Who.OPERATOR, operators.sales),
    Place("/sales/{id}", Who.OPERATOR, operators.sale, owners.of_sale),
    Place("/clients", Who.OPERATOR, operators.providers),
    Place("/clients/{id}", Who.SIGNED_IN, providers.position, owners.of_position),
    Place("/clients/{id}/statement.csv", Who.SIGNED_IN, providers.position_csv, owners.of_position),
    Place("/clients/{id}/statements/{statement}.html", Who.SIGNED_IN, statements_page.page, owners.of_position),
    Place("/clients/{id}/statements/{statement}.json", Who.SIGNED_IN, statements_page.document, owners.of_position),
    Place("/months", Who.OPERATOR, operators.months),
    Place("/months/{month}", Who.OPERATOR, operators.month),
    Place("/search", Who.OPERATOR, operators.search),
)

PROGRAMS = (
    Place("/api/v1/dca/machines", Who.OPERATOR, programs.machines),
    Place("/api/v1/dca/machines/{machine}", Who.OPERATOR, programs.machine, owners.of_machine),
    Place("/api/v1/dca/settlements", Who.OPERATOR, programs.settlements),
    Place("/api/v1/dca/settlements/{id}", Who.OPERATOR, programs.settlement, owners.of_sale),
    Place("/api/v1/dca/payments", Who.SIGNED_IN, programs.payments),
    Place("/api/v1/dca/clients", Who.SIGNED_IN, programs.clients_),
    Place("/api/v1/dca/balances", Who.SIGNED_IN, programs.balances_),
    Place("/api/v1/dca/deposits", Who.SIGNED_IN, programs.deposits_),
    Place("/api/v1/dca/commission-splits", Who.OPERATOR, programs.commission_splits),
    Place("/api/v1/dca/super-config", Who.OPERATOR, programs.super_config),
)

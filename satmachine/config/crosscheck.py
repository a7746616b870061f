"""What must be true between the tables of a configuration file (SPEC section 3).

Works on the TOML document as it was read, so that these problems show up together with those of single keys;
whatever has the wrong shape is skipped here, because the models report it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from satmachine.config.formats import nearest, quoted
from satmachine.config.model import Location
from satmachine.config.places import place_of

Document = Mapping[str, object]


def cross_problems(document: Document) -> Iterator[str]:
    """One sentence for everything that contradicts another table."""
    yield from _duplicates(document, "operators", "id")
    yield from _duplicates(document, "machines", "id")
    yield from _duplicates(document, "machines", "npub")
    yield from _unknown_operators(document)
    yield from _undecryptable(document)
    yield from _unsendable(document)
    yield from _shared_wallets(document)


def _duplicates(document: Document, table: str, key: str) -> Iterator[str]:
    seen: dict[str, Location] = {}
    for index, entry in _tables(document, table):
        value = entry.get(key)
        if not isinstance(value, str):
            continue
        first = seen.setdefault(value.strip().lower(), (table, index))
        if first != (table, index):
            yield (
                f"{place_of(document, (table, index, key))} is the same as that of [[{table}]] number "
                f"{int(first[1]) + 1}: it must be different for each"
            )


def _unknown_operators(document: Document) -> Iterator[str]:
    ids = [entry["id"] for _, entry in _tables(document, "operators") if isinstance(entry.get("id"), str)]
    known = [str(operator_id) for operator_id in ids]
    for index, machine in _tables(document, "machines"):
        operator = machine.get("operator")
        if isinstance(operator, str) and operator not in known:
            hint = nearest(operator, known) or "; add an [[operators]] table with this id"
            place = place_of(document, ("machines", index, "operator"))
            yield f"{place} names {quoted(operator)}, and there is no such operator{hint}"


def _unsendable(document: Document) -> Iterator[str]:
    nostr, alerts = document.get("nostr"), document.get("alerts")
    if isinstance(alerts, Mapping) and "npub" in alerts and isinstance(nostr, Mapping) and "secret_key" not in nostr:
        place = place_of(document, ("alerts", "npub"))
        yield f'{place} asks for direct messages, which need a "secret_key" in [nostr] to be signed with: add it there'


def _undecryptable(document: Document) -> Iterator[str]:
    nostr = document.get("nostr")
    if isinstance(nostr, Mapping) and "secret_key" in nostr:
        return
    for index, machine in _tables(document, "machines"):
        if machine.get("encrypted") is True:
            place = place_of(document, ("machines", index, "encrypted"))
            yield f'{place} is true, which needs a "secret_key" in [nostr] to decrypt with: add it there'


def _shared_wallets(document: Document) -> Iterator[str]:
    """No two machines share a wallet, and no payee is a machine's wallet, as far as references show it."""
    owners: list[tuple[object, Location]] = []
    for index, machine in _tables(document, "machines"):
        wallet = machine.get("wallet")
        key = wallet.get("admin_key") if isinstance(wallet, Mapping) else None
        if key is None:
            continue
        first = _owner(owners, key)
        if first is not None:
            yield (
                f"{place_of(document, ('machines', index, 'wallet', 'admin_key'))} is the same as that of "
                f"{place_of(document, first)}: two machines never share a wallet; give each its own"
            )
        else:
            owners.append((key, ("machines", index)))
    for location, payee in _payees(document):
        first = _owner(owners, payee.get("invoice_key"))
        if first is not None:
            yield (
                f"{place_of(document, (*location, 'invoice_key'))} is the admin key of "
                f"{place_of(document, first)}: no payee is a machine's own wallet; "
                "name the invoice key of another wallet"
            )


def _owner(owners: list[tuple[object, Location]], key: object) -> Location | None:
    return next((location for known, location in owners if key is not None and key == known), None)


def _payees(document: Document) -> Iterator[tuple[Location, Mapping[str, object]]]:
    """Every table `payee`, with its location."""
    platform = document.get("super")
    holders: list[tuple[Location, object]] = [(("super",), platform)]
    for table in ("operators", "machines"):
        for index, entry in _tables(document, table):
            holders += [((table, index, "splits", number), split) for number, split in _tables(entry, "splits")]
    for location, holder in holders:
        payee = holder.get("payee") if isinstance(holder, Mapping) else None
        if isinstance(payee, Mapping):
            yield (*location, "payee"), payee


def _tables(parent: Mapping[str, object], name: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The well-formed tables of an array, with their index."""
    entries = parent.get(name)
    if isinstance(entries, list):
        for index, entry in enumerate(entries):
            if isinstance(entry, Mapping):
                yield index, entry

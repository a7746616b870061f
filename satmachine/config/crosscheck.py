"""What must be true between the tables of a configuration file (SPEC section 3).

Works on the TOML document as it was read, so that these problems are reported together with those of single keys;
whatever has the wrong shape is skipped here, because the models report it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from satmachine.config.formats import nearest, quoted
from satmachine.config.key_places import place_of
from satmachine.config.model import Location

Document = Mapping[str, object]


def cross_problems(document: Document) -> Iterator[str]:
    """One sentence for everything that contradicts another table."""
    yield from _duplicates(document, "operators", "id")
    yield from _duplicates(document, "machines", "id")
    yield from _duplicates(document, "machines", "npub")
    yield from _unknown_operators(document)
    yield from _web_people(document)
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
    known = {id_: None for _, entry in _tables(document, "operators") if isinstance(id_ := entry.get("id"), str)}
    for index, machine in _tables(document, "machines"):
        operator = machine.get("operator")
        if isinstance(operator, str) and operator not in known:
            hint = nearest(operator, known) or "; add an [[operators]] table with this id"
            place = place_of(document, ("machines", index, "operator"))
            yield f"{place} names {quoted(operator)}, but there is no such operator{hint}"


def _web_people(document: Document) -> Iterator[str]:
    """Who may look at the pages: each person once, each with a key of their own, each of an operator that exists."""
    web = document.get("web")
    if not isinstance(web, Mapping):
        return
    known = {id_: None for _, entry in _tables(document, "operators") if isinstance(id_ := entry.get("id"), str)}
    seen: dict[tuple[str, str], int] = {}
    for index, person in _tables(web, "people"):
        operator = person.get("operator")
        if isinstance(operator, str) and operator != "*" and operator not in known:
            hint = nearest(operator, known) or "; add an [[operators]] table with this id"
            place = place_of(document, ("web", "people", index, "operator"))
            yield f"{place} names {quoted(operator)}, but there is no such operator{hint}"
        for key in ("id", "npub"):
            value = person.get(key)
            if isinstance(value, str) and seen.setdefault((key, value.strip().lower()), index) != index:
                place = place_of(document, ("web", "people", index, key))
                yield f"{place} is the same as that of an earlier person: it must be different for each"


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
    """No two machines share a wallet, and no payee is a machine's wallet, as far as the references show."""
    owners: dict[str | tuple[str, str], Location] = {}
    for index, machine in _tables(document, "machines"):
        wallet = machine.get("wallet")
        key = _reference(wallet.get("admin_key")) if isinstance(wallet, Mapping) else None
        if key is None:
            continue
        first = owners.setdefault(key, ("machines", index))
        if first != ("machines", index):
            yield (
                f"{place_of(document, ('machines', index, 'wallet', 'admin_key'))} is the same as that of "
                f"{place_of(document, first)}: two machines never share a wallet; give each its own"
            )
    for location, payee in _payees(document):
        key = _reference(payee.get("invoice_key"))
        if key in owners:
            first = owners[key]
            yield (
                f"{place_of(document, (*location, 'invoice_key'))} is the admin key of "
                f"{place_of(document, first)}: a payee cannot be a machine's own wallet; name the invoice key of "
                "another wallet"
            )


def _reference(key: object) -> str | tuple[str, str] | None:
    """A secret as it is written, in a form that can be looked up; None for what is not a secret."""
    if isinstance(key, str):
        return key
    if isinstance(key, Mapping) and len(key) == 1:
        [(kind, name)] = key.items()
        if isinstance(name, str):
            return kind, name
    return None


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

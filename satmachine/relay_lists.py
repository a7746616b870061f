"""Where machines say that they publish (NIP-65), and which of those relays are used. Pure.

With `[nostr] discover_relays`, a machine's own list adds relays to those of the file, for that machine alone. Whoever
has a machine's key decides what is in it, so it is limited: MAX_EACH relays for each machine, MAX_IN_ALL in all, first
those that most machines name; only wss://, and no addresses of this host or a private network.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from satmachine.addresses import is_public
from satmachine.config.formats import is_loopback, relay_url
from satmachine.config.model import Config
from satmachine.nostr.event import Event

MAX_EACH: Final = 4
MAX_IN_ALL: Final = 50
#: This many refused ones are shown by name.
MAX_TOLD: Final = 8
MAX_URL_CHARS: Final = 200

#: Names that lead only into somebody's own network (RFC 6762, RFC 6761, RFC 8375).
_PRIVATE_NAMES: Final = (".local", ".localhost", ".internal", ".home.arpa", ".lan")


@dataclass(frozen=True, slots=True)
class RelayList:
    """What a list says: write relays that may be used, and why others are not, by URL."""

    relays: tuple[str, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Every relay with the machines (public keys) for which it is asked; `named`: those that only machines name.

    `left_out`: also named, but beyond MAX_IN_ALL.
    """

    relays: Mapping[str, frozenset[str]]
    named: frozenset[str] = frozenset()
    left_out: frozenset[str] = field(default_factory=frozenset)


def read(event: Event, *, allow_private: bool) -> RelayList:
    """The write relays of a kind 10002: tags `r` without a marker, or with `write`. The first ones count."""
    named = dict.fromkeys(tag[1].strip() for tag in event.tags if _is_write_relay(tag))
    relays: list[str] = []
    refused: dict[str, str] = {}
    more = 0
    for text in named:
        url, why = _judged(text, allow_private=allow_private)
        if why is None and url in relays:
            continue
        if why is None and len(relays) == MAX_EACH:
            why = f"it names more than {MAX_EACH}"
        if why is None:
            relays.append(url)
        elif len(refused) < MAX_TOLD:
            refused[url] = why
        else:
            more += 1
    if more:
        refused[f"and {more} more"] = "for such reasons"
    return RelayList(tuple(relays), refused)


def relays_of(config: Config, lists: Mapping[str, Sequence[str]] | None = None) -> Wanted:
    """`lists`: each machine's own relays, by its id, as they were read; the file decides whether they count."""
    authors: dict[str, set[str]] = {url: set() for machine in config.machines for url in config.relays_of(machine)}
    for machine in config.machines:
        for url in config.relays_of(machine):
            authors[url].add(machine.pubkey)
    named: dict[str, set[str]] = defaultdict(set)
    for machine in config.machines if config.nostr.discover_relays else ():
        for url in tuple((lists or {}).get(machine.id, ()))[:MAX_EACH]:
            # Read again: the file may have become stricter since.
            if _judged(url, allow_private=config.nostr.discover_private)[1] is None:
                (authors if url in authors else named)[url].add(machine.pubkey)
    ranked = sorted(named, key=lambda url: (-len(named[url]), url))
    taken = ranked[:MAX_IN_ALL]
    everything = {**authors, **{url: named[url] for url in taken}}
    return Wanted(
        {url: frozenset(keys) for url, keys in everything.items()}, frozenset(taken), frozenset(ranked[MAX_IN_ALL:])
    )


def _is_write_relay(tag: Sequence[str]) -> bool:
    return len(tag) > 1 and tag[0] == "r" and (len(tag) == 2 or tag[2] in ("", "write"))


def _judged(text: str, *, allow_private: bool) -> tuple[str, str | None]:
    """The URL as it is used or shown, and why it is not used."""
    told = "".join(char if char.isprintable() else "?" for char in text[:MAX_URL_CHARS])
    if len(text) > MAX_URL_CHARS:
        return told, f"its address has more than {MAX_URL_CHARS} characters"
    try:
        url = relay_url(text)
    except ValueError:
        return told, "that is not the address of a relay"
    if allow_private:
        return url, None
    if not url.startswith("wss://"):
        return url, "it is not encrypted (ws://)"
    return url, "it is on this host or in a private network" if _is_private(url) else None


def _is_private(url: str) -> bool:
    """As far as the URL itself shows; what its name resolves to is checked when the daemon connects."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    try:
        return not is_public(ipaddress.ip_address(host))
    except ValueError:
        # The resolver treats 127.1 and 0x7f.1 as addresses.
        is_number = host.rpartition(".")[2][:1].isdecimal()
        return is_number or is_loopback(url) or "." not in host or host.endswith(_PRIVATE_NAMES)

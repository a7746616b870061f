"""Marks: what tells two payers of one wallet apart, whatever their databases remember. Pure.

LNbits offers no lock, but its database is one, and paying the *same* invoice twice is impossible, whoever does it. Only
*another* invoice for the same leg is dangerous. So before a bundle's first leg is paid, a *mark* is written into the
paying wallet: an invoice that nobody ever pays, found by the bundle's key, whose `extra` names every invoice that may
be paid for the bundle. The rule is

    Only an invoice may be paid that is named by a mark which was *seen* in the wallet, after it was written, with no
    mark beside it that these books do not know.

Why it holds: who sees only known marks has listed the wallet after their own mark was committed. A stranger's mark that
was committed earlier would have been in that list; a stranger whose mark is committed later lists later still, sees
both, and pays nothing. Time stamps, order and "this one is mine" decide nothing.

A mark's content is committed in these books *before* it is written there, and a write whose answer was lost is repeated
with the same content: two rows with one id are one mark. A later mark names the ones before it (`prev`) and takes their
place: it drops what is paid, dead, or withdrawn by a person. What a person has stopped it names, also where no invoice
was named before: a copy of the books that does not know of the order finds a mark that it does not know.

The admin key authenticates a mark (HMAC-SHA256), because with the invoice key, which every machine has, anybody can
write rows. A row with a mark's key that does not verify is no mark, and is ignored; but for books that see a wallet for
the first time, which cannot know under which key a person's orders were marked: they show it (`written`).

Source: docs/lnbits.md "Two payers"; ARCHITECTURE.md has the traces that it survives.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from satmachine import identity

_VERSION = 1
_ID = re.compile(r"[0-9a-f]{16}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Mark:
    """`invoices`: leg key -> payment hash of the one invoice that may be paid for it. `prev`: the marks before it.
    `stopped`: what a person's order has stopped: keys of legs, or the bundle itself for all of it.
    """

    id: str
    bundle: str
    prev: tuple[str, ...]
    invoices: Mapping[str, str]
    stopped: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """The one text that stands for this mark: stored, compared and authenticated."""
        said: dict[str, object] = {
            "version": _VERSION,
            "id": self.id,
            "bundle": self.bundle,
            "prev": sorted(self.prev),
            "invoices": dict(sorted(self.invoices.items())),
        }
        if self.stopped:
            said["stopped"] = sorted(self.stopped)
        return json.dumps(said, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """What stands for the content where it is not needed any more; JSON, too."""
        return json.dumps(f"sha256:{hashlib.sha256(self.content.encode()).hexdigest()}")

    def is_known(self, known: Mapping[str, str]) -> bool:
        """Whether it is among these (id -> content or digest); the same id with other content is another mark."""
        return known.get(self.id) in (self.content, self.digest)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a list of a bundle's rows says of its marks: whether mine is there, and those that the books do not know."""

    mine: bool
    unknown: tuple[Mark, ...]


def extra_of(mark: Mark, admin_key: str) -> dict[str, object]:
    """What the mark's row carries."""
    return {"mark": mark.content, "mac": _mac(mark.content, admin_key)}


def from_content(content: str) -> Mark | None:
    """A mark from its text; None where it is not one, or was written by a version that this one does not know."""
    try:
        found = json.loads(content)
        stopped = tuple(found.get("stopped", ()))
        mark = Mark(found["id"], found["bundle"], tuple(found["prev"]), found["invoices"], stopped)
        usable = found["version"] == _VERSION and mark.content == content and _is_well_formed(mark)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return mark if usable else None


def genuine(extra: Mapping[str, object], external_id: str | None, admin_key: str) -> Mark | None:
    """The mark that a row carries; None for every other row, also one that only looks like a mark."""
    content, mac = extra.get("mark"), extra.get("mac")
    if not isinstance(content, str) or not isinstance(mac, str):
        return None
    if not hmac.compare_digest(mac.encode(errors="replace"), _mac(content, admin_key).encode()):
        return None
    return written(extra, external_id)


def written(extra: Mapping[str, object], external_id: str | None) -> Mark | None:
    """The mark that a row carries, whoever may have written it: under a key that was replaced since, or with none."""
    content = extra.get("mark")
    mark = from_content(content) if isinstance(content, str) else None
    return mark if mark is not None and external_id == identity.mark_key(mark.bundle, mark.id) else None


def compare(seen: Iterable[Mark], *, mine: Mark | None, known: Mapping[str, str]) -> Sight:
    """`known`: id -> content, or digest, of every mark that these books have written, or a person has decided about."""
    unknown = {mark.id: mark for mark in seen if not mark.is_known(known)}
    return Sight(any(mark == mine for mark in seen), tuple(unknown.values()))


def successor(
    mark_id: str,
    bundle: str,
    current: Mark | None,
    known: Iterable[str],
    invoices: Mapping[str, str],
    stopped: Iterable[str] = (),
) -> Mark:
    """The mark that takes the place of all that are known so far."""
    before = set(known) | ({current.id} if current is not None else set())
    return Mark(mark_id, bundle, tuple(sorted(before)), dict(invoices), tuple(sorted(stopped)))


def _mac(content: str, admin_key: str) -> str:
    return hmac.new(
        admin_key.encode(), f"satmachine mark\n{content}".encode(errors="replace"), hashlib.sha256
    ).hexdigest()


def _is_well_formed(mark: Mark) -> bool:
    return (
        _ID.fullmatch(mark.id) is not None
        and all(_ID.fullmatch(before) for before in mark.prev)
        and all(identity.belongs(key, mark.bundle) and _HASH.fullmatch(name) for key, name in mark.invoices.items())
        and all(identity.belongs(key, mark.bundle) for key in mark.stopped)
    )

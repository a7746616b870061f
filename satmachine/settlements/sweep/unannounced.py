"""Is this payment a sale that nobody announced? Pure judgement of one incoming payment (SPEC sections 2 and 6.3).

Today's machines leave nothing but a payment in the wallet: no event, no `extra`. If the operator says that such
payments are sales (`[machines.unannounced] sales = "share"`), everything else that comes into that wallet must be
distinguished from them, because sats that were shared out do not come back. The checks, from what is certain to what is
only likely:

    made by satmachine            its own payments, and top-ups that `machines top-up` made the invoice for
    made by LNbits                an administrator's credit; an invoice of an extension, unless `tags` names it
    outside the operator's rule   memo, sizes
    the event may still come      `after_s`
    paid by one of our wallets    a transfer, or a partner's mistake: only the wallets know, so it is asked last

A payment that is none of these is shared. One that is any of these is listed with the reason, and a person can land or
dismiss it. Times are Unix seconds, amounts sats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from satmachine.identity import PREFIX
from satmachine.wallet.rows import WalletPayment

#: How long a machine that announces its sales is waited for, unless the file says otherwise.
ANNOUNCED_AFTER_S: Final = 120

#: What LNbits itself writes when its administrator gives a wallet sats out of nothing.
_ADMIN_CREDIT: Final = "Admin credit"

#: A memo is as long as BOLT 11 allows; no pattern needs more of it.
_MEMO_CHARS: Final = 640


class Kind(StrEnum):
    """What an incoming payment without a sale is (column `kind` of dca_unmatched_payments).

    UNKNOWN waits for a person; the others are explained, and can be landed all the same.
    """

    UNKNOWN = "unknown"
    TOP_UP = "top_up"
    TRANSFER = "transfer"
    CREDIT = "credit"
    OWN = "own"


class RuleOfShare(Protocol):
    """What of `[machines.unannounced]` decides."""

    @property
    def sales(self) -> str: ...
    @property
    def memo(self) -> str | None: ...
    @property
    def min_sats(self) -> int: ...
    @property
    def max_sats(self) -> int: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class JustListed:
    """It is listed and not shared; `why` is a sentence for the operator."""

    why: str
    kind: Kind = Kind.UNKNOWN


@dataclass(frozen=True, slots=True)
class Wait:
    """The machine may announce it yet; `until` it is left alone."""

    until: int


@dataclass(frozen=True, slots=True)
class Share:
    """It is a sale, as far as anybody but the wallets knows: they are asked next."""


Judgement = JustListed | Wait | Share


def wait_s(after_s: int | None, *, announces: bool) -> int:
    """How long an event may come first. `announces`: this machine has announced a sale before."""
    if after_s is not None:
        return after_s
    return ANNOUNCED_AFTER_S if announces else 0


def classify(row: WalletPayment, rule: RuleOfShare, *, top_up: bool, own: bool, after_s: int, now: int) -> Judgement:
    """What a settled incoming payment is that no event and no `extra` explains. `top_up`, `own`: it paid such an
    invoice, as these books know."""
    made_here = _made_by_us(row, top_up=top_up, own=own)
    if made_here is not None:
        return made_here
    if rule.sales != "share":
        return JustListed("it carries nothing about a sale: a top-up, or a sale that nobody announced")
    outside = _made_by_lnbits(row, rule) or _says_otherwise(row) or _outside(row, rule)
    if outside is not None:
        return outside
    if now < row.updated_at + after_s:
        return Wait(row.updated_at + after_s)
    return Share()


def transfer(payer: str, *, is_machine: bool) -> JustListed:
    """It was paid by a wallet that the configuration names; `payer` says whose."""
    if is_machine:
        return JustListed(f"it was paid by {payer}: a transfer between your own wallets", Kind.TRANSFER)
    return JustListed(f"it was paid by {payer}: a transfer or a mistake of theirs, not a customer's payment")


def _made_by_us(row: WalletPayment, *, top_up: bool, own: bool) -> JustListed | None:
    if top_up:
        return JustListed("a top-up that `machines top-up` made the invoice for", Kind.TOP_UP)
    if own:
        return JustListed(f"it paid an invoice of satmachine's own ({row.leg_key}): no customer's payment", Kind.OWN)
    if (row.leg_key or "").startswith(PREFIX):
        # Whoever has the wallet's invoice key can write such a key beside a customer's invoice.
        return JustListed(f"it bears a key of satmachine's, {row.leg_key!r:.100}, that these books have not given")
    return None


def _made_by_lnbits(row: WalletPayment, rule: RuleOfShare) -> JustListed | None:
    if row.memo == _ADMIN_CREDIT:
        return JustListed("a credit by the administrator of LNbits", Kind.CREDIT)
    tag = row.tag or row.extra.get("tag")
    if tag and tag not in rule.tags:
        return JustListed(f'an invoice of the LNbits extension "{tag}"; is it a sale? then name it in unannounced.tags')
    return None


def _says_otherwise(row: WalletPayment) -> JustListed | None:
    inner = row.extra.get("extra")
    for fields in (row.extra, inner if isinstance(inner, Mapping) else {}):
        if fields.get("source"):
            return JustListed(f"its extra says source {fields['source']!r:.60}, which is no bitspire sale")
    return None


def _outside(row: WalletPayment, rule: RuleOfShare) -> JustListed | None:
    if row.amount_sats < rule.min_sats:
        return JustListed(f"{row.amount_sats} sats are less than unannounced.min_sats {rule.min_sats}")
    if row.amount_sats > rule.max_sats:
        return JustListed(f"{row.amount_sats} sats are more than unannounced.max_sats {rule.max_sats}")
    if row.amount_msat % 1000:
        return JustListed(f"{row.amount_msat} msats are no whole number of sats")
    if rule.memo is not None and re.search(rule.memo, row.memo[:_MEMO_CHARS]) is None:
        return JustListed(f"its memo does not match unannounced.memo {rule.memo!r}")
    return None

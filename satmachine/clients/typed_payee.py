"""What the operator types about an LP's payee, checked before it is stored. Reads only key files.

Every function raises ValueError whose message completes "--option ...".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from satmachine.config import Secret
from satmachine.config.check import open_to_others
from satmachine.config.formats import lightning_address, lnurl
from satmachine.errors import ConfigError


def choose(
    *, invoice_key_file: Path | None = None, address: str | None = None, lnurl_code: str | None = None
) -> tuple[str, str] | None:
    """`(payee_kind, payee)` as `dca_clients` stores them; None if nothing was given."""
    if sum(way is not None for way in (invoice_key_file, address, lnurl_code)) > 1:
        raise ValueError("give one of --invoice-key-file, --lightning-address and --lnurl")
    if invoice_key_file is not None:
        return "invoice_key_file", key_file(invoice_key_file, "--invoice-key-file")
    if address is not None:
        return "lightning_address", _checked("--lightning-address", lightning_address, address)
    if lnurl_code is not None:
        return "lnurl", _checked("--lnurl", lnurl, lnurl_code)
    return None


def autoforward(address: str | None, admin_key_file: Path | None, payee_kind: str) -> tuple[str, str] | None:
    """`(address, key file)`: sats are forwarded from the LP's own wallet, which must be one of this LNbits."""
    if address is None and admin_key_file is None:
        return None
    if address is None or admin_key_file is None:
        raise ValueError("--autoforward and --autoforward-key-file belong together: give both")
    if payee_kind != "invoice_key_file":
        raise ValueError(
            "--autoforward needs --invoice-key-file: sats are forwarded from the LP's own LNbits wallet. To pay "
            "somewhere else at once, use --lightning-address instead"
        )
    return (
        _checked("--autoforward", lightning_address, address),
        key_file(admin_key_file, "--autoforward-key-file"),
    )


def key_file(path: Path, option: str) -> str:
    """The absolute path of a file with a key; the key itself is read to check that it is one, and then forgotten."""
    absolute = str(path.expanduser().absolute())
    try:
        Secret("file", absolute, source=option, place=option).resolve({})
    except ConfigError as error:
        raise ValueError("; ".join(error.problems)) from None
    for problem in open_to_others(Path(absolute)):
        raise ValueError(f"{option}: {problem}")
    return absolute


def _checked(option: str, check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None

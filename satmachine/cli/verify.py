"""`satmachine verify`: is a statement what its signer made? Offline: no configuration, no database, no key is read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit.options import AsJson
from satmachine.cli.kit.output import print_json, print_line
from satmachine.cli.kit.values import format_time
from satmachine.plain_text import printable

_UTC_HINT = "UTC"


def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The statement as you got it; - reads it from stdin.")],
    npub: Annotated[
        str | None, typer.Option(metavar="NPUB", help="The operator's key, which they gave you in another way.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that a statement (HTML or JSON) was not altered, and who signed it; exits with 1 if it was altered.

    Without --npub it only names the signer: anybody can sign with a key of their own. Needs no daemon.

    Examples:

        satmachine verify maria.html --npub npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9

        satmachine verify maria.json
    """
    from satmachine.reports.signed import Unproven, verify_file

    wanted = None if npub is None else _key(npub)
    found = verify_file(_content(file))
    if not isinstance(found, Unproven) and wanted not in (None, found.signer):
        found = Unproven(f"it was signed by another key: {found.npub}")
    if isinstance(found, Unproven):
        if as_json:
            print_json({"verified": False, "why": found.why})
        else:
            print_line(f"NOT PROVEN: {file}: {found.why}.", style="bold red")
        raise typer.Exit(1)
    said = found.document
    who = f"{said.get('person')} at {said.get('machine_name')} ({said.get('operator')})"
    if as_json:
        head = {"verified": True, "signer": found.npub, "signed_by_npub": wanted is not None}
        print_json(head | {"signed_at": found.signed_at, "document": said})
        return
    span = f"{said.get('since') or 'the beginning'} to {said.get('until') or said.get('made_at')}"
    print_line(printable(f"Nothing was altered since it was signed, at {format_time(found.signed_at)} UTC."))
    print_line(printable(f"The statement of {who}, from {span}; balance {said.get('closing')} {said.get('currency')}."))
    if wanted is None:
        print_line(
            f"It was signed by {found.npub}. Anybody can sign with a key of their own: with --npub, give the key "
            "that you got from the operator in another way."
        )
    else:
        print_line(f"It was signed by {found.npub}, the key that you named.")


def _key(npub: str) -> str:
    from satmachine.nostr.keys import npub_to_hex

    try:
        return npub_to_hex(npub.strip())
    except ValueError as error:
        raise typer.BadParameter(f"--npub: {error}") from None


def _content(file: str) -> bytes:
    from satmachine.reports.signed import MAX_BYTES

    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise typer.BadParameter(f"{file} is larger than any statement")
    return content

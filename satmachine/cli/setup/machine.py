"""What `machines add` asks, and the table that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from satmachine.cli.kit import numbers
from satmachine.cli.kit.requests import at_a_terminal
from satmachine.cli.setup import tested, writing
from satmachine.cli.setup.asking import Test, ask
from satmachine.config import Config, formats


@dataclass(frozen=True, slots=True)
class Flags:
    """What was said on the command line."""

    machine_id: str | None = None
    operator: str | None = None
    npub: str | None = None
    name: str | None = None
    currency: str | None = None
    fallback_commission_pct: str | None = None
    payouts_since: str | None = None
    admin_key_file: str | None = None
    unannounced: str | None = None


def table(config: Config, flags: Flags) -> tuple[str, str]:
    """Ask for one machine; its id, and its `[[machines]]` table. A key that was typed is in a file by then."""
    machine_id = ask("Short name of the machine", flag="--id", given=flags.machine_id, test=_new_id(config))
    operators = [one.id for one in config.operators]
    fields = {
        "operator": ask(
            f"Whose is it ({', '.join(operators)})",
            flag="--of",
            given=flags.operator,
            default=operators[0] if len(operators) == 1 else None,
            test=_one_of(operators),
        ),
        "name": ask("Name for people", flag="--name", given=flags.name, default=machine_id),
        "npub": ask("Its public key (npub1..)", flag="--npub", given=flags.npub, test=tested.npub),
        "currency": ask(
            "Currency of its cash",
            flag="--currency",
            given=flags.currency,
            default=config.machines[-1].currency if config.machines else None,
            test=_checked(formats.currency),
        ),
    }
    pct = ask(
        "Commission of sales that do not say theirs (5 % or 0.05)",
        flag="--fallback-commission-pct",
        given=flags.fallback_commission_pct,
        default="0.05",
        test=lambda text: _told(numbers.fraction(text)),
    )
    since = ask(
        "Pay sales since (earlier ones are never paid)",
        flag="--payouts-since",
        given=flags.payouts_since,
        default=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        test=_checked(datetime.fromisoformat),
    )
    sales = ask(
        "Payments that no event explains: report (a person looks) or share (they are sales)",
        flag="--unannounced",
        given=flags.unannounced,
        default="report",
        test=_one_of(["report", "share"]),
    )
    key = _key(config, machine_id, flags)
    lines = ["", "[[machines]]", f"id = {writing.text(machine_id)}"]
    lines += [f"{name} = {writing.text(value)}" for name, value in fields.items()]
    lines += [f"fallback_commission_pct = {numbers.fraction(pct):f}", f"payouts_since = {since}"]
    lines.append(f"wallet = {{ admin_key = {writing.secret_at(key)} }}")
    if sales == "share":
        lines += ["[machines.unannounced]", 'sales = "share"']
    return machine_id, "\n".join(lines) + "\n"


def _key(config: Config, machine_id: str, flags: Flags) -> Path:
    """The file with the wallet's admin key; what is typed is kept beside the configuration."""
    url = config.lnbits.url
    if flags.admin_key_file is not None or not at_a_terminal():
        path = ask("", flag="--admin-key-file", given=flags.admin_key_file, test=_file_of_key(url))
        return Path(path).absolute()
    question = "Admin key of its LNbits wallet (not shown)"
    key = ask(question, flag="--admin-key-file", given=None, test=tested.admin_key(url), hidden=True)
    return writing.keep_key(config.path.parent / "keys", machine_id, key)


def _file_of_key(url: str) -> Test:
    def test(path: str) -> str:
        writing.check_readable(Path(path))
        return tested.key_file(url)(path)

    return test


def _new_id(config: Config) -> Test:
    def test(text: str) -> str:
        formats.slug(text)
        if config.machine(text) is not None:
            raise ValueError(f"there is a machine {text} already; names are never used again")
        return ""

    return test


def _one_of(words: list[str]) -> Test:
    def test(text: str) -> str:
        if text not in words:
            raise ValueError(f"it is one of: {', '.join(words)}")
        return ""

    return test


def _checked(parse: object) -> Test:
    def test(text: str) -> str:
        parse(text)  # type: ignore[operator]
        return ""

    return test


def _told(pct: object) -> str:
    if not 0 <= pct <= 1:  # type: ignore[operator]
        raise ValueError("it is a part of the whole: 0.05, or 5 %")
    return ""

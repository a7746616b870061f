"""What is refused says what to do instead: each such command is typed as the refusal prints it, and runs.

Found in the source: every error whose text names a command. A new one is provoked here, or is of the daemon's.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from satmachine.cli.main import app
from satmachine.errors import Refused
from satmachine.models import HoldReason
from satmachine.orders import Unreadable
from satmachine.store import incoming, intent_rows, settlements, wallet_rows
from satmachine.store.database import atomic
from testkit.books import NOW
from testkit.sale_desk import MACHINE, Desk, add_provider, copied, open_desk
from tests.audit.test_books import add_cash
from tests.cli.suggested import SOURCE, _commands, _part
from tests.cli.typed import typed

PLANNED, PAID, HELD, SENT = 1, 2, 3, 4
UNMATCHED = "cd" * 32
#: What is filled in where the text says with what.
FILLED_IN = {" R": " 100", " ID": " 1", " SATS": " 100"}

Change = Callable[[Desk], object]


def stops(desk: Desk) -> None:
    """The wallet shows a payment that these books do not know."""
    foreign = wallet_rows.Outgoing("f" * 64, "sm1:xx:r1:super", "lnbc1", 5, "success", None, {}, NOW)
    wallet_rows.note_outgoing(desk.conn, MACHINE, [foreign], NOW)
    wallet_rows.refresh_safe_mode(desk.conn, MACHINE)


def dismisses(desk: Desk) -> None:
    incoming.dismiss(desk.conn, MACHINE, UNMATCHED, actor="maria", reason="a top-up", now=NOW)


def has_shortfall(desk: Desk) -> None:
    desk.do("shortfall", PAID, short_minor=90_000, refund_sats=133_400, topup_sats=133_400, to="ana@example.org")


def breaks_books(desk: Desk) -> None:
    desk.conn.execute("UPDATE dca_settlements SET retained_sats = retained_sats + 7 WHERE id = ?", (PAID,))


def is_inactive(desk: Desk) -> None:
    desk.conn.execute("UPDATE dca_settlements SET hold_reason = 'machine_inactive' WHERE id = ?", (HELD,))


#: What is typed, and what was done to the books before.
PROVOKED: list[tuple[str, Change | None]] = [
    ("cash count panajachel-1 --amount 10 --corrects 1", None),
    ("cash void 3 --reason x --yes", None),
    ("cash book 1", None),
    ("cash void 99 --reason x --yes", None),
    ("alerts silence nonsense --reason x", None),
    ("alerts silence books_broken --reason x", None),
    ("--operator nobody status", None),
    ("observe --machine nobody", None),
    ("settlements dismiss --undo --all --reason x", None),
    ("settlements dismiss --all --since 2100-01-01 --reason x", None),
    (f"settlements dismiss {'ef' * 32} --reason x", None),
    (f"settlements dismiss --undo {UNMATCHED} --reason x --yes", None),
    (f"settlements land {UNMATCHED} --reason x --yes", dismisses),
    ("init", None),
    ("clients settle alice --rate 100 --yes", stops),
    ("clients settle alice --rate 100 --amount 99999999 --yes", None),
    ("clients remove bruno --yes", None),
    ("clients show nobody", None),
    ("clients add --machine nobody --label x --lightning-address x@example.org --unchecked", None),
    ("clients statement alice --signed", None),
    ("export ledger --format csv", breaks_books),
    (f"settlements shortfall {PAID} --dispensed 900 --by-hand --reason x --yes", has_shortfall),
    (f"settlements retry {HELD}", None),
    (f"settlements hold {HELD} --reason x --yes", is_inactive),
    ("settlements show 99", None),
    ("payouts resume --reason x --yes", None),
    ("deposits confirm 3 --yes", None),
    ("deposits show 99", None),
    ("deposits withdraw alice 5 --yes", stops),
    ("deposits withdraw alice 99999999 --yes", None),
    ("deposits reverse 1 --reason x --yes", None),
    (f"payments cancel {PLANNED} --reason x --yes", None),
]

#: (where, what it says): refused by the daemon on what the wallets show, in the moment between two transactions, past
#: the command line's own check, or until the daemon runs. Their commands are those of other rows.
ELSEWHERE = (
    ("settlements/correct/proven_unpaid.py", ""),
    ("settlements/correct/carries_out.py", ""),
    ("settlements/correct/sale_orders.py", ""),
    ("settlements/correct/repoint.py", "names no payee"),
    ("settlements/correct/vouched.py", "has no payment at all"),
    ("settlements/correct/stops.py", "held for something else by now"),
    ("settlements/correct/unmatched.py", "paid on the machine's word"),
    ("settlements/correct/unmatched.py", "shows it"),
    ("settlements/pay/invoicing.py", ""),
    ("settlements/reconcile/balance.py", ""),
    ("settlements/reconcile/proposal.py", ""),
    ("settlements/sweep/wallet_orders.py", ""),
    ("clients/payout.py", "was planned since"),
    ("cli/machines/wallets_command.py", ""),
    ("cli/simulate.py", ""),
    ("store/clients.py", "there is no"),
    ("store/clients.py", "cannot change now"),
    ("store/database.py", ""),
    ("store/deposits.py", "there is no"),
    ("store/period_rows.py", ""),
    ("store/quarantine_rows.py", ""),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Sales of each kind, an LP, cash, and a payment of no sale."""
    desk = open_desk(tmp_path_factory.mktemp("refusals"))
    add_provider(desk, "alice", 10_000_000)
    for number in (PLANNED, PAID, HELD, SENT):
        assert desk.land(number) == number
        desk.plan(number)
    desk.pay_all(PAID)
    desk.invoice("dca:alice", settlement_id=SENT)
    with atomic(desk.conn) as conn:
        settlements.hold(conn, HELD, reason=HoldReason.BY_OPERATOR, error="jam")
        add_cash(conn)
        incoming.note(
            conn,
            MACHINE,
            payment_hash=UNMATCHED,
            amount_sats=50_000,
            memo="top-up",
            extra={},
            settled_at=NOW,
            reason="it does not say that it is a sale",
            kind="unknown",
            now=NOW,
        )
    add_provider(desk, "bruno", 100_000)
    return desk


@contextmanager
def changed(made: Desk, folder: Path, change: Change | None) -> Iterator[Desk]:
    """A copy of the books, to which something is done."""
    folder.mkdir(exist_ok=True)
    with copied(made, folder) as desk:
        if change is not None:
            change(desk)
        yield desk


def refused(desk: Desk, command: str) -> str:
    """Type something that is refused, by the command line or by the daemon; what is said of it, on one line."""
    left = CliRunner().invoke(app, ["--config", str(desk.path), *shlex.split(command)])
    said = left.output.partition("Error: ")[2]
    if left.exit_code == 0:
        for asked in intent_rows.open_orders(desk.conn):
            assert not isinstance(asked.order, Unreadable)
            with pytest.raises(Refused) as refusal:
                anyio.run(desk.actions[type(asked.order)], asked, asked.order)
            said = str(refusal.value)
            with atomic(desk.conn):
                intent_rows.refuse(desk.conn, asked.id, said, NOW)
    else:
        assert isinstance(left.exception, SystemExit), left.exception
    return " ".join(said.split())


@pytest.mark.parametrize(("command", "change"), PROVOKED, ids=[command for command, _ in PROVOKED])
def test_what_a_refusal_says_to_do_is_done(made: Desk, tmp_path: Path, command: str, change: Change | None) -> None:
    with changed(made, tmp_path, change) as desk:
        said = refused(desk, command)
        named, _ = _commands(said)
        assert named, f"{command} says: {said}"
        for one in named:
            for name, meant in FILLED_IN.items():
                one = re.sub(rf"{name}\b", meant, one)
            if one not in ("satmachine run", "satmachine machines add"):
                typed(desk, one)


def templates() -> Iterator[tuple[str, str]]:
    """(place, pattern) of every error in the source whose text names a command."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in map(text_of, node.exc.args):
                    elsewhere = any(place == where and said in text for where, said in ELSEWHERE)
                    if _commands(text)[0] and not elsewhere:
                        words = re.split(r"\{[^{}]*\}", " ".join(text.split()))
                        yield f"{place}:{node.lineno}", ".*".join(map(re.escape, words))


def text_of(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(_part(part) for part in value.values)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def test_every_refusal_that_names_a_command_is_provoked(made: Desk, tmp_path: Path) -> None:
    said = []
    for number, (command, change) in enumerate(PROVOKED):
        with changed(made, tmp_path / str(number), change) as desk:
            said.append(refused(desk, command))
    missing = [place for place, pattern in templates() if not any(re.search(pattern, one) for one in said)]
    assert not missing, "\n".join(missing)

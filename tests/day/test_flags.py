"""The set-up by flags, as a script does it, and what is wrong with an answer. tests/day/test_first_hour.py is asked."""

from __future__ import annotations

from testkit.system import System
from tests.day.operator import Operator
from tests.integration.conftest import BuildSystem


async def test_every_question_has_a_flag_and_every_answer_is_tested(build_system: BuildSystem) -> None:
    system: System = await build_system(lps=("alice",))
    config = system.folder / "own" / "config.toml"
    system.config_path.unlink()  # what the harness has written: the operator makes his own
    operator = Operator(system, config)
    machine = system.machines[0]
    where = ("--lnbits-url", system.lnbits.url, "--relay", system.relays[0].url)
    wrong = await operator.types("init", "--lnbits-url", "http://127.0.0.1:1", code=2)
    assert "nobody answers" in wrong.err
    assert not config.exists()
    await operator.types("init", *where, "--operator-id", "atitlan", "--database", str(system.database_path))
    again = await operator.types("init", *where, "--operator-id", "atitlan", code=1)
    assert "is there already" in again.err

    identity = ("--id", "machine-1", "--npub", machine.signer.npub, "--currency", "GTQ")
    no_key = await operator.types(
        "machines", "add", *identity, "--admin-key-file", str(system.key_file("owner")), code=2
    )
    assert "which cannot pay" in no_key.err
    assert "[[machines]]" not in config.read_text()
    await operator.types("machines", "add", *identity, "--admin-key-file", str(system.key_file("machine-1")))
    assert (await operator.types("config", "check", "--secrets")).code == 0
    assert [row["id"] for row in await operator.reads("machines", "list")] == ["machine-1"]

    added = await operator.types(
        *("clients", "add", "--machine", "machine-1", "--label", "alice"),
        *("--invoice-key-file", str(system.key_file("alice"))),
    )
    assert "a wallet of this LNbits" in added.err
    await operator.types("deposits", "add", "alice", "10000", "--note", "first load")
    await operator.types("deposits", "confirm", "1", "--yes")
    assert "daemon_down" in await operator.needs()

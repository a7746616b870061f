"""From a host with LNbits running to the first sale shared, by what the README says."""

from __future__ import annotations

import json
from pathlib import Path

from testkit.system import System
from tests.day.operator import Operator
from tests.integration.conftest import BuildSystem


async def test_from_nothing_to_the_first_sale(build_system: BuildSystem) -> None:
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

    use_own_config(system, config)
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    await operator.sells()
    sale = await operator.until_sale(1, "processed")
    assert {leg["leg"]: leg["status"] for leg in sale["legs"]}["dca:alice"] == "completed"
    assert (await operator.types("settlements", "list")).out.count("processed") == 1
    assert (await operator.types("status", code=None)).out.rstrip().endswith("Nothing needs you.")
    await operator.types("audit")
    assert await system.stop_daemon() == 0
    assert json.loads((await operator.types("alerts", "list", "--json", code=1)).out)[0]["condition"] == "daemon_down"


def use_own_config(system: System, config: Path) -> None:
    """Let the harness start the daemon with what the operator has written."""
    system.config_path.symlink_to(config)

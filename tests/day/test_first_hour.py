"""The first hour by README.md alone: its commands, typed at a terminal, from nothing to the first sale shared."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testkit.system import DemoMachine, System
from testkit.watch import SALE, balances
from tests.day.page import ROOT, commands
from tests.day.terminal import Terminal
from tests.found.parts import AddressServer, addresses
from tests.integration.conftest import BuildSystem

#: What the page calls the machine and the LP, and a person as well; only the address is the LP's own.
MACHINE, LP, ADDRESS = "panajachel-1", "maria", "maria@example.org"
#: The server of that address is on this host, which no daemon of an operator asks.
LOOPBACK = "\n[lnurl]\nallow_private_hosts = true\n"
#: Her part of the sale: 1,000 GTQ at 143.797 sats each; the other 800 GTQ nobody has brought. Her address could be
#: anywhere, so 1 % is kept back for routing.
BOUGHT_SATS, RECEIVED_SATS = 143_797, 142_360


async def test_the_first_hour(build_system: BuildSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = await build_system(machines=2, lps=(LP,))
    told = await first_hour(system, tmp_path / "own", [])
    with capsys.disabled():
        print(f"\n{told}")


@pytest.mark.slow
async def test_the_first_hour_with_the_installation(
    build_system: BuildSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a host that has Python, an LNbits and this folder, and nothing else of ours."""
    system = await build_system(machines=2, lps=(LP,))
    install = ["python3 -m venv ~/venv", ". ~/venv/bin/activate", f"pip install {shlex.quote(str(ROOT))}"]
    assert "`pip install .` in a virtual environment" in (ROOT / "README.md").read_text()
    told = await first_hour(system, tmp_path / "own", install)
    with capsys.disabled():
        print(f"\nWith the installation: {told}")


async def first_hour(system: System, folder: Path, install: list[str]) -> str:
    """Everything that the page says, in its order, each line once; how long it took, and how many keys."""
    folder.mkdir()  # noqa: ASYNC240  an empty one, at once
    environ = {"PATH": os.environ["PATH"]}
    if not install:
        environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "PYTHONPATH": str(ROOT)}
    async with Terminal(folder, environ) as first, Terminal(folder, environ) as second:
        with addresses(system.lnbits, system.wallets) as server:
            hour = Hour(system, folder, server, first, second)
            for line in install:
                await hour.types(line, timeout_s=600)
            await hour.plays(install)
            return await hour.ends()


@dataclass
class Hour:
    """A new operator with a page, and two terminals."""

    system: System
    folder: Path
    server: AddressServer
    first: Terminal
    second: Terminal
    began: float = field(default_factory=time.monotonic)
    lines: Iterator[str] = field(default_factory=lambda: iter(commands("README.md", "Your first hour")))

    async def types(self, line: str, *, timeout_s: float = 120) -> str:
        """A command in the first terminal, which must go well; what it has shown."""
        self.first.enter(line)
        code, shown = await self.first.is_done(timeout_s=timeout_s)
        assert code == 0, f"{line} left with {code}:\n{shown}"
        return shown

    def next(self, start: str) -> str:
        """The page's next line, which is about this."""
        line = next(self.lines)
        assert line.startswith(start), f"README.md says {line!r} where this test plays {start!r}"
        return line

    async def plays(self, install: list[str]) -> None:
        """The page's lines, until the first sale is there."""
        export = self.next("export SATMACHINE_CONFIG=")
        await self.types(export)
        await self.sets_up()
        added = await self.types(self.next("satmachine clients add").replace(ADDRESS, self.server.address(LP)))
        assert "What to do" not in added
        assert "deposits confirm 1" in await self.types(self.next("satmachine deposits add"))
        self.first.enter(self.next("satmachine deposits confirm 1"))
        await self.first.sees("[y/N]")
        self.first.enter("y")
        assert (await self.first.is_done())[0] == 0
        await self.types(self.next("satmachine doctor"))
        self.first.enter(self.next("satmachine observe"))
        await self.first.sees("Ctrl-C ends it sooner")
        self.first.interrupt()
        assert (await self.first.is_done())[0] == 0
        self.first.enter(self.next("satmachine run"))
        await self.first.sees("satmachine runs")
        for line in install[1:2]:  # another terminal has not activated the environment
            self.second.enter(line)
        assert self.next("export SATMACHINE_CONFIG=") == export
        self.second.enter(export)
        self.second.enter(self.next("satmachine status --watch"))
        await self.second.sees("The daemon runs.")
        await self.second.sees("Nothing needs you.")
        assert not list(self.lines), "README.md says more than this test plays"

    async def sets_up(self) -> None:
        """`satmachine init`, and the first machine at its end. Enter takes what is proposed."""
        self.first.enter(self.next("satmachine init"))
        await self.answers("Where does LNbits answer", self.system.lnbits.url)
        await self.answers("A Nostr relay", self.system.relays[0].url)
        await self.answers("Short name of who runs the machines", "atitlan")
        for question in ("Its name", "Part of every commission", "Time zone", "Where the books lie"):
            await self.answers(question)
        await self.answers("Add the first machine now? [Y/n]")
        await self.adds(self.system.machines[0], MACHINE)
        with (self.folder / "config.toml").open("a") as file:
            file.write(LOOPBACK)

    async def adds(self, machine: DemoMachine, name: str) -> None:
        """What is asked about a machine; its keys are copied from elsewhere."""
        await self.answers("Short name of the machine", name)
        for question in ("Whose is it", "Name for people"):
            await self.answers(question)
        await self.answers("Its public key", machine.signer.npub, pasted=True)
        await self.answers("Currency of its cash", "GTQ")
        for question in ("Commission of sales", "Pay sales since", "Payments that no event explains"):
            await self.answers(question)
        await self.answers("Admin key of its LNbits wallet", machine.wallet.admin_key, pasted=True)
        code, shown = await self.first.is_done()
        assert (code, machine.wallet.admin_key in self.first.shown) == (0, False), shown

    async def answers(self, question: str, answer: str = "", *, pasted: bool = False) -> None:
        await self.first.sees(question)
        await self.first.sees(": ")
        (self.first.paste if pasted else self.first.enter)(answer)

    async def ends(self) -> str:
        """A customer comes; the sale is shared, and another machine is added."""
        machine = self.system.machines[0]
        await self.system.announce(machine, await self.system.customer_pays(machine, SALE))
        await self.first.sees(f"paid {BOUGHT_SATS} sats to {self.server.address(LP)}")
        self.second.interrupt()
        await self.second.is_done()
        minutes = (time.monotonic() - self.began) / 60
        keys, pastes = (sum(getattr(one, name) for one in (self.first, self.second)) for name in ("keys", "pastes"))
        assert (await balances(self.system))[LP] == RECEIVED_SATS
        self.second.enter("satmachine audit")
        code, shown = await self.second.is_done()
        assert (code, "every sat is accounted for" in shown) == (0, True), shown
        self.first.interrupt()
        assert (await self.first.is_done())[0] == 0
        self.first.enter("satmachine machines add")
        await self.adds(self.system.machines[1], "solola-1")
        assert "solola-1" in await self.types("satmachine machines list")
        return f"the first hour: {minutes:.1f} minutes of the machine's time, {keys} keys and {pastes} pastes"

"""An operator with nothing but the command line: types, reads, waits. What happens to the machines is real too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from testkit.system import DemoMachine, System
from testkit.watch import SALE

#: The sale of the specification: 1,800 quetzales for 266,800 sats, announced by the machine.
GROSS_SATS = 266_800


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and how it left."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass
class Operator:
    """`system` is real; what the operator does is typed."""

    system: System
    config: Path
    sales_made: int = 0

    async def types(self, *words: str, code: int | None = 0) -> Said:
        """Run a command; `code` None: however it leaves."""
        command = [sys.executable, "-m", "satmachine", "--config", str(self.config), "--actor", "maria", *words]
        environ = {**os.environ, "SATMACHINE_OPERATOR": "", "SATMACHINE_TZ": ""}
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=300, env=environ, stdin=subprocess.DEVNULL
            )
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in said.err, said.err
        assert code is None or said.code == code, f"{' '.join(words)} left with {said.code}:\n{said.all}"
        return said

    async def reads(self, *words: str, code: int | None = 0) -> Any:
        """The same for a program: what --json says."""
        return json.loads((await self.types(*words, "--json", code=code)).out)

    async def needs(self) -> dict[str, str]:
        """{item: command} of what needs a person now."""
        return {row["item"]: row["command"] for row in await self.reads("alerts", "list", code=None)}

    async def follows(self, command: str, *more: str) -> Said:
        """Type a command as it was printed, with what it would ask said beforehand."""
        words = command.split()
        assert words[0] == "satmachine", command
        return await self.types(*words[1:], *more)

    async def until(self, condition: str, *, timeout_s: float = 60) -> str:
        """Wait until something needs a person; the item's name."""
        for _ in range(int(timeout_s / 0.5)):
            for item in await self.needs():
                if item.startswith(condition):
                    return item
            await anyio.sleep(0.5)
        raise AssertionError(f"{condition} never came:\n{(await self.types('status', code=None)).out}")

    async def until_quiet(self, condition: str, *, timeout_s: float = 60) -> None:
        """Wait until it needs nobody any more."""
        for _ in range(int(timeout_s / 0.5)):
            if not [item for item in await self.needs() if item.startswith(condition)]:
                return
            await anyio.sleep(0.5)
        raise AssertionError(f"{condition} stays:\n{(await self.types('status', code=None)).out}")

    async def until_sale(self, number: int, status: str, *, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until a sale stands so."""
        shown: Any = None
        for _ in range(int(timeout_s / 0.5)):
            said = await self.types("settlements", "show", str(number), "--json", code=None)
            if said.code == 0:
                shown = json.loads(said.out)
                if shown["settlement"]["status"] == status:
                    return dict(shown)
            await anyio.sleep(0.5)
        raise AssertionError(
            f"sale {number} is not {status}: {shown and shown['settlement']}\n{self.system.log_tail()}"
        )

    async def sells(self, machine: DemoMachine | None = None, *, paid_sats: int = GROSS_SATS) -> None:
        """A customer comes, pays so much, and gets his cash; the machine announces the usual sale."""
        self.sales_made += 1
        at = machine or self.system.machines[0]
        told = {**SALE, "txid": f"tx-{self.sales_made}"}
        paid = await self.system.customer_pays(
            at, {**told, "gross_sats": paid_sats}, with_extra=paid_sats == GROSS_SATS
        )
        await self.system.announce(at, {**paid, **told})

    async def beacon(self, **told: object) -> None:
        """The machine tells of itself."""
        from testkit.machine import publish

        machine = self.system.machines[0]
        event = machine.signer.event(told, kind=30078, tags=[["d", "beacon"]])
        await publish([relay.url for relay in self.system.relays], event)

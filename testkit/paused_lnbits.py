"""A real LNbits that stops, or dies, between the debit and the credit of an internal payment.

    server = PausedLnbits(ensure_environment(say=print), data_dir)
    await server.start()
    server.between_commits("wait")     # or "die"; None: as it came
    await server.reached(1)            # until so many payments have come to that place

Otherwise an LnbitsServer: `kill()` and `start()` go on with the same database.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Literal

import anyio

from satmachine.errors import SatmachineError
from testkit.lnbits import LnbitsServer, WalletKeys

_LAUNCHER: Final = Path(__file__).with_name("paused_launcher.py")
_LOOK_AGAIN_S: Final = 0.02


class PausedLnbits(LnbitsServer):
    """The switch is a file in the data folder; see paused_launcher.py.

    `sweep_interval_s`: how often it looks at pending payments by itself, from its start on; LNbits' default is half an
    hour. `node_remembers`: its funding source takes unknown invoices for unpaid, as real nodes do, so that they outlast
    a restart; the FakeWallet takes them for failed.
    """

    def __init__(
        self, environment: Path, data_dir: Path, *, sweep_interval_s: int = 1_800, node_remembers: bool = False
    ) -> None:
        super().__init__(environment, data_dir)
        self._sweep_interval_s = sweep_interval_s
        self._node_remembers = node_remembers

    @property
    def _switch(self) -> Path:
        return self.data_dir / "between-commits"

    def between_commits(self, wish: Literal["wait", "die", "die-address", "look"] | None) -> None:
        """What payments do there from now on, those included that wait there; the words are paused_launcher.py's.

        With "look" payments do nothing special: who looks at a pending one waits between reading and writing.
        """
        if wish is None:
            self._switch.unlink(missing_ok=True)
            return
        written = self._switch.with_name("between-commits.new")
        written.write_text(wish)
        written.replace(self._switch)

    def came_there(self) -> list[str]:
        """Payment hashes of those that came between their commits while the switch was on."""
        reached = self._switch.with_name(self._switch.name + ".reached")
        return reached.read_text().split() if reached.exists() else []

    async def reached(self, count: int, timeout_s: float = 60) -> None:
        """Wait until so many payments have come there, in all the life of this folder."""
        with anyio.move_on_after(timeout_s):
            while len(self.came_there()) < count:
                await anyio.sleep(_LOOK_AGAIN_S)
            return
        raise SatmachineError(f"No payment of LNbits at {self.url} came between its commits within {timeout_s:.0f} s.")

    def address_of(self, wallet_id: str) -> str:
        """The wallet's Lightning address, which this LNbits serves itself (over plain HTTP). Raises SatmachineError
        where its version gives wallets none."""
        try:
            [(name,)] = self.sql(f"SELECT lightning_address FROM wallets WHERE id = '{wallet_id}'")
        except (sqlite3.OperationalError, SatmachineError):
            raise SatmachineError("This version of LNbits gives wallets no addresses by itself.") from None
        return f"{name}@127.0.0.1:{self.port}"

    async def delete_wallet(self, wallet_id: str) -> None:
        await self._as_admin("DELETE", f"/api/v1/wallet/{wallet_id}", {})

    async def reset_keys(self, wallet_id: str) -> WalletKeys:
        """New keys; the old ones are unknown from now on."""
        answer = await self._as_admin("PUT", f"/api/v1/wallet/reset/{wallet_id}", {})
        return WalletKeys(wallet_id, answer["adminkey"], answer["inkey"])

    def _command(self) -> list[str]:
        python, _, _, *arguments = super()._command()
        return [python, "-I", "-u", str(_LAUNCHER), str(self._switch), *arguments]

    def _settings(self) -> dict[str, str]:
        return super()._settings() | {
            "LNBITS_FUNDING_SOURCE_PENDING_INTERVAL_SECONDS": str(self._sweep_interval_s),
            "NODE_REMEMBERS": str(int(self._node_remembers)),
        }

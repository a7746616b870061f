"""While the server of one machine's payee answers with gigabytes in a few kilobytes, another machine's sale is paid."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from testkit.system import DemoMachine
from tests.found.parts import PLENTY_MINOR, asked, did, paid, runs, until, world_of

pytestmark = pytest.mark.anyio

UNFOLDED_MIB = 1_024
#: A daemon at work takes 80 MiB.
ALLOWED_KIB = 256 * 1_024


def gzip_of(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def bomb() -> bytes:
    """Some kilobytes that unfold to a gibibyte, twice packed."""
    piece = bytes(1_024 * 1_024)
    return gzip_of(iter([gzip_of(iter([piece] * UNFOLDED_MIB))]))


class Bomber(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = bomb()
        self.given = 0


class _Handler(BaseHTTPRequestHandler):
    server: Bomber

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Encoding", "gzip, gzip")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)
        self.server.given += 1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not into the test's output."""


@contextmanager
def bombing() -> Iterator[Bomber]:
    with Bomber() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def try_again(world: World) -> None:
    """As fast as the attacker could wish: the payee that attacks is asked once more."""
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn, conn:
        conn.execute(
            "UPDATE dca_payments SET next_attempt_at = 0, attempts = 0 WHERE leg = 'dca:alice' AND status = 'failed'"
        )


def most_memory_kib(world: World) -> int:
    """The most that the daemon has ever had."""
    assert world.system.daemon is not None
    status = Path(f"/proc/{world.system.daemon.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def legs_paid(world: World, machine: DemoMachine, payment_hash: str) -> int:
    return sum(key.startswith(f"sm1:{payment_hash}:") for key in await paid(world, machine))


async def test_another_machine_s_sale_is_paid_while_a_payee_s_server_attacks(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, machines=2) as world:
        attacked, other = world.system.machines
        with bombing() as server:
            await did(world, "clients", "update", "1", "--lightning-address", f"alice@127.0.0.1:{server.server_port}")
            await runs(world)
            first = await world.sell(attacked)
            await until(lambda: server.given > 0, world)

            async def all_of_it() -> bool:
                try_again(world)
                return await legs_paid(world, other, sale.payment_hash) == 4

            given_before = server.given
            sale = await world.sell(other)
            await until(all_of_it, world)
            assert server.given > given_before, "the attack went on meanwhile"
            assert await legs_paid(world, attacked, first.payment_hash) == 3
            [leg] = [row for row in await asked(world, "payments", "list") if "compressed form" in str(row["error"])]
            assert (leg["leg"], leg["machine_id"]) == ("dca:alice", attacked.id)
            assert world.alive
            assert most_memory_kib(world) < ALLOWED_KIB

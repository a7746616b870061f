"""Planted secrets in all four forms and in LP key files are nowhere but where they were put (SPEC section 3).

The daemon runs twice, with a wallet that works and with one that shouts the keys back; then every command of the
program. Looked through: its log, all output, every file of the database, the list of processes.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import nostr_sdk
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from satmachine.cli.main import NOUNS, app, load_noun
from testkit.system import System
from testkit.watch import SALE, add_providers, books, started, until_quarantined, until_status
from tests.integration.conftest import BuildSystem

#: A key that opens nothing.
WRONG_KEY = "5ec4e7" * 6
FORWARD_KEY = "f0c4a4d" * 5
#: So much of an answer is told on; the keys lie across this border.
TOLD = 200
#: So much of a secret is enough to call it found: half a key is still a secret.
PIECE = 12
#: They run until they are stopped, or install things.
NOT_RUN = {"run", "demo"}


class Shouting(BaseHTTPRequestHandler):
    """An LNbits gone wrong: whatever is asked, it answers with an error that repeats the keys."""

    def answer(self) -> None:
        key = self.headers["X-Api-Key"]
        said = json.dumps({"detail": f"not {key}! {'.' * (TOLD - 50)} {key} {key} {key}"}).encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def shouting_wallet() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shouting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Planted:
    """A system whose secrets are given in every form: plain, env, file, credential."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.nostr_key = nostr_sdk.Keys.generate().secret_key()
        self.environ = {
            "OWNER_KEY": system.wallets["owner"].invoice_key,
            "CREDENTIALS_DIRECTORY": str(system.folder / "credentials"),
        }
        credentials = system.folder / "credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "technician").write_text(WRONG_KEY)
        self.write_config()

    @property
    def secrets(self) -> list[str]:
        keys = [*self.system.wallets.values(), *(machine.wallet for machine in self.system.machines)]
        known = {key.admin_key for key in keys} | {key.invoice_key for key in keys}
        return [*known, self.nostr_key.to_hex(), self.nostr_key.to_bech32(), WRONG_KEY, FORWARD_KEY]

    def write_config(self) -> None:
        """Trade the system's key files for the other forms."""
        system = self.system
        system.settings = {"nostr": f'secret_key = "{self.nostr_key.to_bech32()}"'}
        system.write_config()
        text = system.config_path.read_text()
        for name, form in (
            ("super", f'"{system.wallets["super"].invoice_key}"'),
            ("owner", '{ env = "OWNER_KEY" }'),
            ("technician", '{ credential = "technician" }'),
        ):
            text = text.replace(f'{{ file = "{system.key_file(name)}" }}', form)
        system.config_path.write_text(text)

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret[:PIECE].lower() in text.lower()]


@pytest.fixture
async def planted(build_system: BuildSystem) -> Planted:
    return Planted(await build_system(lps=("alice",)))


def add_forwarding_lp(planted: Planted) -> None:
    """Give alice an autoforward whose key opens nothing."""
    key_file = planted.system.key_file("alice-forward")
    key_file.write_text(FORWARD_KEY)
    key_file.chmod(0o600)
    add_providers(planted.system, {"alice": 100_000})
    with books(planted.system) as conn:
        conn.execute(
            "UPDATE dca_clients SET autoforward = 'alice@example.org', autoforward_key_file = ?", (str(key_file),)
        )


def command_lines() -> Iterator[list[str]]:
    """Every command of the program: bare, as JSON, and about record 1."""
    for noun in sorted(set(NOUNS) - NOT_RUN):
        command = load_noun(noun)
        verbs = [[noun, verb] for verb in getattr(command, "commands", {})] or [[noun]]
        for words in verbs:
            yield from (words, [*words, "--json"], [*words, "1"], [*words, "1", "--json"])


def everything_printed(planted: Planted) -> str:
    """What all commands print, tracebacks of surprises included."""
    assert isinstance(get_command(app), typer.core.TyperGroup)
    runner, printed = CliRunner(), []
    for words in command_lines():
        arguments = ["--config", str(planted.system.config_path), *words]
        with chdir(planted.system.folder):  # where one of them writes a file
            result = runner.invoke(app, arguments, env=planted.environ, input="")
        printed.append(f"$ {words}\n{result.output}")
        if result.exc_info is not None:
            printed += traceback.format_exception(*result.exc_info)
    return "\n".join(printed)


def process_list() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended meanwhile
    return "\n".join(lines)


async def test_no_secret_leaves_its_place(planted: Planted) -> None:
    system = planted.system
    system.start_daemon(planted.environ)
    await system.wait_for_log("subscribed for")
    add_forwarding_lp(planted)
    [machine] = system.machines
    assert planted.found_in(process_list()) == []
    await system.announce(machine, await system.customer_pays(machine, SALE))
    await system.announce(machine, {"source": "bitspire", "gross_sats": "many"})
    await until_status(system, "errored")  # the technician's key opens nothing
    await until_quarantined(system, 1)
    await system.stop_daemon()

    with shouting_wallet() as url:
        system.lnbits_url = url
        planted.write_config()
        system.start_daemon(planted.environ)
        await system.wait_for_log("its wallet cannot be used")
        assert planted.found_in(process_list()) == []
        printed = await anyio.to_thread.run_sync(everything_printed, planted)
        # Its write-ahead log included, while the daemon has it open.
        kept = {path.name: path.read_bytes() for path in system.folder.glob("satmachine.db*")}
        await system.stop_daemon()

    assert "***" in system.log_path.read_text(), "the wallet did shout, and was not repeated"
    assert planted.found_in(system.log_path.read_text()) == []
    assert planted.found_in(printed) == []
    assert "satmachine.db-wal" in kept
    for name, octets in kept.items():
        assert planted.found_in(octets.decode("latin-1")) == [], name


async def test_the_daemon_refuses_a_key_file_that_everybody_may_read_and_says_the_remedy(system: System) -> None:
    path = system.key_file("machine-1")
    path.chmod(0o644)
    system.start_daemon()
    assert system.daemon is not None
    assert await anyio.to_thread.run_sync(system.daemon.wait, 30) == 3
    assert f"chmod o= {path}" in system.log_path.read_text()
    path.chmod(0o600)


async def test_a_file_that_others_may_write_is_warned_about_with_the_remedy(system: System) -> None:
    system.config_path.chmod(0o666)
    await started(system)
    assert f"chmod o-w {system.config_path}" in system.log_path.read_text()

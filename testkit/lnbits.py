"""A real LNbits on this machine: installs it, starts it, and plays its customers. For the demo and the tests.

LNbits needs Python 3.10 to 3.12 and packages that satmachine does not share (pydantic 1, `bitstring` below
5), so it gets a virtual environment of its own, from the pinned and hashed `lnbits-<version>.txt` beside this
file. It runs on its FakeWallet: everything is real but the bitcoin. Its database is a plain folder.

May touch: the cache folder, the data folder given, one loopback port, one child process (with its own group).
Facts about LNbits are in ARCHITECTURE.md. Nothing here is used by the daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx

from satmachine.errors import SatmachineError
from testkit import postgres
from testkit.ports import free_port

DEFAULT_VERSION: Final = "1.6.2"

#: LNbits declares `requires-python = ">=3.10,<3.13"`.
_OLDEST_PYTHON: Final = (3, 10)
_NEWEST_PYTHON: Final = (3, 12)

_PROGRESS_EVERY: Final = 25

_START_TIMEOUT_S: Final = 300.0  # under load LNbits 1.4 takes more than a minute
_STOP_TIMEOUT_S: Final = 15.0
_CALL_TIMEOUT_S: Final = 120.0

_ADMIN: Final = "admin"
_ADMIN_PASSWORD: Final = "satmachine-demo"

#: By default LNbits creates no larger invoice, and a credit is one.
_LARGEST_CREDIT_SATS: Final = 10_000_000

Say = Callable[[str], None]


# --- installation -----------------------------------------------------------------------------------------


def ensure_environment(version: str = DEFAULT_VERSION, *, say: Say) -> Path:
    """The virtual environment with this LNbits, made when it is missing. Returns its folder.

    Takes a minute or so the first time and says what it does; afterwards it is instant. The marker file is
    written last, so a half-finished or outdated installation is made again; a file lock keeps two
    processes from installing at once. Raises SatmachineError with what is missing and how to get it.
    """
    requirements = _requirements(version)
    python, python_version = _find_python()
    venv = cache_dir() / f"lnbits-{version}-py{python_version}"
    marker = venv / ".installed"
    fingerprint = hashlib.sha256(requirements).hexdigest()
    if _is_installed(marker, fingerprint):
        return venv
    venv.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(_beside(venv, ".lock"), say):
        if not _is_installed(marker, fingerprint):
            _install(venv, python, version, requirements, say)
            marker.write_text(fingerprint)
    return venv


def _requirements(version: str) -> bytes:
    pinned = resources.files(__package__).joinpath(f"lnbits-{version}.txt")
    if not pinned.is_file():
        raise SatmachineError(f"LNbits {version} is not pinned here: there is no {pinned.name} in {__package__}.")
    return pinned.read_bytes()


def cache_dir() -> Path:
    """Where what is fetched once is kept: $SATMACHINE_CACHE_DIR, else below the user's own cache."""
    if configured := os.environ.get("SATMACHINE_CACHE_DIR"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "satmachine"


def _beside(venv: Path, ending: str) -> Path:
    return venv.with_name(venv.name + ending)


def _is_installed(marker: Path, fingerprint: str) -> bool:
    return marker.is_file() and marker.read_text() == fingerprint


@contextlib.contextmanager
def _exclusive(lock: Path, say: Say) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is installing LNbits; waiting for it ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _find_python() -> tuple[str, str]:
    """An interpreter that LNbits runs on, and its version as "3.11".

    Every candidate is really executed: a pyenv shim exists on PATH and fails, and Debian's python3
    comes without `ensurepip`.
    """
    if configured := os.environ.get("SATMACHINE_LNBITS_PYTHON"):
        if version := _python_version(configured):
            return configured, version
        raise SatmachineError(
            f"SATMACHINE_LNBITS_PYTHON is {configured}, which is not a working Python 3.10 to 3.12 with venv."
        )
    for candidate in (sys.executable, "python3.12", "python3.11", "python3.10"):
        if version := _python_version(candidate):
            return candidate, version
    raise SatmachineError(
        "LNbits needs Python 3.10, 3.11 or 3.12 with its venv module, and none was found (this is Python "
        f"{sys.version_info.major}.{sys.version_info.minor}). Install one (Debian, Ubuntu: apt-get install "
        "python3-venv, or python3.12 python3.12-venv; anywhere: uv python install 3.12, or pyenv install "
        "3.12) and put it on PATH, or name it in SATMACHINE_LNBITS_PYTHON."
    )


def _python_version(candidate: str) -> str | None:
    """Its version as "3.11" when it works, can make virtual environments and suits LNbits; else None."""
    program = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [candidate, "-c", program],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env=_clean_env({}),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor = map(int, answer.stdout.split())
    return f"{major}.{minor}" if _OLDEST_PYTHON <= (major, minor) <= _NEWEST_PYTHON else None


def _install(venv: Path, python: str, version: str, requirements: bytes, say: Say) -> None:
    say(f"Installing LNbits {version} into {venv} (about 270 MB; once; it takes a minute or so) ...")
    shutil.rmtree(venv, ignore_errors=True)
    _run_logged([python, "-m", "venv", str(venv)], _beside(venv, ".log"), lambda _: None)
    pinned = venv / "requirements.txt"
    pinned.write_bytes(requirements)
    total = sum(1 for line in requirements.splitlines() if b"==" in line and not line.startswith(b" "))
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    _run_logged(
        [*pip, "--progress-bar", "off", "--no-deps", "--require-hashes", "-r", str(pinned)],
        _beside(venv, ".log"),
        _PipProgress(total, say),
    )
    say(f"LNbits {version} is installed.")


class _PipProgress:
    """Turns pip's chatter into a line now and then."""

    def __init__(self, total: int, say: Say) -> None:
        self._total = total
        self._seen = 0
        self._say = say

    def __call__(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._seen += 1
            if self._seen % _PROGRESS_EVERY == 0:
                self._say(f"  fetched {self._seen} of about {self._total} packages")
        elif line.startswith("Installing collected packages"):
            self._say("  unpacking them")


def _run_logged(command: list[str], log: Path, on_line: Callable[[str], None]) -> None:
    """Run to the end, keep all output in `log`; raises SatmachineError with its last lines on failure."""
    with (
        log.open("a") as kept,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_clean_env({})
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            on_line(line)
    if process.returncode:
        raise SatmachineError(
            f"Installing LNbits failed ({' '.join(command[:4])} ended with {process.returncode}). "
            f"All of its output is in {log}; it ends with:\n{_last_lines(log)}"
        )


def _clean_env(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would leak into another interpreter or LNbits, plus `settings`."""
    leaks = ("PYTHON", "LNBITS_", "COVERAGE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(leaks)} | dict(settings)


def _last_lines(log: Path, count: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


# --- the server -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WalletKeys:
    """A wallet on the server; the keys stay out of its repr."""

    id: str
    admin_key: str = field(repr=False)
    invoice_key: str = field(repr=False)


class LnbitsServer:
    """One LNbits process on a free loopback port, with its database in `data_dir`.

        server = LnbitsServer(ensure_environment(say=print), data_dir)
        await server.start()
        wallet = await server.create_wallet("machine")
        await server.stop()

    `stop()` or `kill()` and then `start()` continue on the same port and database. Every call opens its own
    HTTP client, so that the server can be shared between event loops. Failures raise SatmachineError.

    `settings`: LNbits' own, by the names of its environment variables. `LNBITS_DATABASE_URL` among them puts its
    database into a PostgreSQL; so does POSTGRES_PORT for every server that has none.
    """

    def __init__(
        self,
        environment: Path,
        data_dir: Path,
        *,
        rate_limit_per_minute: int = 1_000_000,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "lnbits.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._rate_limit_per_minute = rate_limit_per_minute
        self._more_settings = dict(settings or {})
        self._own_database = ""
        if POSTGRES_PORT and "LNBITS_DATABASE_URL" not in self._more_settings:
            self._own_database = "lnbits_" + hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
            self._more_settings["LNBITS_DATABASE_URL"] = postgres.url(POSTGRES_PORT, self._own_database)
        self._process: subprocess.Popen[bytes] | None = None
        self._token: str | None = None
        self._customer: WalletKeys | None = None
        self._customer_funds_sats = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start, wait until it answers, and log in as its administrator."""
        if self.running:
            raise SatmachineError(f"LNbits is running already at {self.url}.")
        for folder in ("logs", "extensions"):
            (self.data_dir / folder).mkdir(parents=True, exist_ok=True)
        if self._own_database and not self._has_database():
            postgres.ask(POSTGRES_PORT, f"CREATE DATABASE {self._own_database}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  returns at once
                self._command(),
                cwd=self._site_packages,  # LNbits looks for its static files below the working directory
                env=_clean_env(self._settings()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is ours to handle, not LNbits'
            )
        await self._wait_until_up()
        await self.login()

    async def stop(self) -> None:
        """Let it finish what it does and close its database; kill it when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await anyio.to_thread.run_sync(self._process.wait, _STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as when the power goes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def login(self) -> None:
        """Become its administrator: the first time by setting the password, later with it."""
        password = {"username": _ADMIN, "password": _ADMIN_PASSWORD, "password_repeat": _ADMIN_PASSWORD}
        answer = await self._send("PUT", "/api/v1/auth/first_install", json=password)
        if answer.status_code == httpx.codes.FORBIDDEN:  # "This is not your first install"
            answer = await self._send("POST", "/api/v1/auth", json=password)
        self._token = str(self._body(answer)["access_token"])

    async def create_wallet(self, name: str) -> WalletKeys:
        answer = await self._as_admin("POST", "/api/v1/wallet", {"name": name})
        return WalletKeys(id=answer["id"], admin_key=answer["adminkey"], invoice_key=answer["inkey"])

    async def create_account(self, name: str) -> WalletKeys:
        """A wallet in an account of its own, as somebody has it who is not the administrator."""
        answer = self._body(await self._send("POST", "/api/v1/account", json={"name": name}))
        return WalletKeys(id=answer["id"], admin_key=answer["adminkey"], invoice_key=answer["inkey"])

    async def create_funded(self, name: str, sats: int) -> WalletKeys:
        """A wallet that can spend so much."""
        wallet = await self.create_wallet(name)
        await self.credit(wallet.id, sats)
        return wallet

    async def credit(self, wallet_id: str, sats: int) -> None:
        """Give the wallet sats out of nothing, at most 10,000,000 at a time."""
        await self._as_admin("PUT", "/users/api/v1/balance", {"id": wallet_id, "amount": sats})

    async def pay_customer_invoice(
        self, machine_wallet: WalletKeys, amount_sats: int, extra: Mapping[str, object], memo: str
    ) -> str:
        """A customer pays the machine: an incoming settled payment with `extra`. Returns its payment hash."""
        bolt11 = await self.customer_invoice(machine_wallet, amount_sats, extra, memo)
        return await self.pay(await self._funded_customer(amount_sats), bolt11)

    async def customer_invoice(
        self, machine_wallet: WalletKeys, amount_sats: int, extra: Mapping[str, object], memo: str
    ) -> str:
        """What the machine shows its customer."""
        order = {"out": False, "amount": amount_sats, "memo": memo, "extra": dict(extra)}
        return str((await self._with_key(machine_wallet.invoice_key, order))["bolt11"])

    async def transfer(
        self,
        source: WalletKeys,
        target: WalletKeys,
        amount_sats: int,
        *,
        memo: str = "",
        extra: Mapping[str, object] | None = None,
    ) -> str:
        """One wallet pays another's invoice, with sats given to it for that. Returns the payment hash."""
        await self.credit(source.id, amount_sats)
        order = {"out": False, "amount": amount_sats, "memo": memo, "extra": dict(extra or {})}
        invoice = await self._with_key(target.invoice_key, order)
        return await self.pay(source, str(invoice["bolt11"]))

    async def pay(self, source: WalletKeys, bolt11: str) -> str:
        """A wallet that has the sats pays an invoice. Returns the payment hash."""
        return str((await self._with_key(source.admin_key, {"out": True, "bolt11": bolt11}))["payment_hash"])

    async def tell(self, key: str, text: str) -> None:
        """Send a text over the websocket of a wallet's key, as anybody can who knows the key."""
        async with self._client() as http:
            await http.post(f"/api/v1/ws/{key}", params={"data": text})

    def sql(self, statement: str) -> list[tuple[str, ...]]:
        """Straight into its database, whichever it is: the rows of a statement, as text."""
        if self._own_database:
            return postgres.ask(POSTGRES_PORT, statement, self._own_database)
        with contextlib.closing(sqlite3.connect(self.data_dir / "database.sqlite3", timeout=30)) as conn, conn:
            return [tuple(map(str, row)) for row in conn.execute(statement)]

    def moment(self, at_s: int) -> str:
        """A time as its columns want it, in SQL."""
        return f"to_timestamp({at_s})::timestamp" if self._own_database else str(at_s)

    def _has_database(self) -> bool:
        found = postgres.ask(POSTGRES_PORT, f"SELECT 1 FROM pg_database WHERE datname = '{self._own_database}'")
        return bool(found)

    # --- the process

    @cached_property
    def _site_packages(self) -> Path:
        return next(self._environment.glob("lib/python3*/site-packages"))

    def _command(self) -> list[str]:
        # Not the `lnbits` command: that one is a parent that never answers SIGTERM's wish to stop its child.
        python = str(self._environment / "bin" / "python")
        listen = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [python, "-m", "uvicorn", *listen, "--timeout-graceful-shutdown", "5", "lnbits.__main__:app"]

    def _settings(self) -> dict[str, str]:
        return {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "LNBITS_BACKEND_WALLET_CLASS": "FakeWallet",
            "LNBITS_DATA_FOLDER": str(self.data_dir),
            "LNBITS_EXTENSIONS_PATH": str(self.data_dir),
            "LNBITS_ADMIN_UI": "true",
            "LNBITS_RATE_LIMIT_NO": str(self._rate_limit_per_minute),
            # Offline, every payment would wait for price servers that cannot be reached.
            "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
            "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
            "LNBITS_EXTENSIONS_MANIFESTS": "[]",
            "PYTHONUNBUFFERED": "1",
            **self._more_settings,
        }

    async def _wait_until_up(self) -> None:
        with anyio.move_on_after(_START_TIMEOUT_S):
            while self.running:
                if await self._is_up():
                    return
                await anyio.sleep(0.1)
        reason = "did not answer" if self.running else "ended"
        self.kill()
        raise SatmachineError(
            f"LNbits {reason} within {_START_TIMEOUT_S:.0f} s after its start at {self.url}. "
            f"Its log is {self.log} and ends with:\n{_last_lines(self.log)}"
        )

    async def _is_up(self) -> bool:
        try:
            async with self._client() as http:
                answer = await http.get("/api/v1/health", timeout=5)
        except httpx.TransportError:
            return False
        return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR  # before first_install it redirects

    # --- its API

    async def _funded_customer(self, spends_sats: int) -> WalletKeys:
        """One wallet plays all customers; the FakeWallet makes their sats out of nothing."""
        if self._customer is None:
            self._customer = await self.create_wallet("customers")
        if self._customer_funds_sats < spends_sats:
            await self.credit(self._customer.id, _LARGEST_CREDIT_SATS)
            self._customer_funds_sats += _LARGEST_CREDIT_SATS
        self._customer_funds_sats -= spends_sats
        return self._customer

    async def _as_admin(self, method: str, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {self._token}"}
        return self._body(await self._send(method, path, json=body, headers=bearer))

    async def _with_key(self, key: str, body: Mapping[str, object]) -> dict[str, Any]:
        return self._body(await self._send("POST", "/api/v1/payments", json=body, headers={"X-Api-Key": key}))

    async def _send(
        self, method: str, path: str, *, json: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            async with self._client() as http:
                return await http.request(method, path, json=json, headers=headers)
        except httpx.TransportError as error:
            raise SatmachineError(f"LNbits at {self.url} does not answer {method} {path}: {error!r}.") from error

    def _body(self, answer: httpx.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise SatmachineError(
                f"LNbits at {self.url} answered {answer.request.method} {answer.request.url.path} with "
                f"{answer.status_code}: {answer.text[:300]}"
            )
        body: dict[str, Any] = answer.json()
        return body

    def _client(self) -> httpx.AsyncClient:
        # No proxy from the environment, and no certificates to load: this is the loopback interface.
        return httpx.AsyncClient(base_url=self.url, timeout=_CALL_TIMEOUT_S, trust_env=False, verify=False)


# --- the tests' own ---------------------------------------------------------------------------------------

#: `SATMACHINE_LNBITS_VERSION=1.4.2 make unit` runs every test against another pinned LNbits.
LNBITS_VERSION: Final = os.environ.get("SATMACHINE_LNBITS_VERSION", DEFAULT_VERSION)

#: `SATMACHINE_LNBITS_POSTGRES=5432`: every LNbits of the tests keeps its database in the cluster on this loopback port.
POSTGRES_PORT: Final = int(os.environ.get("SATMACHINE_LNBITS_POSTGRES", "0"))

HAS_EXTERNAL_ID: Final = tuple(map(int, LNBITS_VERSION.split("."))) >= (1, 5)


@contextlib.asynccontextmanager
async def running_lnbits(data_dir: Path, *, rate_limit_per_minute: int = 1_000_000) -> AsyncIterator[LnbitsServer]:
    """An LNbits with a database of its own; for tests that stop, kill or throttle it."""
    environment = ensure_environment(LNBITS_VERSION, say=print)
    server = LnbitsServer(environment, data_dir, rate_limit_per_minute=rate_limit_per_minute)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()

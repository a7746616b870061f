"""Two laboratories, a real LNbits and the modelled one, in which the same experiment gives comparable protocols."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import closing

import anyio
import httpx

from satmachine.wallet import bolt11
from simulator.faults import Fault
from simulator.lnbits import ModelLnbits
from testkit.lnbits import WalletKeys
from testkit.paused_lnbits import PausedLnbits

#: Whatever names a thing or a moment, in the order in which it is looked for.
_NAMES = re.compile(
    r"(?P<bolt11>lnbc[0-9a-z]{100,})|(?P<hash>\b[0-9a-f]{64}\b|(?<=internal_)[0-9a-f]{64})|(?P<id>\b[0-9a-f]{32}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?)|(?P<address>[\w.+-]+@[\w.:]+)|(?P<error>ID: \w+)"
)

_UNDER_WAY_S = 30.0


class Lab(ABC):
    """An LNbits and a protocol of what it answered; names and times are numbered as they come."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.protocol: list[str] = []
        self._known: dict[str, str] = {}

    # --- calls, all of them noted

    async def call(
        self,
        method: str,
        path: str,
        key: str,
        *,
        body: object = None,
        content: str | None = None,
        params: Iterable[tuple[str, str]] = (),
    ) -> httpx.Response:
        """Without taking it down."""
        headers = {"X-Api-Key": key} if key else {}
        text = content if content is not None else None if body is None else json.dumps(body)
        return await self.http.request(method, path, headers=headers, content=text, params=list(params))

    async def create(self, wallet: WalletKeys, amount: object = 100, *, key: str = "", **fields: object) -> str:
        """An internal invoice unless the fields say otherwise; its bolt11, or "" where there is none."""
        order = {"out": False, "amount": amount, "memo": "memo", "internal": True, "expiry": 3600, **fields}
        answer = await self.call("POST", "/api/v1/payments", key or wallet.invoice_key, body=order)
        self.note("create", answer)
        return str(answer.json().get("bolt11", ""))

    async def pay(self, wallet: WalletKeys, invoice: str, *, key: str | None = None, **fields: object) -> None:
        order = {"out": True, "bolt11": invoice, **fields}
        used = wallet.admin_key if key is None else key
        self.note("pay", await self.call("POST", "/api/v1/payments", used, body=order))

    async def list(self, wallet: WalletKeys, *, key: str = "", **params: str | list[str]) -> None:
        """The wallet's rows; `time__ge="5"` asks for `time[ge]=5`."""
        await self.ask(
            wallet, [(_field(n), v) for n, vs in params.items() for v in ([vs] if isinstance(vs, str) else vs)], key
        )

    async def ask(self, wallet: WalletKeys, params: Iterable[tuple[str, str]], key: str = "") -> None:
        params = list(params)
        answer = await self.call("GET", "/api/v1/payments/paginated", key or wallet.invoice_key, params=params)
        self.note(f"list {[name for name, _ in params]}", answer)

    async def show(self, wallet: WalletKeys, *, key: str = "") -> None:
        self.note("wallet", await self.call("GET", "/api/v1/wallet", key or wallet.admin_key))

    async def reserve(self, invoice: str) -> None:
        self.note("reserve", await self.call("GET", "/api/v1/payments/fee-reserve", "", params=[("invoice", invoice)]))

    async def both_sides(self, *wallets: WalletKeys) -> None:
        """Balance and rows of each wallet."""
        for wallet in wallets:
            await self.show(wallet)
            await self.list(wallet, sortby="time", direction="asc", limit="1000")

    def note(self, what: str, answer: httpx.Response) -> None:
        self.protocol.append(self._plain(what, answer))

    def note_unordered(self, what: str, answers: Iterable[httpx.Response]) -> None:
        """Of calls that ran at the same time: what they said, whoever was first."""
        self.protocol += sorted(self._plain(what, answer) for answer in answers)

    def _plain(self, what: str, answer: httpx.Response) -> str:
        try:
            text = json.dumps(answer.json(), sort_keys=True)
        except ValueError:
            text = answer.text
        return f"{what}: {answer.status_code} {_NAMES.sub(self._named, text)}"

    def _named(self, match: re.Match[str]) -> str:
        kind, text = str(match.lastgroup), match.group(match.lastgroup or 0)
        if kind in ("time", "address", "error"):
            return kind
        if kind == "bolt11":
            return self._invoice(text)
        return self._known.setdefault(text, f"{kind}-{len(self._known)}")

    def _invoice(self, text: str) -> str:
        said = bolt11.decode(text)
        name = self._known.setdefault(said.payment_hash, f"hash-{len(self._known)}")
        about = "hashed" if said.description_hash else said.description
        return f"lnbc({said.amount_msat}, {about}, {said.expires_at - said.created_at} s, {name})"

    # --- what is done to it otherwise

    @abstractmethod
    async def wallet(self, name: str, sats: int = 0) -> WalletKeys: ...

    @abstractmethod
    async def delete_wallet(self, wallet: WalletKeys) -> None: ...

    @abstractmethod
    async def reset_keys(self, wallet: WalletKeys) -> WalletKeys: ...

    @abstractmethod
    async def address_invoice(self, wallet: WalletKeys, amount_msat: int) -> str:
        """An invoice from the wallet's own Lightning address."""

    @abstractmethod
    def set_status(self, payment_hash: str, status: str, *, incoming: bool) -> None:
        """Straight in the database."""

    @abstractmethod
    async def restart(self, *, pending: int) -> None:
        """SIGKILL and start; until LNbits has looked at so many pending payments (at least one)."""

    @abstractmethod
    async def dies_between_commits(self, wallet: WalletKeys, invoice: str, **fields: object) -> None:
        """Pay, and be killed after the debit."""

    @abstractmethod
    async def polled_while_it_is_paid(self, wallet: WalletKeys, invoice: str) -> None:
        """Somebody looks at the pending invoice; it is paid before what they found is written."""

    async def poll(self, invoice: str) -> None:
        await self.call("GET", f"/api/v1/payments/{bolt11.decode(invoice).payment_hash}", "")


class ModelLab(Lab):
    def __init__(self) -> None:
        self.model = ModelLnbits(clock=time.time, chance=random.Random(7))
        super().__init__(httpx.AsyncClient(base_url="http://lnbits.test", transport=self.model.transport("lab")))

    async def wallet(self, name: str, sats: int = 0) -> WalletKeys:
        keys = self.model.create_wallet(name, lightning_address=name)
        if sats:
            self.model.credit(keys.id, sats)
        return keys

    async def delete_wallet(self, wallet: WalletKeys) -> None:
        self.model.delete_wallet(wallet.id)

    async def reset_keys(self, wallet: WalletKeys) -> WalletKeys:
        return self.model.reset_keys(wallet.id)

    async def address_invoice(self, wallet: WalletKeys, amount_msat: int) -> str:
        name = self.model.database.wallets[wallet.id].lightning_address or ""
        return await self.model.address_invoice(name, amount_msat, host="lnbits.test")

    def set_status(self, payment_hash: str, status: str, *, incoming: bool) -> None:
        for row in self.model.database.by_hash(payment_hash):
            if row.incoming is incoming:
                changed = row.copy()
                changed.status = status
                self.model.database.update(changed, "hand")

    async def restart(self, *, pending: int) -> None:
        self.model.kill()
        self.model.start(sweeps=False)
        await self.model.sweep()

    async def dies_between_commits(self, wallet: WalletKeys, invoice: str, **fields: object) -> None:
        self.model.faults.next(Fault(kill_at="debit.committed"))
        await _paid_in_vain(self, wallet, invoice, fields)
        self.model.start(sweeps=False)
        await self.model.sweep()

    async def polled_while_it_is_paid(self, wallet: WalletKeys, invoice: str) -> None:
        self.model.faults.next(Fault(wait_at=("sweep.listed", 0.2)), lambda call: call.method == "GET")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.poll, invoice)
            await anyio.wait_all_tasks_blocked()
            await self.pay(wallet, invoice)


class RealLab(Lab):
    def __init__(self, server: PausedLnbits) -> None:
        self._server = server
        super().__init__(httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False))

    async def wallet(self, name: str, sats: int = 0) -> WalletKeys:
        keys = await self._server.create_wallet(name)
        if sats:
            await self._server.credit(keys.id, sats)
        return keys

    async def delete_wallet(self, wallet: WalletKeys) -> None:
        await self._server.delete_wallet(wallet.id)

    async def reset_keys(self, wallet: WalletKeys) -> WalletKeys:
        return await self._server.reset_keys(wallet.id)

    async def address_invoice(self, wallet: WalletKeys, amount_msat: int) -> str:
        name, _, _ = self._server.address_of(wallet.id).partition("@")
        offer = (await self.http.get(f"/.well-known/lnurlp/{name}")).json()
        answer = await self.http.get(offer["callback"], params={"amount": amount_msat})
        return str(answer.json()["pr"])

    def set_status(self, payment_hash: str, status: str, *, incoming: bool) -> None:
        side = "amount > 0" if incoming else "amount < 0"
        self._query(f"UPDATE apipayments SET status = ? WHERE payment_hash = ? AND {side}", status, payment_hash)

    async def restart(self, *, pending: int) -> None:
        self._server.kill()
        finished = self._sweeps()
        await self._server.start()
        with anyio.fail_after(_UNDER_WAY_S):
            while pending and self._sweeps() == finished:  # noqa: ASYNC110  another process, which only writes a log
                await anyio.sleep(0.05)

    async def dies_between_commits(self, wallet: WalletKeys, invoice: str, **fields: object) -> None:
        self._server.between_commits("die")
        await _paid_in_vain(self, wallet, invoice, fields)
        self._server.between_commits(None)
        await self.restart(pending=1)

    async def polled_while_it_is_paid(self, wallet: WalletKeys, invoice: str) -> None:
        self._server.between_commits("look")
        before = len(self._server.came_there())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.poll, invoice)
            await self._server.reached(before + 1)
            await self.pay(wallet, invoice)
            self._server.between_commits(None)

    def _sweeps(self) -> int:
        return self._server.log.read_text(errors="replace").count("pending check finished")

    def _query(self, statement: str, *values: object) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(self._server.data_dir / "database.sqlite3", timeout=10)) as database, database:
            return database.execute(statement, values).fetchall()


async def _paid_in_vain(lab: Lab, wallet: WalletKeys, invoice: str, fields: Mapping[str, object]) -> None:
    order = {"out": True, "bolt11": invoice, **fields}
    try:
        answer = await lab.call("POST", "/api/v1/payments", wallet.admin_key, body=order)
    except httpx.TransportError:
        lab.protocol.append("killed: no answer")
    else:
        lab.note("pay", answer)


def _field(name: str) -> str:
    field, separator, operator = name.partition("__")
    return f"{field}[{operator}]" if separator else field

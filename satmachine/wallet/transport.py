"""HTTP to one LNbits: paced, limited in size and time, with every trouble turned into one of two errors.

WalletUnavailable means that nothing is known; WalletRefused that LNbits itself, in its own words, declined before
anything happened. Which of its answers prove that is decided here, in `refusal`, and nowhere else.

The body of an answer is plain (`read_plain`), from any server: a compressed one decides how much memory we need. 265
bytes of gzip, packed three times, become a gigabyte, and the HTTP library unpacks a whole chunk before anybody can
count it. So we ask for plain text, refuse everything else unread, and count the octets that really arrived.
"""

from __future__ import annotations

import json
import random
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

import anyio
import httpx

from satmachine.errors import WalletLied, WalletRefused, WalletUnavailable

#: For every request to a server that we do not run.
PLAIN: Final = {"Accept-Encoding": "identity"}

#: A page of 1,000 payments with generous `extra` has about 3 MB.
_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_MAX_DETAIL_CHARS: Final = 200
_CONNECT_TIMEOUT_S: Final = 10.0

#: Below uvicorn's 5 s: if the server closes the connection at the same moment, the outcome is unknown.
_KEEPALIVE_EXPIRY_S: Final = 4.0

#: LNbits counts what it allows on each route in minutes.
_WINDOW_S: Final = 60.0
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 30.0
_LONGEST_INTERVAL_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer. `body` is None when it is not JSON; floats are Decimal. `retry_after_s` after a 429."""

    status: int
    body: object
    detail: str
    retry_after_s: float | None = None


class AnswerTooLarge(WalletUnavailable):
    """More octets than any answer may have: asking for fewer rows at a time may help."""


class LnbitsHttp:
    """One keep-alive client for one LNbits, at most `max_concurrency` calls at a time, each route paced."""

    def __init__(self, url: str, http: httpx.AsyncClient | None, max_concurrency: int) -> None:
        self._url = url.rstrip("/")
        #: For messages: without the password that a URL may carry.
        self.url = str(httpx.URL(self._url).copy_with(userinfo=b""))
        self._owned = http is None
        self._http = http or httpx.AsyncClient(limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_EXPIRY_S))
        self._slots = anyio.Semaphore(max_concurrency)
        #: How long the last complete answer took; None before the first.
        self.latency_s: float | None = None
        self._gates: dict[str, _Gate] = {}  # by path: that is what LNbits counts, whatever the method

    async def aclose(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        key: str,
        *,
        timeout_s: float,
        params: Mapping[str, str | list[str]] | None = None,
        body: Mapping[str, object] | None = None,
        may_go: Callable[[], bool] = lambda: True,
    ) -> HttpAnswer:
        """Send once and never again by itself, if it still `may_go` when its turn has come. Raises WalletUnavailable
        when no complete answer came, WalletRefused for a key that cannot be sent."""
        if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
            # The HTTP library would show it in its own error.
            raise WalletRefused("The wallet key has characters that no LNbits key has.", status=401)
        request = self._http.build_request(
            method,
            self._url + path,
            params=params,
            headers={"X-Api-Key": key, "Content-Type": "application/json", **PLAIN},
            content=None if body is None else json.dumps(body, default=str, allow_nan=False).encode(),
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S),
        )
        gate = self._gates.setdefault(path, _Gate())
        async with self._slots:
            sent_at = await gate.pass_through()
            if not may_go():
                raise self._unavailable(request, "was not sent: it had waited too long for its turn")
            answer = await self._exchange(request, key, timeout_s)
        if answer.status != httpx.codes.TOO_MANY_REQUESTS:
            gate.accepted()
            return answer
        return HttpAnswer(answer.status, None, answer.detail, gate.refused(sent_at, answer.retry_after_s))

    async def _exchange(self, request: httpx.Request, key: str, timeout_s: float) -> HttpAnswer:
        sent_at = anyio.current_time()
        try:
            with anyio.fail_after(timeout_s + _CONNECT_TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                try:
                    content = await self._read(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise self._unavailable(request, f"did not finish within {timeout_s:.0f} s") from error
        except httpx.RequestError as error:
            raise self._unavailable(request, f"failed ({type(error).__name__})") from error
        self.latency_s = anyio.current_time() - sent_at
        parsed = parse_json(content)
        # What LNbits says in words matters if it says no; a good answer can be long, and is read as data.
        good = response.is_success and parsed is not None
        detail = "" if good and not _speaks(parsed) else _detail(parsed, content, key)
        return HttpAnswer(response.status_code, parsed, detail, _retry_after_s(response))

    async def _read(self, response: httpx.Response) -> bytes:
        try:
            return await read_plain(response, _MAX_ANSWER_BYTES)
        except TooLong as error:
            lost = self._unavailable(response.request, f"answered {error}")
            raise AnswerTooLarge(str(lost)) from error
        except UnwelcomeBody as error:
            raise self._unavailable(response.request, f"answered {error}") from error

    def _unavailable(self, request: httpx.Request, what: str) -> WalletUnavailable:
        call = f"{request.method} {request.url.path}"
        return WalletUnavailable(f"LNbits at {self.url}: {call} {what}. Is it running and reachable?")

    def reject(self, what: str, answer: HttpAnswer) -> NoReturn:
        """Raise what this unwelcome answer means for a caller who wanted `what`."""
        message = f"LNbits at {self.url} did not {what}: HTTP {answer.status}, {answer.detail}"
        if refusal(answer) and answer.status != httpx.codes.TOO_MANY_REQUESTS:
            raise WalletRefused(message, status=answer.status)
        if httpx.codes.is_client_error(answer.status) and answer.status != httpx.codes.TOO_MANY_REQUESTS:
            raise WalletLied(message)  # not LNbits' own word on the request: something in between does not like it
        raise WalletUnavailable(message, retry_after_s=answer.retry_after_s)


def refusal(answer: HttpAnswer) -> bool:
    """Whether this answer proves that LNbits refused before anything happened.

    The rate limiter (429) comes before everything, the key check (401, 403, 404) before the handler. A 400 proves it
    only if it complains about the request's form: LNbits turns *any* ValueError into a 400, for example "Payment
    already exists", which means the opposite. An answer that is not LNbits' JSON may come from anything in between,
    after LNbits did what was asked.
    """
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        return True
    if not isinstance(answer.body, dict) or "detail" not in answer.body:
        return False
    if answer.status == httpx.codes.BAD_REQUEST:
        detail = answer.body["detail"]
        # 1.4 sends the list of complaints as its text.
        return isinstance(detail, list) or str(detail).startswith(("[{'", "Missing BOLT11 invoice"))
    return answer.status in (401, 403, 404)


def parse_json(content: bytes) -> object:
    """The JSON with floats as Decimal; None for everything else (`null` is no answer either)."""
    try:
        return json.loads(content, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, InvalidOperation, RecursionError):  # broken, not UTF-8; absurd numbers; nested endlessly
        return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _speaks(parsed: object) -> bool:
    return isinstance(parsed, dict) and ("detail" in parsed or "error" in parsed)


def _detail(parsed: object, content: bytes, key: str) -> str:
    """What the answer says, as one short printable line; a key that it repeats is left out."""
    text: object = None
    if isinstance(parsed, dict):
        text = parsed.get("detail") or parsed.get("error")
    if text is None:
        text = content.decode(errors="replace")
    # Before it is cut: half a key is still a secret.
    return printable(str(text).replace(key, "***"), _MAX_DETAIL_CHARS) or "without a word"


def printable(text: str, max_chars: int) -> str:
    """A stranger's text on one line, safe for a log: no control characters, of limited length."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * max_chars]).split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), _WINDOW_S) if re.fullmatch(r"[0-9]{1,6}", value) else None


class _Gate:
    """Adapts to LNbits' rate limit on one route, which LNbits does not reveal: 429 comes without Retry-After.

    After a 429 the route pauses, longer each time (with jitter, at most 30 s), and then keeps a distance between calls
    that depends on how many succeeded in the last minute; the distance shrinks with success.
    """

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._opens_at = 0.0
        self._interval_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._refused_at = 0.0
        self._sent: deque[float] = deque(maxlen=10_000)

    async def pass_through(self) -> float:
        """Wait for one's turn; returns the time at which it came."""
        async with self._turn:
            # Again, because a call that was under way may have been refused in the meantime.
            while (wait_s := self._opens_at - anyio.current_time()) > 0:  # noqa: ASYNC110
                await anyio.sleep(wait_s)
            now = anyio.current_time()
            self._opens_at = now + self._interval_s
            self._sent.append(now)
            return now

    def accepted(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._interval_s = self._interval_s * 0.99 if self._interval_s > 0.01 else 0.0

    def refused(self, sent_at: float, retry_after_s: float | None) -> float:
        """A call that was sent at `sent_at` got a 429; returns how long the route pauses from now on, in seconds."""
        now = anyio.current_time()
        if sent_at < self._refused_at:  # one of several that were under way: already counted
            return max(0.0, self._opens_at - now)
        in_window = sum(1 for moment in self._sent if moment > now - _WINDOW_S)
        fair_s = _WINDOW_S / max(1.0, 0.9 * in_window)
        self._interval_s = min(_LONGEST_INTERVAL_S, max(self._interval_s, fair_s))
        pause_s = retry_after_s or self._pause_s * random.uniform(0.75, 1.25)  # noqa: S311  no secret
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._refused_at = now
        self._opens_at = now + pause_s
        return pause_s


class UnwelcomeBody(ValueError):
    """The body was not read to its end; the text completes "the server answered .."."""


class TooLong(UnwelcomeBody):
    """It has more octets than we are ready to keep."""


async def read_plain(response: httpx.Response, max_bytes: int) -> bytes:
    """The octets of a streamed answer. Raises UnwelcomeBody if they are encoded, or more than `max_bytes`."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnwelcomeBody("in a compressed form that was not asked for")
    if response.is_stream_consumed:  # it did not come from a network
        if len(response.content) > max_bytes:
            raise TooLong(f"more than {max_bytes} bytes")
        return response.content
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > max_bytes:
            raise TooLong(f"more than {max_bytes} bytes")
    return bytes(content)


async def get_plain(http: httpx.AsyncClient, url: str, max_bytes: int, *, accept: str = "*/*") -> bytes:
    """What is at `url`, whatever the status. Raises UnwelcomeBody, and what httpx raises."""
    async with http.stream("GET", url, headers={**PLAIN, "Accept": accept}) as response:
        return await read_plain(response, max_bytes)

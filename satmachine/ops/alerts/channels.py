"""How an alarm is sent: by a webhook, by a command, by a Nostr direct message. Each raises NotDelivered.

Addresses may contain tokens, so no message names one.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile

import anyio
import httpx

from satmachine.config import Config
from satmachine.errors import SatmachineError
from satmachine.nostr.gift import wrap
from satmachine.nostr.health import printable
from satmachine.nostr.keys import npub_to_hex, parse_secret_key
from satmachine.nostr.post import post
from satmachine.ops.alerts.message import AlertMessage, json_of, text_of
from satmachine.wallet.transport import PLAIN

TIMEOUT_S = 20.0
#: What the alarms' command needs from the daemon's environment; the rest may be keys.
_ENVIRON = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"})


class NotDelivered(SatmachineError):
    """It did not arrive, as far as is known; it is tried again."""


def configured(config: Config) -> tuple[str, ...]:
    """The ways that the configuration names."""
    alerts = config.alerts
    ways = {"webhook": alerts.webhook_url, "command": alerts.command, "nostr": alerts.npub}
    return tuple(name for name, value in ways.items() if value)


async def deliver(message: AlertMessage, config: Config, now: int) -> None:
    """Send one message in its way; if a way is no longer configured, there is nobody to send to. Raises
    NotDelivered."""
    if message.channel not in configured(config):
        return
    way = {"webhook": _post, "command": _run, "nostr": _whisper}[message.channel]
    try:
        with anyio.fail_after(TIMEOUT_S):
            await way(message, config, now)
    except TimeoutError:
        raise NotDelivered(f"no answer within {TIMEOUT_S:.0f} s") from None


async def _post(message: AlertMessage, config: Config, _now: int) -> None:
    assert config.alerts.webhook_url is not None
    url = config.alerts.webhook_url.resolve(config.environ)
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S) as http,
            http.stream("POST", url, json=json_of(message), headers=PLAIN) as answer,
        ):
            # The rest of its answer is not read: it could be a gigabyte.
            status, delivered = answer.status_code, answer.is_success
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotDelivered(f"the webhook cannot be reached ({type(error).__name__})") from None
    if not delivered:
        raise NotDelivered(f"the webhook answers with HTTP {status}")


async def _run(message: AlertMessage, config: Config, _now: int) -> None:
    """The command gets the JSON on its standard input, and the text in $SATMACHINE_ALERT, but none of the daemon's
    keys."""
    command = config.alerts.command
    kept = {name: value for name, value in os.environ.items() if name in _ENVIRON or name.startswith("LC_")}
    environ = {**kept, "SATMACHINE_ALERT": text_of(message)}
    try:
        # A file, not a pipe: a command that ends without having read it has done nothing wrong.
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps(json_of(message)).encode())
            told.seek(0)
            async with await anyio.open_process(command, stdin=told, stderr=subprocess.STDOUT, env=environ) as process:
                assert process.stdout is not None
                said = b"".join([part async for part in process.stdout])
                exit_code = await process.wait()
    except OSError as error:
        raise NotDelivered(f"{command[0]} cannot be run: {error.strerror}") from None
    if exit_code != 0:
        raise NotDelivered(f"{command[0]} exited with {exit_code}: {printable(said.decode(errors='replace'))}")


async def _whisper(message: AlertMessage, config: Config, now: int) -> None:
    """To every relay that the receiver may read; it is enough if one accepts it."""
    assert config.alerts.npub is not None
    assert config.nostr.secret_key is not None
    secret = parse_secret_key(config.nostr.secret_key.resolve(config.environ))
    receiver = npub_to_hex(config.alerts.npub)
    event = wrap(text_of(message), secret=secret, receiver=receiver, now=now, entropy=secrets.token_bytes)
    refusals: list[str] = []

    async def tell(url: str) -> None:
        problem = await post(url, event, secret, now, timeout_s=TIMEOUT_S)
        if problem:
            refusals.append(f"{url}: {problem}")

    urls = config.alerts.relays or config.nostr.relays
    async with anyio.create_task_group() as tasks:
        for url in urls:
            tasks.start_soon(tell, url)
    if len(refusals) == len(urls):
        raise NotDelivered("; ".join(refusals) or "there is no relay to send it to")

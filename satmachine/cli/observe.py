"""`satmachine observe`: what the fleet really sends, and which settings fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit.options import AsJson
from satmachine.cli.kit.output import emit_section, print_item, print_json, print_line
from satmachine.cli.kit.values import Column, Row, iso
from satmachine.errors import NotFound

if TYPE_CHECKING:
    from satmachine.config import Config, Machine
    from satmachine.observe.fit import MachineSeen
    from satmachine.observe.listening import Seen
    from satmachine.observe.sightings import SeenEvent, SeenPayment

_DAY_S = 86_400

_RELAYS = (
    Column("url", "Relay"),
    Column("state", "State"),
    Column("events", "Events"),
    Column("faults", "Faults"),
    Column("problem", "Problem", fold=True),
)
_SENT = (
    Column("machine_id", "Machine"),
    Column("what", "What it sends"),
    Column("count", "Seen"),
    Column("form", "Form"),
    Column("says", "Says", fold=True),
    Column("tags", "Tags", show=lambda row: ", ".join(row["tags"]), wide=True),
    Column("keys", "Keys", fold=True, show=lambda row: ", ".join(row["keys"])),
)
_SALES = (
    Column("machine_id", "Machine"),
    Column("both", "Told and paid"),
    Column("only_told", "Only announced"),
    Column("itself", "Only paid, says what it is"),
    Column("silent", "Only paid, says nothing"),
    Column("before", "Paid before, not announced here"),
    Column("slowest_s", "Event after payment, s"),
    Column("problem", "Problem", fold=True),
)


def observe(
    ctx: typer.Context,
    machine: Annotated[
        list[str] | None, typer.Option("--machine", metavar="ID", help="Only this machine; may be repeated.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.05, max=1_440, help="How long to watch; Ctrl-C ends it.")] = 10,
    past_days: Annotated[int, typer.Option(min=0, max=366, help="How far back the wallets are read.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Watch relays and wallets for a while: what the machines really send, and which settings fit.

    Pays nothing and writes nothing. The daemon may run at the same time, but need not. It reads the wallets' keys.

    Examples:

        satmachine observe --minutes 10

        satmachine observe --machine panajachel-1 --minutes 30 --json
    """
    import time

    import anyio

    from satmachine.config import find_config, load
    from satmachine.observe.listening import Listening

    config = load(find_config(ctx.obj.config_path))
    if ctx.obj.operator is not None:
        config = config.limited_to(ctx.obj.operator)
    machines = _chosen(config, machine)
    watch = Listening(config, machines, _key_of(config), time.time)

    def say() -> None:
        typer.echo(f"Watching {len(machines)} machine(s) for {minutes:g} min; Ctrl-C ends it sooner.", err=True)

    async def run() -> Seen:
        return await watch.run(seconds=60 * minutes, past_s=past_days * _DAY_S, begun=say)

    seen = anyio.run(run)
    if as_json:
        print_json(_as_json(seen, config))
    else:
        _print(seen, config)
    reached = any(relay.reached for relay in seen.relays) or any(not one.problem for one in seen.machines)
    raise typer.Exit(0 if reached or not machines else 4)


def _chosen(config: Config, ids: list[str] | None) -> list[Machine]:
    for machine_id in ids or ():
        if config.machine(machine_id) is None:
            raise NotFound(f"there is no machine {machine_id} in {config.path}: `satmachine machines list` shows them")
    return [one for one in config.machines if not ids or one.id in ids]


def _key_of(config: Config) -> Any:
    """The daemon's key, if the file names one that can be read. Raises ConfigError."""
    from satmachine.nostr.keys import parse_secret_key, public_key_of
    from satmachine.settlements.claim.envelope import DaemonKey

    if config.nostr.secret_key is None:
        return None
    secret = parse_secret_key(config.nostr.secret_key.resolve(config.environ))
    return DaemonKey(secret, public_key_of(secret))


# --- what it shows


def _print(seen: Seen, config: Config) -> None:
    emit_section([_relay(relay) for relay in seen.relays], _RELAYS, title="Relays", empty="No relay is configured.")
    sent = [row for one in seen.machines for row in _sent(one)]
    emit_section(sent, _SENT, title="What the machines send", empty="Nothing arrived: no event, no payment.")
    emit_section([_sales(one) for one in seen.machines], _SALES, title="Sales", empty="No machine was watched.")
    settings = _settings(seen, config)
    for setting in settings:
        place = f"{setting['table']}  {setting['line']}" if setting["line"] else setting["table"]
        print_item("+" if setting["line"] else "!", place, setting["why"])
    if not settings:
        print_line("Nothing to change: the configuration fits what was seen.", style="green")
    else:
        print_line(f"Put these settings into {config.path}; `satmachine config check` says whether it is right.")


def _as_json(seen: Seen, config: Config) -> dict[str, Any]:
    return {
        "began_at": iso(seen.began_at),
        "ended_at": iso(seen.ended_at),
        "relays": [_relay(relay) for relay in seen.relays],
        "sent": [row for one in seen.machines for row in _sent(one)],
        "sales": [_sales(one) for one in seen.machines],
        "settings": _settings(seen, config),
    }


def _relay(relay: Any) -> dict[str, Any]:
    state = "heard" if relay.reached else "not reached"
    return {"url": relay.url, "state": state, "events": relay.events, "faults": relay.faults, "problem": relay.problem}


def _sent(one: MachineSeen) -> list[dict[str, Any]]:
    """One row for each kind of event and payment, the most frequent first."""
    told = [_of_event(event) for event in one.events] + [_of_payment(paid) for paid in [*one.before, *one.payments]]
    counts = Counter(told)
    return [
        {
            "machine_id": one.machine.id,
            "what": what,
            "count": count,
            "form": form,
            "says": says,
            "tags": list(tags),
            "keys": list(keys),
        }
        for (what, form, says, tags, keys), count in counts.most_common()
    ]


_Sort = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]


def _of_event(event: SeenEvent) -> _Sort:
    to = "" if event.for_us else f" to {event.to[0][:8]}.."
    to = " to this daemon" if event.for_us and event.to else to
    what = f"kind {event.kind}" + (f', d "{event.d}"' if event.d is not None else "") + to
    form = str(event.form) + (", opened" if event.opened else "")
    says = "a sale" if event.claim is not None else event.problem
    if event.relays:
        says = "publishes on " + ", ".join(event.relays[:4])
    return what, form, says, event.tags, event.keys


def _of_payment(paid: SeenPayment) -> _Sort:
    what = "payment" + (f' of "{paid.tag}"' if paid.tag else "")
    says = "a sale" if paid.claim is not None else paid.problem
    if paid.claim is not None and (paid.claim.used_fallback_split or paid.claim.exchange_rate == 0):
        says = "a sale without its split or rate"
    return what, "extra" if paid.keys else "bare", says, (), paid.keys


def _sales(one: MachineSeen) -> Row:
    matched = one.matched
    return {
        "machine_id": one.machine.id,
        "both": matched.both,
        "only_told": matched.only_told,
        "itself": matched.itself,
        "silent": matched.only_paid - matched.itself,
        "before": len(one.before),
        "slowest_s": max(matched.late_s, default=None),
        "problem": one.problem,
    }


def _settings(seen: Seen, config: Config) -> list[dict[str, str]]:
    """The settings that fit; what concerns the whole file only once."""
    from satmachine.observe.fit import fitting

    found = [asdict(setting) for one in seen.machines for setting in fitting(one, config)]
    return list({(row["table"], row["line"], row["why"] if not row["line"] else ""): row for row in found}.values())

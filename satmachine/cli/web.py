"""`satmachine web`: serve the pages, and let people in (SPEC section 14)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit.books import MAX_ID
from satmachine.cli.kit.options import AsCsv, AsJson, Yes
from satmachine.cli.kit.output import emit_table, print_json, print_line
from satmachine.cli.kit.requests import confirm
from satmachine.cli.kit.root import parse_tz
from satmachine.cli.kit.values import Column
from satmachine.errors import NotFound, Refused, SatmachineError

if TYPE_CHECKING:
    from satmachine.config import Config

app = typer.Typer()

PersonId = Annotated[str, typer.Argument(metavar="PERSON", help="The id of somebody in [[web.people]].")]

_COLUMNS = (
    Column("id", "Id"),
    Column("kind", "What"),
    Column("person", "Person"),
    Column("created_at", "Since"),
    Column("used_at", "Used"),
    Column("expires_at", "Until"),
    Column("note", "Note", wide=True),
)


_NOTHING = "nothing like that is still valid; `satmachine web list` shows what is"


@app.callback(invoke_without_command=True)
def web(
    ctx: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Where to serve: 127.0.0.1:8021 or unix:/run/satmachine-web/web.sock."),
    ] = None,
) -> None:
    """Serve the pages: for operators and their liquidity providers, to read in a browser. Nothing on them moves money.

    It is a process of its own beside the daemon; its address is loopback, and TLS is the job of a proxy
    (docs/pages.md). [[web.people]] says who may look; they sign in by a link (`satmachine web link PERSON`) or with
    their Nostr key.

    Examples:

        satmachine web

        satmachine web --listen 127.0.0.1:8030
    """
    if ctx.invoked_subcommand is None:
        serve(ctx.obj.config_path, listen)


@app.command()
def link(ctx: typer.Context, person: PersonId, as_json: AsJson = False) -> None:
    """Make a link that signs somebody in, once, within a day ([web] link_hours).

    Whoever opens it first is that person, so send it in a way that only they can read. It is shown only here.

    Examples:

        satmachine web link maria
    """
    from satmachine.web import signin

    config = _config(ctx)
    name = _known(config, person)
    secret, kept = signin.new_secret()
    lives_s = config.web.link_hours * 3600
    _keep(config, "link", person, kept, lives_s)
    address = f"{_origin(config)}/sign-in/link/{secret}"
    if as_json:
        print_json({"person": person, "link": address, "expires_at": _iso(int(time.time()) + lives_s)})
        return
    print_line(f"This signs in {name}, once, within {config.web.link_hours} hours:")
    typer.echo(address)


@app.command()
def token(
    ctx: typer.Context,
    person: PersonId,
    days: Annotated[int, typer.Option(min=1, max=3660, help="For how many days it is valid.")] = 365,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token with which a program can read what a person may see, under /api/v1/dca/.

    It is shown only here. `satmachine web revoke` ends it.

    Examples:

        satmachine web token ana --days 90 --note "bookkeeping"
    """
    from satmachine.web import signin

    config = _config(ctx)
    _known(config, person)
    secret, kept = signin.new_secret()
    pass_id = _keep(config, "token", person, kept, days * 86_400, note)
    if as_json:
        print_json({"id": pass_id, "person": person, "token": secret})
        return
    print_line(f"Token {pass_id} reads what {person} may see, for {days} days. Send it as: Authorization: Bearer TOKEN")
    typer.echo(secret)


@app.command("list")
def list_(
    ctx: typer.Context,
    over: Annotated[bool, typer.Option("--all", help="Also those that are no longer valid.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the links, sessions and tokens that are valid, without their secrets.

    Examples:

        satmachine web list

        satmachine web list --all --json
    """
    from satmachine.store import passes

    config = _config(ctx)
    with passes.open_passes(passes_path(config)) as conn:
        found = passes.listed(conn, int(time.time()), over=over)
    rows: list[dict[str, Any]] = [
        {name: getattr(one, name) for name in one.__dataclass_fields__}
        for one in found
        if ctx.obj.operator is None or _person(config, one.person) is not None
    ]
    emit_table(
        rows,
        _COLUMNS,
        json=as_json,
        csv=as_csv,
        empty="Nobody can sign in yet. Make a link: `satmachine web link PERSON`",
        tz=ctx.obj.tz or parse_tz(config.display.tz),
        keys=[column.key for column in _COLUMNS],
    )


@app.command()
def revoke(
    ctx: typer.Context,
    pass_id: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="As `web list` shows it.")
    ] = None,
    person: Annotated[
        str | None, typer.Option(metavar="PERSON", help="Everything that belongs to this person.")
    ] = None,
    yes: Yes = False,
) -> None:
    """End a link, session or token, or all of one person, at once.

    Examples:

        satmachine web revoke 12

        satmachine web revoke --person maria
    """
    from satmachine.store import passes

    if (pass_id is None) == (person is None):
        raise typer.BadParameter("name an ID, or use --person NAME")
    config = _config(ctx)
    with passes.open_passes(passes_path(config)) as conn:
        if ctx.obj.operator is not None:
            _require_in_scope(config, conn, pass_id, person)
        count = passes.listed(conn, int(time.time()), over=False)
        if not any(one.id == pass_id or one.person == person for one in count):
            raise NotFound(_NOTHING)
        confirm(f"End {'everything of ' + str(person) if person else f'number {pass_id}'}?", yes=yes)
        ended = passes.revoke(conn, int(time.time()), pass_id=pass_id, person=person)
    if not ended:
        raise NotFound(_NOTHING)
    print_line(f"Ended: {ended}.")


def serve(config_path: Path | None, listen: str | None) -> None:
    """Serve until stopped. Raises ConfigError, StoreError, and Refused if the extra `web` is not installed."""
    from satmachine.attention.items import Thresholds
    from satmachine.config import find_config, formats, load
    from satmachine.hardening import forbid_core_dumps

    config = load(find_config(config_path))
    try:
        import uvicorn

        from satmachine.web.app import make_app
        from satmachine.web.settings import Settings
    except ModuleNotFoundError as error:
        raise Refused(
            f"the pages need packages that are not installed ({error.name}): python3 -m pip install 'satmachine[web]'"
        ) from None
    if listen is not None:
        try:
            listen = formats.listen_address(listen)
        except ValueError as error:
            raise typer.BadParameter(f"--listen {error}") from None
    address = listen or config.web.listen
    forbid_core_dumps()
    known = {**dict(config.alerts), **dict(config.payouts)}
    settings = Settings(
        config.database.path,
        passes_path(config),
        config.web.model_copy(update={"listen": address}),
        Thresholds(**{name: known[name] for name in Thresholds.__dataclass_fields__ if name in known}),
        config.database.busy_timeout_s,
    )
    _require_books(settings.books)
    if not config.web.people:
        typer.echo("Nobody may look yet: add [[web.people]] to the configuration.", err=True)
    typer.echo(f"Serving the pages at {address}; people open them at {settings.origin}", err=True)
    uvicorn.run(make_app(settings), **serving(address), log_config=_LOGGING)


def serving(address: str) -> dict[str, Any]:
    """How uvicorn serves the pages at an address, apart from the log: whom it believes, and what it bears."""
    where: dict[str, Any] = {}
    if address.startswith("unix:"):
        where["uds"] = address.removeprefix("unix:")
    else:
        host, _, port = address.rpartition(":")
        where.update(host=host.strip("[]"), port=int(port))
    return {
        **where,
        "access_log": False,
        "server_header": False,
        "proxy_headers": True,
        # Only the proxy can reach the socket, whose connections have no address.
        "forwarded_allow_ips": "*" if "uds" in where else "127.0.0.1,::1",
        "limit_concurrency": 1_000,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": 5,
        "h11_max_incomplete_event_size": 32_768,
    }


_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"uvicorn": {"level": "WARNING"}},
}


def passes_path(config: Config) -> Path:
    """Where links and sessions are stored: beside the books, unless the configuration says otherwise."""
    return config.web.database or config.database.path.with_name("web.db")


def _require_books(path: Path) -> None:
    from satmachine.store.database import connect

    connect(path, read_only=True).close()


def _config(ctx: typer.Context) -> Config:
    from satmachine.config import find_config, load

    config = load(find_config(ctx.obj.config_path))
    return config if ctx.obj.operator is None else config.limited_to(ctx.obj.operator)


def _person(config: Config, person: str) -> str | None:
    return next((one.name for one in config.web.people if one.id == person), None)


def _known(config: Config, person: str) -> str:
    name = _person(config, person)
    if name is None:
        known = ", ".join(one.id for one in config.web.people) or "nobody yet"
        raise NotFound(f"there is no {person} in [[web.people]] of the configuration (there: {known})")
    return name


def _require_in_scope(config: Config, conn: Any, pass_id: int | None, person: str | None) -> None:
    from satmachine.store import passes

    owner = person
    if pass_id is not None:
        owner = next((one.person for one in passes.listed(conn, 0, over=True) if one.id == pass_id), None)
    if owner is None or _person(config, owner) is None:
        raise NotFound(_NOTHING)


def _keep(config: Config, kind: str, person: str, kept: str, lives_s: int, note: str = "") -> int:
    from satmachine.store import passes

    try:
        with passes.open_passes(passes_path(config)) as conn:
            return passes.add(
                conn, passes.PassKind(kind), person, kept, now=int(time.time()), lives_s=lives_s, note=note[:200]
            )
    except SatmachineError as error:
        raise Refused(f"{error}; run this as the user of the pages, or as root") from None


def _origin(config: Config) -> str:
    return config.web.public_url or f"http://{config.web.listen}"


def _iso(at: int) -> str:
    from satmachine.cli.kit.values import iso

    return iso(at)

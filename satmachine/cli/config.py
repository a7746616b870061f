"""`satmachine config check`, `reload` and `show` (SPEC section 10). Thin: load, ask, print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from satmachine.cli.kit.options import AsJson

# pydantic is imported inside the functions: `satmachine --help` has to be quick.
if TYPE_CHECKING:
    from satmachine.config import Config
    from satmachine.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Check the configuration file, or show what is in force.")


@app.command("check")
def check(
    ctx: typer.Context,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Also read every key: is it there, and can nobody else read it?")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether the configuration file is right: every problem at once, each with what to do.

    Without --secrets no key is read, so that any user can check the file.
    What only root and the service can see is left out and named; use sudo to include it.
    Exits with 0 if all is well (there may be warnings), and with 3 if not.

    Examples:

        satmachine config check

        satmachine --config ./config.toml config check --secrets
    """
    from satmachine.cli.kit.output import print_line
    from satmachine.config import check_secrets, hidden_credentials, wallet_conflicts, warnings
    from satmachine.errors import ConfigError

    try:
        config = _load(ctx)
        problems = [*check_secrets(config), *wallet_conflicts(config)] if secrets else []
        if problems:
            raise ConfigError(str(config.path), problems)
    except ConfigError as error:
        if as_json:
            _print_json({"path": error.source, "problems": error.problems, "warnings": [], "left_out": []})
        _fail(error)
    found = warnings(config)
    left_out = hidden_credentials(config) if secrets else []
    if as_json:
        _print_json({"path": str(config.path), "problems": [], "warnings": found, "left_out": left_out})
    else:
        typer.echo(_summary(config))
        for warning in found:
            print_line(f"warning: {warning}")
        if left_out:
            print_line(f"Not checked, because only root and the service can see them: {', '.join(left_out)}.")
            print_line("To check them too: sudo satmachine config check --secrets")
        but = [f"see the {len(found)} warning(s) above"] if found else []
        but += [f"{len(left_out)} key(s) were not checked"] if left_out else []
        typer.echo(f"All well, but {' and '.join(but)}." if but else "All well.")


@app.command("reload")
def reload(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Let the running daemon load the file again, and say whether it did. A file with errors changes nothing.

    `systemctl reload satmachine` does this. Exits with 3 if the file is refused, and says why.

    Example:  sudo satmachine config reload
    """
    from satmachine.config import find_config, load
    from satmachine.errors import ConfigError
    from satmachine.ops.reload import ask

    path = find_config(ctx.obj.config_path)
    try:
        refused = ask(load(path).database.path)
    except ConfigError as error:
        refused = str(error)
    if as_json:
        _print_json({"path": str(path), "reloaded": not refused, "refused": refused})
    elif refused:
        typer.echo(f"{refused}\nThe previous configuration stays in force.", err=True)
    else:
        typer.echo(f"{path} is in force.")
    if refused:
        raise typer.Exit(ConfigError.exit_code)


@app.command("show")
def show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the effective values with all defaults; secrets are masked.

    Examples:

        satmachine config show

        satmachine config show --json
    """
    from satmachine.config.as_text import to_json, to_text
    from satmachine.errors import ConfigError

    try:
        config = _load(ctx)
    except ConfigError as error:
        _fail(error)
    if as_json:
        _print_json(to_json(config))
    else:
        typer.echo(to_text(config))


def _load(ctx: typer.Context) -> Config:
    from satmachine.config import find_config, load

    config = load(find_config(getattr(ctx.obj, "config_path", None)))
    operator = getattr(ctx.obj, "operator", None)
    return config if operator is None else config.limited_to(operator)


def _fail(error: ConfigError) -> NoReturn:
    from satmachine.cli.kit.wrap import on_stderr

    typer.echo(on_stderr(str(error)), err=True)
    raise typer.Exit(error.exit_code)


def _print_json(value: dict[str, Any]) -> None:
    from satmachine.cli.kit.output import print_json

    print_json(value)


def _summary(config: Config) -> str:
    """A few lines that show an operator that it is the right file."""
    machines = [machine.id if machine.active else f"{machine.id} (not active)" for machine in config.machines]
    relays = {url for machine in config.machines for url in config.relays_of(machine)} | {*config.nostr.relays}
    rows = {
        "file": str(config.path),
        "operators": ", ".join(operator.id for operator in config.operators) or "none",
        "machines": ", ".join(machines) or "none",
        "relays": ", ".join(sorted(relays)) or "none",
        "LNbits": config.lnbits.url,
        "database": str(config.database.path),
    }
    return "\n".join(f"{name + ':':<11}{value}" for name, value in rows.items())

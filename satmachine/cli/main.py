"""The root of the command line: global options, and a table of nouns (SPEC section 10).

A noun's module is imported when the noun is used, so that `--help` and every read stay quick. Help is plain text for
the same reason: to draw it with Rich would take longer than everything else.
"""

from __future__ import annotations

import importlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from satmachine import __version__
from satmachine.cli.kit.root import Options, parse_actor, parse_tz
from satmachine.cli.quick import spare_pydantic
from satmachine.errors import SatmachineError

_RUNNING = "Running it"
_SALES = "Sales and payments"
_PEOPLE = "Liquidity providers"
_CASH = "Cash"
_BOOKS = "Reports and ledgers"


@dataclass(frozen=True, slots=True)
class Noun:
    """One word after `satmachine`. `target` is "module:attribute"; the attribute is a `Typer` or a function.

    A module that is a folder names in `MODULES` which of its files add verbs.
    """

    target: str
    help: str
    panel: str


NOUNS = {
    "init": Noun("satmachine.cli.setup.init:init", "Set up: asks, tests, writes the configuration.", _RUNNING),
    "status": Noun("satmachine.cli.status:status", "What is going on, and what needs you.", _RUNNING),
    "alerts": Noun("satmachine.cli.alerts:app", "What needs you, and whether alarms arrive.", _RUNNING),
    "run": Noun("satmachine.cli.run:run", "The daemon, in the foreground.", _RUNNING),
    "doctor": Noun(
        "satmachine.cli.doctor_command:doctor", "Check whether everything that the daemon needs is in order.", _RUNNING
    ),
    "observe": Noun(
        "satmachine.cli.observe:observe", "What the machines really send, and which settings fit.", _RUNNING
    ),
    "backup": Noun("satmachine.cli.backup_command:backup", "A consistent copy of the books while it runs.", _RUNNING),
    "restore": Noun("satmachine.cli.restore_command:restore", "Replace the books by a copy.", _RUNNING),
    "install-files": Noun(
        "satmachine.cli.install_files:install_files", "Units, manual and completion for this host.", _RUNNING
    ),
    "config": Noun("satmachine.cli.config:app", "Check the configuration file, or show what is in force.", _RUNNING),
    "payouts": Noun("satmachine.cli.payouts:app", "Stop and resume payouts.", _RUNNING),
    "machines": Noun("satmachine.cli.machines:app", "The machines, with wallet balance and open work.", _RUNNING),
    "telemetry": Noun("satmachine.cli.telemetry_command:app", "What the machines report.", _RUNNING),
    "web": Noun("satmachine.cli.web:app", "The pages, for people to read in a browser.", _RUNNING),
    "demo": Noun("satmachine.cli.demo:demo", "Everything on this computer, with real parts.", _RUNNING),
    "settlements": Noun("satmachine.cli.settlements:app", "The sales, and where every sat of them went.", _SALES),
    "payments": Noun("satmachine.cli.payments:app", "The payments that sales cause.", _SALES),
    "cash": Noun("satmachine.cli.cash_command:app", "The banknotes in the machines: loaded, counted, missing.", _CASH),
    "forecast": Noun("satmachine.cli.forecast_command:forecast", "How long the cash lasts, and what to load.", _CASH),
    "splits": Noun("satmachine.cli.splits:app", "How the commission is shared.", _SALES),
    "audit": Noun("satmachine.cli.audit:app", "Prove where every sat went; who changed what.", _SALES),
    "quarantine": Noun("satmachine.cli.quarantine:app", "Messages from machines that could not be used.", _SALES),
    "clients": Noun("satmachine.cli.clients:app", "Who brings cash and gets sats.", _PEOPLE),
    "deposits": Noun("satmachine.cli.deposits:app", "The cash that they bring, and take home.", _PEOPLE),
    "report": Noun("satmachine.cli.report:report", "What came in, who got it, what is there now.", _BOOKS),
    "export": Noun("satmachine.cli.export_command:app", "The ledger for beancount, hledger or a spreadsheet.", _BOOKS),
    "period": Noun("satmachine.cli.period:app", "Close a month; prove that a closed one was not altered.", _BOOKS),
    "simulate": Noun("satmachine.cli.simulate:simulate", "Last month's sales under other rules.", _BOOKS),
    "verify": Noun("satmachine.cli.verify:verify", "Check that a statement was not altered.", _BOOKS),
}

_HELP = """Pays out the sales of Bitcoin ATMs, each exactly once.

Every read takes --json, every list --csv.

Exit codes: 0 done, 1 failed or found a problem, 2 wrong usage,

3 bad configuration, 4 cannot reach wallet or relays.

Examples:

    satmachine status

    satmachine --operator atitlan settlements list --since 7d

    satmachine --tz America/Guatemala settlements show 12
"""


def load_noun(name: str) -> Any:
    """Import a noun's module and make its click command."""
    noun = NOUNS[name]
    name_of_module, _, attribute = noun.target.partition(":")
    module = importlib.import_module(name_of_module)
    for verbs in getattr(module, "MODULES", ()):
        importlib.import_module(f"{name_of_module}.{verbs}")
    target = getattr(module, attribute)
    if isinstance(target, typer.Typer):
        target.rich_markup_mode = None
        target.info.cls = Verbs
        command: Any = get_group(target)
    else:
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name)(target)
        command = get_command(single)
    command.name = name
    return command


class Verbs(TyperGroup):
    """Lists a noun's verbs, each with the whole first paragraph of its help; click would cut it off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """What is below the options."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(verb.help or "")) for name, verb in verbs if verb and not verb.hidden])


class Nouns(TyperGroup):
    """Lists the nouns from the table, and imports the one that is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, noun in NOUNS.items():
            self.add_command(TyperCommand(name, short_help=noun.help, help=noun.help))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the class above has it
        """The nouns under their headings."""
        for panel in (_RUNNING, _SALES, _CASH, _PEOPLE, _BOOKS):
            with formatter.section(panel):
                formatter.write_dl([(name, noun.help) for name, noun in NOUNS.items() if noun.panel == panel])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the table's entry by the real command."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_noun(name) if name in NOUNS else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Turn an expected error into a message and its exit code; a surprise keeps its traceback."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from satmachine.cli.kit.wrap import on_stderr

            message = error.message.removeprefix("Value error, ")  # how typer says that a word is not in a list
            error.message = on_stderr(message, before=f"{_ERROR}Invalid value: ")
            raise
        except typer.TyperException as error:
            _tell_of_place(error)
            _tell_of_commands(error)
            raise
        except SatmachineError as error:
            typer.secho(_ERROR, fg=typer.colors.RED, err=True, nl=False)
            from satmachine.cli.kit.wrap import on_stderr
            from satmachine.plain_text import printable

            typer.echo(on_stderr(printable(str(error)), before=_ERROR), err=True)
            raise typer.Exit(error.exit_code) from None


def _tell_of_place(error: Any) -> None:
    """An option of the root that was given to a command: say where it belongs."""
    name = getattr(error, "option_name", None)
    if name in ROOT_OPTIONS and hasattr(error, "possibilities"):
        error.message, error.possibilities = f"{name} comes right after satmachine: satmachine {name} .. COMMAND", ()


def _tell_of_commands(error: Any) -> None:
    """A command that does not exist, and is like none that does: say which do."""
    ctx: Any = getattr(error, "ctx", None)
    unlike = error.message.startswith("No such command") and "Did you mean" not in error.message
    if unlike and hasattr(getattr(ctx, "command", None), "list_commands"):
        from satmachine.cli.kit.wrap import on_stderr

        there = ", ".join(ctx.command.list_commands(ctx))
        error.message = on_stderr(f"{error.message} There are: {there}.", before=_ERROR)


#: Before what is wrong.
_ERROR = "Error: "
#: Those of `root` that people give to a command by mistake.
ROOT_OPTIONS = ("--config", "--operator", "--tz", "--actor")


def _summary(text: str) -> str:
    return " ".join(text.strip().partition("\n\n")[0].split())


spare_pydantic()

app = typer.Typer(
    name="satmachine",
    cls=Nouns,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"satmachine {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration file; else $SATMACHINE_CONFIG, else /etc/satmachine/config.toml.",
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(envvar="SATMACHINE_OPERATOR", metavar="ID", help="Limit everything to this operator's machines."),
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option(
            envvar="SATMACHINE_TZ",
            metavar="ZONE",
            help="Show times in this time zone, like America/Guatemala; else that of [display] tz. JSON stays in UTC.",
        ),
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who does this, for notes and audit log; else your login name.")
    ] = None,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the global options for the commands."""
    ctx.obj = Options(
        config_path=Path(config) if config else None,
        operator=operator or None,
        tz=parse_tz(tz) if tz else None,
        actor=parse_actor(actor),
    )


def main() -> None:
    """Entry point of the `satmachine` script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A machine's text may contain what the terminal's encoding (or any) cannot show: it is shown as an escape.
            stream.reconfigure(errors="backslashreplace")
    app()

"""`satmachine install-files`: what a host needs beside the program. The Debian package is made with it, too.

systemd/     units, the user, the folders: written for the prefix under which the program lies
share/       man pages and completion, made from the commands; the documents, examples
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from satmachine.cli.kit.options import DryRun
from satmachine.cli.kit.output import print_line
from satmachine.errors import Refused

#: The prefix for which the units are written; another one replaces it.
_WRITTEN_FOR = "/usr/local"
_ZSH = {"/usr": "vendor-completions"}


def install_files(
    to: Annotated[Path, typer.Option(metavar="DIR", help="Write below this folder, as if it were /.")] = Path("/"),
    prefix: Annotated[
        str, typer.Option(metavar="DIR", help="Where programs are installed: /usr/local, or /usr.")
    ] = _WRITTEN_FOR,
    dry_run: DryRun = False,
) -> None:
    """Write what this host needs beside the program: units, user, folders, manual, completion, examples.

    Run it again after each upgrade: units and manual become those of this version. Make your own changes to a unit with
    `systemctl edit satmachine`; they are not touched. Nothing is started or enabled, and no configuration is written.

    Examples:

        satmachine install-files --dry-run

        sudo satmachine install-files
    """
    if not prefix.startswith("/") or prefix == "/":
        raise typer.BadParameter("--prefix must be a folder below /, like /usr/local")
    files = dict(_files(prefix.rstrip("/")))
    told = {path: _state(to / path.lstrip("/"), content) for path, content in files.items()}
    for path, content in files.items():
        if told[path] != "same" and not dry_run:
            _write(to / path.lstrip("/"), content)
    for path, state in told.items():
        print_line(f"{state:8}{to / path.lstrip('/')}")
    link = None if to != Path("/") else _program(Path(prefix) / "bin" / "satmachine", dry_run=dry_run)
    if link:
        print_line(link)
    if dry_run:
        print_line("Nothing was written.")
    elif to == Path("/"):
        print_line("What to do next:\n  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload")
        print_line("and on a new host:\n  satmachine init\nor after an upgrade:\n  systemctl restart satmachine")


def _files(prefix: str) -> Iterator[tuple[str, bytes]]:
    """(where on the host, content) of everything."""
    from satmachine.cli import manual

    host, documents = _shipped("host", "packaging/host"), _shipped("host/doc", "docs")
    etc = f"{prefix}/lib" if prefix == "/usr" else "/etc"
    share = f"{prefix}/share"
    for unit in sorted((host / "systemd").iterdir(), key=lambda entry: entry.name):
        yield f"{etc}/systemd/system/{unit.name}", _for_prefix(unit.read_bytes(), prefix)
    yield f"{etc}/sysusers.d/satmachine.conf", (host / "sysusers.conf").read_bytes()
    yield f"{etc}/tmpfiles.d/satmachine.conf", (host / "tmpfiles.conf").read_bytes()  # noqa: S108
    for name, page in manual.man_pages().items():
        yield f"{share}/man/man1/{name}", page.encode()
    scripts = manual.completions()
    yield f"{share}/bash-completion/completions/satmachine", scripts["satmachine.bash"].encode()
    yield f"{share}/zsh/{_ZSH.get(prefix, 'site-functions')}/_satmachine", scripts["_satmachine"].encode()
    yield f"{share}/fish/vendor_completions.d/satmachine.fish", scripts["satmachine.fish"].encode()
    for name, entry in _tree(documents):
        yield f"{share}/doc/satmachine/{name}", entry.read_bytes()
    examples = f"{share}/doc/satmachine/examples"
    yield f"{examples}/litestream.yml", (host / "litestream.yml").read_bytes()
    yield f"{examples}/config.example.toml", _shipped("config.example.toml", "config.example.toml").read_bytes()


def _shipped(within: str, in_checkout: str) -> Traversable:
    """A file or folder that the wheel contains; in a checkout it is beside the package."""
    shipped = resources.files("satmachine").joinpath(within)
    if shipped.is_file() or shipped.is_dir():
        return shipped
    beside = Path(__file__).parents[2] / in_checkout
    if not beside.exists():
        raise Refused(f"{within} did not come with this installation: install satmachine again, from its wheel")
    return beside


def _tree(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _tree(entry, f"{above}{entry.name}/")
        else:
            yield f"{above}{entry.name}", entry


def _for_prefix(unit: bytes, prefix: str) -> bytes:
    return unit.replace(f"{_WRITTEN_FOR}/".encode(), f"{prefix}/".encode())


def _state(path: Path, content: bytes) -> str:
    try:
        return "same" if path.read_bytes() == content else "changed"
    except FileNotFoundError:
        return "new"
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}; to write the files of a host, use sudo") from error


def _program(path: Path, *, dry_run: bool) -> str:
    """The units start the program from there; if nothing is there, make a link to where it is."""
    here = Path(sys.argv[0]).absolute()
    if path.exists() or here.name != "satmachine":
        return ""
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(here)
    return f"new     {path} -> {here}"

"""How the daemon of these books is started on this host: by systemd, if it has a unit for it, or else by hand."""

from __future__ import annotations

from pathlib import Path

from satmachine.attention.look import Starts
from satmachine.store.database import daemon_pid

#: Where systemd finds units.
_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
#: What the unit lets the daemon write, unless a drop-in names another folder.
_STATE = Path("/var/lib/satmachine")


def starts(database: Path, *, root: Path = Path("/")) -> Starts:
    """The command that starts the daemon, and the one for a daemon that hangs; `root`: the file system that is asked.

    Killing a daemon is safe at any moment: when it starts, it asks the wallets what has happened.
    """
    if _has_unit(database, root):
        return Starts()
    start, pid = "satmachine run", daemon_pid(database)
    return Starts(start, start if pid is None else f"kill -KILL {pid} && {start}")


def _has_unit(database: Path, root: Path) -> bool:
    if not (root / "run/systemd/system").is_dir():  # how sd_booted(3) knows that systemd runs here
        return False
    folders = [root / folder / "systemd/system" for folder in _FOLDERS]
    if not any((folder / "satmachine.service").exists() for folder in folders):
        return False
    drop_ins = (file for folder in folders for file in folder.glob("satmachine.service.d/*.conf"))
    return database.is_relative_to(_STATE) or any(_names(file, database.parent) for file in drop_ins)


def _names(drop_in: Path, folder: Path) -> bool:
    try:
        return str(folder) in drop_in.read_text(errors="replace")
    except OSError:
        return False

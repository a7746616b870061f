"""Files of the configuration: written completely or not at all, readable only for the daemon's user."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from satmachine.config import Config, credentials, load, wallet_conflicts
from satmachine.errors import ConfigError, Refused
from satmachine.ops.payee_check import SERVICE_USER, unreadable_to_service
from satmachine.store import registry
from satmachine.store.database import atomic, connect, daemon_is_running, prepare


def text(value: str) -> str:
    """A TOML string."""
    return json.dumps(value, ensure_ascii=False)


def write(path: Path, content: str, *, secret: bool = False) -> None:
    """Write a new file, or replace a whole file and keep its owner and mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    if path.exists():
        shutil.copystat(path, name)
        owner = path.stat()
        os.chown(name, owner.st_uid, owner.st_gid)
    else:
        _give_to_service(Path(name), 0o640 if _service() else (0o600 if secret else 0o640))
    Path(name).replace(path)


def replace_config(path: Path, content: str) -> Config:
    """Replace the text of a configuration, once the new text is proven to be right. Raises ConfigError."""
    trial = path.with_name(f".{path.name}.trial")
    try:
        write(trial, content, secret=True)
        problems = wallet_conflicts(load(trial))
        if problems:
            raise ConfigError(str(path), problems)
    finally:
        trial.unlink(missing_ok=True)
    write(path, content)
    return load(path)


def secret_at(path: Path) -> str:
    """How config.toml refers to a key in this file: a file in the folder of the service's keys is a credential."""
    path = path.absolute()
    return f"{{ credential = {text(path.name)} }}" if _is_credential(path) else f"{{ file = {text(str(path))} }}"


def check_readable(path: Path) -> None:
    """Raises ValueError if the service could not read this key."""
    if not _is_credential(path.absolute()) and (problem := unreadable_to_service(path)):
        keys = credentials.KEYS
        raise ValueError(f"{problem}: sudo install -m 600 {shlex.quote(str(path))} {keys}/, and name that file")


def _is_credential(path: Path) -> bool:
    return path.parent == credentials.KEYS and _service() is not None


def keep_key(folder: Path, name: str, key: str) -> Path:
    """A key in a file of its own. Raises Refused if there is already one."""
    path = folder / name
    if _is_credential(path.absolute()):
        return _keep_credential(path, key)
    if path.exists():
        raise Refused(f"{path} already exists: name it with --admin-key-file, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    _give_to_service(folder, 0o750 if _service() else 0o700)
    write(path, key.strip() + "\n", secret=True)
    return path


def _keep_credential(path: Path, key: str) -> Path:
    """Only for root: systemd passes it to the service, and operators in the group cannot see it."""
    if path.exists():
        raise Refused(f"{path} already exists: name it with --admin-key-file, or remove it")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(key.strip() + "\n")
    return path


def mirror(config: Config) -> None:
    """Make the books if there are none, and write the registry into them, so that LPs can be entered at once. A daemon
    that runs does this itself when it reloads."""
    path = config.database.path
    if path.exists() and daemon_is_running(path):
        return
    prepare(path)
    conn = connect(path)
    try:
        with atomic(conn):
            registry.mirror(conn, config, int(time.time()))
    finally:
        conn.close()
    _give_books_to_service(path)


def _service() -> pwd.struct_passwd | None:
    """The daemon's user, if this is root and there is such a user."""
    try:
        return pwd.getpwnam(SERVICE_USER) if os.geteuid() == 0 else None
    except KeyError:
        return None


def _give_to_service(path: Path, mode: int) -> None:
    if (user := _service()) is not None:
        os.chown(path, 0, user.pw_gid)
    path.chmod(mode)


def _give_books_to_service(path: Path) -> None:
    user = _service()
    if user is None:
        return
    files: Iterable[Path] = (path.parent, path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock")))
    for file in files:
        if file.exists():
            os.chown(file, user.pw_uid, user.pw_gid)
            file.chmod(0o2770 if file.is_dir() else 0o660)

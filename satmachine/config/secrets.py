"""Secrets as references: where to find a key, never the key itself (SPEC section 3).

A secret is read only when somebody calls `resolve()`. Its repr, str and every serialisation show where it
comes from; the text of a plain secret is shown as `********`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from satmachine.config import credentials
from satmachine.config.formats import nearest, quoted
from satmachine.config.patience import Hangs, look
from satmachine.errors import ConfigError, KeyHangs, KeyHidden

Kind = Literal["plain", "env", "file", "credential"]

MASK = "********"

#: A key is a line of text. A longer file is something else.
_MAX_SECRET_BYTES = 4096

_FORMS = '"...", { env = "NAME" }, { file = "/path" } or { credential = "name" }'


class Secret:
    """A reference to a key. Secrets are equal if they refer to the same place (or are the same text)."""

    __slots__ = ("_kind", "_place", "_reference", "_source")

    def __init__(self, kind: Kind, reference: str, *, source: str = "secret", place: str = "a secret") -> None:
        self._kind = kind
        self._reference = reference
        self._source = source
        self._place = place

    @classmethod
    def parse(cls, value: object, directory: Path | None = None) -> Secret:
        """Read the TOML form. A relative `file` is taken from `directory`.

        Raises ValueError that completes `key "x" ...` and never repeats a value.
        """
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("is an empty text; write the key, or say where it is: " + _FORMS)
            return cls("plain", value.strip())
        if not isinstance(value, dict):
            raise ValueError("must be a secret: " + _FORMS)  # noqa: TRY004
        kind, reference = _reference(value)
        if kind == "file" and directory is not None:
            reference = str(directory / reference)
        return cls(kind, reference)

    def bind(self, source: str, place: str) -> None:
        """Say in which file and key the secret is written, for its error messages. `load()` does this once."""
        self._source = source
        self._place = place

    @property
    def kind(self) -> Kind:
        """Which of the four forms this is."""
        return self._kind

    @property
    def place(self) -> str:
        """The table and key of this secret, for messages."""
        return self._place

    @property
    def where(self) -> str:
        """For people: where to find the key."""
        return {
            "plain": "the configuration file itself",
            "env": f"environment variable {self._reference}",
            "file": f"file {self._reference}",
            "credential": f"credential {self._reference}",
        }[self._kind]

    def path(self, environ: Mapping[str, str]) -> Path | None:
        """The file with the key; None if it is in no file of its own.

        Raises ConfigError for a credential that is in none of its places, KeyHidden if this user could not see it.
        """
        if self._kind == "file":
            return Path(self._reference)
        if self._kind != "credential":
            return None
        found = credentials.find(self._reference, environ)
        if found is not None:
            return found
        if credentials.only_root_sees(environ):
            raise KeyHidden(self._source, [self._said("which only root and the service can see: run this with sudo")])
        raise self._error(
            f"which the service does not have: put the key into {credentials.KEYS / self._reference} (owner root, mode "
            "600), then: systemctl restart satmachine (a reload is not enough: systemd reads keys at start)"
        )

    def resolve(self, environ: Mapping[str, str] = os.environ) -> str:
        """The key itself, without blanks or line breaks around it.

        Raises ConfigError, with table, key and remedy, if it is missing, empty or unreadable.
        """
        path = self.path(environ)
        if path is not None:
            text = self._read(path)
        elif self._kind == "env":
            found = environ.get(self._reference)
            if found is None:
                raise self._error("which is not set: set it, or use { file = .. } instead")
            text = found
        else:
            text = self._reference
        key = text.strip()
        if not key:
            raise self._error("which is empty: put the key there")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise self._error("which does not contain a key: a key is one word without blanks on a single line")
        return key

    def masked(self) -> str | dict[str, str]:
        """The form for output: the reference as it is written, or a mask for a plain secret."""
        return MASK if self._kind == "plain" else {self._kind: self._reference}

    def _read(self, path: Path) -> str:
        try:
            octets = look(path.parent, lambda: _read_regular(path))
        except FileNotFoundError:
            raise self._error("which does not exist: create it, or correct the name") from None
        except PermissionError:
            raise self._error(
                "which this user may not read: run as the daemon's user, or give it to that user"
            ) from None
        except Hangs:
            problem = "whose file system does not answer: mount it again, or keep the key on this host"
            raise KeyHangs(self._source, [self._said(problem)]) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a file name"
            raise self._error(f"which cannot be read: {reason}") from None
        if octets is None:
            raise self._error(
                "which is not a regular file (but a pipe, a device or a folder): put the key into a plain file"
            )
        if len(octets) > _MAX_SECRET_BYTES:
            raise self._error(f"which is not a key: it is longer than {_MAX_SECRET_BYTES} bytes")
        # What is not text becomes a character that `resolve` refuses.
        return octets.decode("utf-8", errors="replace")

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(self._source, [self._said(problem)])

    def _said(self, problem: str) -> str:
        return f"{self._place} refers to {self.where}, {problem}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return (self._kind, self._reference) == (other._kind, other._reference)

    def __hash__(self) -> int:
        return hash((self._kind, self._reference))

    def __repr__(self) -> str:
        return f"<secret from {self.where}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _validate, serialization=core_schema.plain_serializer_function_ser_schema(cls.masked)
        )


def _read_regular(path: Path) -> bytes | None:
    """The beginning of a regular file; None for anything else, which could make us wait for ever."""
    # Non-blocking, because even opening a pipe would wait for somebody who writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)


def _validate(value: object, info: ValidationInfo) -> Secret:
    return Secret.parse(value, (info.context or {}).get("directory"))


def _reference(table: Mapping[str, object]) -> tuple[Kind, str]:
    """The one entry of `{ env = .. }`, `{ file = .. }` or `{ credential = .. }`."""
    kinds: dict[str, Kind] = {"env": "env", "file": "file", "credential": "credential"}
    for key in table:
        if key not in kinds:
            raise ValueError(f"is a secret and cannot have {quoted(key)}{nearest(key, kinds)}; write it as " + _FORMS)
    if len(table) != 1:
        raise ValueError("must name one place where the secret is: " + _FORMS)
    [(key, reference)] = table.items()
    if not isinstance(reference, str) or not reference.strip() or not reference.isprintable():
        raise ValueError(f'needs a name in quotes after "{key} ="')
    if key == "env" and "=" in reference:
        raise ValueError("needs just the name of the environment variable")
    if key == "credential" and ("/" in reference or reference in {".", ".."}):
        raise ValueError("names a credential with a path: write only the name, as in LoadCredential=")
    return kinds[key], reference

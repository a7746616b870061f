"""Every exception that satmachine raises on purpose, in one tree.

    SatmachineError
    ├── ConfigError            the TOML file or a secret it names is wrong (exit code 3)
    │   └── KeyHangs           a key's file system does not answer: its machine waits, the others continue
    ├── NotFound               no such record, or not this operator's (exit code 1)
    ├── Refused                the record exists, but its state forbids the command (exit code 1)
    ├── StoreError             the database cannot be used as it is (exit code 1)
    │   ├── DatabaseNewer      written by a later satmachine; upgrade the program, not the file
    │   ├── DatabaseBusy       another process kept the write lock for too long
    │   └── DaemonRunning      another daemon owns this database
    └── WalletError            LNbits did not do what was asked (exit code 4)
        ├── WalletUnavailable  nothing is known: try again later (`retry_after_s`)
        └── WalletRefused      refused before anything happened (`status`): a person must act

An *expected* rejection of somebody's input (a bad event, a failed payment) is a value, not an exception.
Messages say what happened, to which machine, file or key, and what to do next; they never contain a secret. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence


class SatmachineError(Exception):
    """The root. `exit_code` is that of the CLI (SPEC section 10)."""

    exit_code = 1


class ConfigError(SatmachineError):
    """Everything that is wrong with a configuration file, at once.

    `problems` holds one sentence each, naming table and key.
    """

    exit_code = 3

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s)\n{lines}")


class KeyHangs(ConfigError):
    """The file system of a key does not answer: the key may be right, but cannot be read now."""


class KeyHidden(ConfigError):
    """A credential that only root and the service can see: it cannot be checked here."""


class NotFound(SatmachineError):
    """No such record in this scope."""


class Refused(SatmachineError):
    """The command is understood, but this record's state does not allow it."""


class StoreError(SatmachineError):
    """The database cannot be used as it is."""


class DatabaseNewer(StoreError):
    """The file was written by a later version of satmachine."""


class DatabaseBusy(StoreError):
    """Another process held the write lock for longer than the busy timeout."""


class DaemonRunning(StoreError):
    """Another daemon owns this database; two payers are never allowed."""


class WalletError(SatmachineError):
    """LNbits did not do what was asked."""

    exit_code = 4


class WalletUnavailable(WalletError):
    """No answer, or one that proves nothing. Whatever was asked may or may not have happened.

    `retry_after_s` is how long to wait at least before asking again, if it is known.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class WalletLied(WalletUnavailable):
    """An answer came, but what it says cannot be so, was not asked for, or is not LNbits' own: asked in another way, it
    may do better."""


class WalletRefused(WalletError):
    """LNbits refused before anything happened (HTTP 400, 401, 403, 404): repeating it will not help."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)

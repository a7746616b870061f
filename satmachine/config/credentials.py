"""Where a credential is. systemd shows credentials only to the service; root finds them on the host.

The unit loads the folder `KEYS` as `key_NAME` (LoadCredential=key:/etc/satmachine/keys), and a drop-in may name others.
Inside the service all of them are in $CREDENTIALS_DIRECTORY. A command that root runs looks where the service has them,
and then at the files from which they come.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

#: A file here, named like the credential, is passed to the service by its unit.
KEYS = Path("/etc/satmachine/keys")
#: The unit's prefix for what comes from that folder: systemd puts `key_` before each file's name.
PREFIX = "key_"

#: What the running service was given; only root and the service can read it.
_GIVEN = Path("/run/credentials/satmachine.service")
_UNITS = tuple(Path(root) / "systemd/system" for root in ("/etc", "/usr/local/lib", "/usr/lib", "/lib"))


def find(name: str, environ: Mapping[str, str]) -> Path | None:
    """The file with this credential; None if there is none that this user can see."""
    return next((path for path in _places(name, environ) if _is_there(path)), None)


def only_root_sees(environ: Mapping[str, str]) -> bool:
    """Whether this process cannot know: it is neither the service nor root."""
    return not environ.get("CREDENTIALS_DIRECTORY") and os.geteuid() != 0


def _places(name: str, environ: Mapping[str, str]) -> Iterator[Path]:
    if given := environ.get("CREDENTIALS_DIRECTORY"):
        yield from (Path(given) / name, Path(given) / f"{PREFIX}{name}")
        return
    yield from (_GIVEN / name, _GIVEN / f"{PREFIX}{name}", KEYS / name)
    yield from _named_in_units(name)


def _named_in_units(name: str) -> Iterator[Path]:
    """The files that the unit and its drop-ins name for it: LoadCredential=NAME:/path."""
    line = re.compile(rf"(?m)^LoadCredential={re.escape(name)}:(/.+?)\s*$")
    for folder in _UNITS:
        for unit in (folder / "satmachine.service", *sorted(folder.glob("satmachine.service.d/*.conf"))):
            try:
                text = unit.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            yield from (Path(found[1]) for found in line.finditer(text))


def _is_there(path: Path) -> bool:
    """Also if it may not be read: the error comes when it is read."""
    try:
        return path.exists()
    except OSError:
        return False

"""From a TOML file to a `Config`, or to a list of everything that is wrong with it (SPEC section 3).

Reads the one file and no secret. pydantic's errors are translated into sentences for operators.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any, get_args

import tomli
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from satmachine.config.crosscheck import cross_problems
from satmachine.config.formats import nearest, quoted
from satmachine.config.key_places import place_of
from satmachine.config.model import Config, Location, secrets_of
from satmachine.errors import ConfigError

DEFAULT_PATH = Path("/etc/satmachine/config.toml")

Document = dict[str, Any]

#: What each of pydantic's complaints about a type asks for.
_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "bool_type": "true or false, without quotes",
    "model_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list in square brackets",
}


def named_config(option: Path | None, environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Which file is meant, and who says so: `--config`, else $SATMACHINE_CONFIG, else /etc/satmachine/config.toml."""
    if option is not None:
        return option, "named by --config"
    if named := environ.get("SATMACHINE_CONFIG"):
        return Path(named), "named by $SATMACHINE_CONFIG"
    return DEFAULT_PATH, "the default"


def find_config(option: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Which file to read: see `named_config`. Raises ConfigError where that file does not exist."""
    path, chosen_by = named_config(option, environ)
    try:
        exists = path.exists()
    except OSError:
        exists = True  # It is there but out of reach: `load` says so.
    if not exists:
        init = "satmachine init" if option is None else f"satmachine --config {shlex.quote(str(path))} init"
        raise ConfigError(
            str(path),
            [
                f"this file ({chosen_by}) does not exist: `{init}` asks what is needed and writes it. "
                "Is it another file? Name it with --config FILE or $SATMACHINE_CONFIG"
            ],
        )
    return path


def load(path: Path, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and validate a file. Raises ConfigError with all its problems at once.

    No secret is read here; `environ` is where `check_secrets()` will look for them.
    """
    path = path.absolute()
    with _uncollected():
        document = _read_toml(path)
        config, problems = _validate(document, path.parent)
        problems += cross_problems(document)
        if config is None or problems:
            raise ConfigError(str(path), problems)
        config.bind(path, environ)
        for location, secret in secrets_of(config):
            secret.bind(str(path), place_of(document, location))
    return config


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: the tables of ten thousand machines are no garbage, and hold no cycles, but it
    would go through all of them again and again while they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_toml(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            return tomli.load(file, parse_float=Decimal)
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        remedy = "run as a user who may read it" if isinstance(error, PermissionError) else "check the name"
        problem = f"the file cannot be read ({reason}): {remedy}"
    except UnicodeDecodeError as error:
        problem = f"the file is not UTF-8 text (byte {error.start + 1}): save it as UTF-8"
    except tomli.TOMLDecodeError as error:
        problem = f"the file is not valid TOML: {error}"
    except (DecimalException, ValueError):
        # tomli reads numbers and dates with `int`, `Decimal` and `datetime`, and lets their errors through.
        problem = "the file is not valid TOML: it holds a number or a date that is out of all bounds"
    except RecursionError:
        problem = "the file is not valid TOML: brackets are nested too deeply"
    raise ConfigError(str(path), [problem])


def _validate(document: Document, directory: Path) -> tuple[Config | None, list[str]]:
    try:
        return Config.model_validate(document, context={"directory": directory}), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, [_sentence(document, detail) for detail in details]


def _sentence(document: Document, detail: ErrorDetails) -> str:
    """One of pydantic's errors in the words of an operator. Never repeats a value that might be a secret."""
    location: Location = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(document, location)
        case "missing":
            return _missing_key(document, location)
        case "value_error":
            problem = str(detail["ctx"]["error"])
        case "literal_error":
            problem = f"must be one of {detail['ctx']['expected']}".replace("'", '"')
        case "greater_than_equal":
            problem = f"must be at least {detail['ctx']['ge']}, not {detail['input']}"
        case "less_than_equal":
            problem = f"must be at most {detail['ctx']['le']}"
        case "tuple_type" if isinstance(detail["input"], dict):
            name = ".".join(str(step) for step in location if isinstance(step, str))
            problem = f"must be written with double brackets, because there can be several: [[{name}]]"
        case other:
            problem = f"must be {_WANTED.get(other, 'something else')}, not {_found(detail['input'])}"
    return f"{place_of(document, location)} {problem}"


def _unknown_key(document: Document, location: Location) -> str:
    *parents, key = location
    known = _known_keys(tuple(parents))
    hint = nearest(str(key), known) or f"; known are {', '.join(known)}"
    if parents:
        return f"{place_of(document, location)} is unknown{hint}"
    kind = "table" if isinstance(document[str(key)], dict | list) else "key"
    return f"{kind} {quoted(str(key))} at the top level is unknown{hint}"


def _missing_key(document: Document, location: Location) -> str:
    place = place_of(document, location) if len(location) > 1 else f"table [{location[0]}]"
    return f"{place} is missing: add it, as config.example.toml shows it"


def _known_keys(location: Location) -> list[str]:
    """The keys of the table at a location, from the models."""
    model: type[BaseModel] = Config
    for step in location:
        if isinstance(step, str):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _model_in(fields[step].annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in a type like `tuple[Split, ...]` or `Payee | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _found(value: object) -> str:
    """What kind of thing stands there, in the words of TOML; never the thing itself."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (Decimal, "a number with decimals"),
        ((date, time), "a date or time"),
        (list, "a list"),
        (dict, "a table"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "what stands there")

"""Secrets: four ways to name one, no way to see one."""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.config import Config, Payee, Secret, check_secrets, credentials, secrets
from satmachine.config.as_text import to_json, to_text
from satmachine.errors import ConfigError, KeyHidden
from testkit.config_files import ENVIRON, VALID, changed, load_text

PLANTED = "d0ab1eface" * 3


def config_with(folder: Path, toml: str) -> Config:
    """VALID, with the machine's admin key written like this."""
    return load_text(folder, changed('{ env = "WALLET_1" }', toml))


def admin_key(config: Config) -> Secret:
    return config.machines[0].wallet.admin_key


@pytest.mark.parametrize(
    ("toml", "where"),
    [
        (f'"{PLANTED}"', "the configuration file itself"),
        ('{ env = "PLANTED" }', "environment variable PLANTED"),
        ('{ file = "key" }', "file {folder}/key"),
        ('{ credential = "key" }', "credential key"),
    ],
)
def test_a_secret_is_found_in_each_of_four_places(toml: str, where: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"  {PLANTED}\r\n")
    secret = admin_key(config_with(tmp_path, toml))
    environ = {"PLANTED": PLANTED + "\n", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secret.resolve(environ) == PLANTED
    assert secret.where == where.format(folder=tmp_path)


def test_a_file_is_loaded_without_any_of_its_secrets(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID, environ={})
    assert len(list(config.secrets())) == 3
    assert len(check_secrets(config)) == 3


@pytest.mark.parametrize(
    ("toml", "content", "sentence"),
    [
        ('{ env = "X" }', None, "environment variable X, which is not set: set it"),
        ('{ env = "EMPTY" }', None, "environment variable EMPTY, which is empty"),
        ('{ file = "key" }', None, "/key, which does not exist: create it, or correct the name"),
        ('{ file = "key" }', b" \n", "/key, which is empty: put the key there"),
        ('{ file = "key" }', b"a\nb", "a key is one word without blanks on a single line"),
        ('{ file = "key" }', b"\xff\xfe", "which does not hold a key"),
        ('{ file = "key" }', b"a" * 5000, "which is no key: it is longer than 4096 bytes"),
        ('{ file = "/" }', None, "which is no regular file"),
        ('{ credential = "key" }', b"k", "credential key, which the service has not got: put the key into"),
        ('"a b"', None, "the configuration file itself, which does not hold a key"),
    ],
)
def test_a_secret_that_is_not_there_is_named_with_table_key_and_remedy(
    toml: str, content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    config = config_with(tmp_path, toml)
    with pytest.raises(ConfigError) as caught:
        admin_key(config).resolve({"EMPTY": ""})
    assert caught.value.source == str(config.path)
    [problem] = caught.value.problems
    assert problem.startswith('[[machines]] "panajachel-1": key "wallet.admin_key" refers to ')
    assert sentence in problem


def test_a_key_file_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    secret = admin_key(config_with(tmp_path, '{ file = "key" }'))
    monkeypatch.setattr(secrets, "_read_regular", refuse)  # root, who may read everything, runs the tests too
    with pytest.raises(ConfigError, match="which this user may not read: run as the daemon's user"):
        secret.resolve({})


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_key_file_that_everybody_may_use_comes_with_the_chmod(mode: int, open_to_all: bool, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(PLANTED)
    key.chmod(mode)
    problems = check_secrets(config_with(tmp_path, '{ file = "key" }'), ENVIRON)
    assert [problem.rpartition(": ")[2] for problem in problems] == [f"chmod o= {key}"] * open_to_all


@pytest.mark.parametrize(("key", "well"), [("11" * 32, True), ("abc", False), ("00" * 32, False)])
def test_the_nostr_key_is_checked_for_what_it_is(key: str, well: bool, tmp_path: Path) -> None:
    config = load_text(tmp_path, changed("[nostr]", '[nostr]\nsecret_key = { env = "NSEC" }'))
    problems = check_secrets(config, ENVIRON | {"NSEC": key})
    assert (problems == []) is well
    assert key not in "".join(problems)


@pytest.mark.parametrize("toml", [f'"{PLANTED}"', '{ env = "PLANTED" }', '{ file = "key" }', '{ credential = "key" }'])
def test_a_secret_shows_nowhere(
    toml: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(PLANTED)
    monkeypatch.setenv("PLANTED", PLANTED)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = config_with(tmp_path, toml)
    secret = admin_key(config)
    secret.resolve()
    logging.getLogger().warning("%s %r", config, secret)
    shown = [
        *(form(value) for form in (str, repr) for value in (secret, config, config.machines, copy.deepcopy(config))),
        repr(config.model_dump()),
        config.model_dump_json(),
        json.dumps(to_json(config)),
        to_text(config),
        caplog.text,
        f"{secret}",
        secret.where,
    ]
    assert PLANTED not in "".join(shown)


def test_a_wrong_value_in_the_place_of_a_secret_is_not_repeated(tmp_path: Path) -> None:
    texts = [
        changed('{ admin_key = { env = "WALLET_1" } }', f'"{PLANTED}"'),
        changed('{ env = "WALLET_1" }', f'["{PLANTED}"]'),
        changed('{ env = "WALLET_1" }', f'"{PLANTED}"\n{PLANTED} = 1 x'),
        changed('{ lightning_address = "tech@example.org" }', f'"{PLANTED}"'),
        changed('"tech@example.org"', f'"{PLANTED}"'),
    ]
    for text in texts:
        with pytest.raises(ConfigError) as caught:
            load_text(tmp_path, text)
        assert PLANTED not in str(caught.value)
        assert caught.value.__context__ is None


def test_secrets_are_equal_by_reference() -> None:
    a, b = Secret.parse({"env": "A"}), Secret.parse({"env": "A"})
    assert a == b
    assert hash(a) == hash(b)
    assert a != Secret.parse({"env": "B"})
    assert a != Secret.parse({"credential": "A"})
    assert a != "A"


@pytest.mark.parametrize(
    ("payee", "kind", "description"),
    [
        ({"invoice_key": PLANTED}, "invoice_key", "LNbits wallet (key from the configuration file itself)"),
        ({"invoice_key": {"env": "A"}}, "invoice_key", "LNbits wallet (key from environment variable A)"),
        ({"lightning_address": "Tech@Example.org"}, "lightning_address", "tech@example.org"),
        (
            {"lnurl": "lightning:LNURL1DP68GURN8GHJ7URP0YHX27RPD4CXCEFWDAEXWTMNDPHHQ5YVC0U"},
            "lnurl",
            "LNURL of pay.example.org",
        ),
    ],
)
def test_a_payee_describes_itself_without_a_secret(payee: dict[str, object], kind: str, description: str) -> None:
    found = Payee.model_validate(payee)
    assert (found.kind, found.describe()) == (kind, description)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_anything_is_a_secret_or_a_value_error(value: object) -> None:
    try:
        parsed = str(Secret.parse(value))
    except ValueError as error:
        parsed = str(error)
    assert parsed


def test_a_pipe_or_a_device_is_no_key_file_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Opening a pipe waits for whoever writes into it: the daemon's loop would stand still."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path / "link", tmp_path / "folder", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="which is no regular file"):
            Secret("file", str(place)).resolve({})
    (tmp_path / "key").write_text(PLANTED)
    (tmp_path / "to-key").symlink_to(tmp_path / "key")
    assert Secret("file", str(tmp_path / "to-key")).resolve({}) == PLANTED


class Host:
    """A host whose folders of keys and units lie below a temporary one; the caller is root, or not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys, self.given, self.units = folder / "keys", folder / "given", folder / "units"
        for path in (self.keys, self.given, self.units):
            path.mkdir()
        monkeypatch.setattr(credentials, "KEYS", self.keys)
        monkeypatch.setattr(credentials, "_GIVEN", self.given)
        monkeypatch.setattr(credentials, "_UNITS", (self.units,))
        self._patch = monkeypatch
        self.as_root(True)

    def as_root(self, root: bool) -> None:
        self._patch.setattr(os, "geteuid", lambda: 0 if root else 1000)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


SECRET = Secret.parse({"credential": "m1"})


def test_root_finds_a_credential_where_the_service_has_it_and_then_where_it_comes_from(host: Host) -> None:
    drop_in = host.units / "satmachine.service.d" / "keys.conf"
    drop_in.parent.mkdir()
    elsewhere = host.units / "elsewhere"
    elsewhere.write_text("of-a-drop-in")
    drop_in.write_text(f"[Service]\nLoadCredential=m10:/nowhere\nLoadCredential=m1:{elsewhere}\n")
    assert SECRET.resolve({}) == "of-a-drop-in"
    (host.keys / "m1").write_text("of-the-folder")
    assert SECRET.resolve({}) == "of-the-folder"
    (host.given / "key_m1").write_text("as-the-service-has-it")
    assert SECRET.resolve({}) == "as-the-service-has-it"


def test_within_the_service_the_folder_of_keys_is_found_by_its_prefix(host: Host) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(host.given)}
    (host.keys / "m1").write_text("not-seen-from-within")
    with pytest.raises(ConfigError, match=r"the service has not got: put the key into .*keys/m1 .*restart satmachine"):
        SECRET.resolve(environ)
    (host.given / "key_m1").write_text("handed-over")
    assert SECRET.resolve(environ) == "handed-over"


def test_what_only_root_sees_is_hidden_and_not_wrong(host: Host) -> None:
    host.as_root(False)
    with pytest.raises(KeyHidden, match="run this with sudo"):
        SECRET.resolve({})
    host.as_root(True)
    with pytest.raises(ConfigError, match="has not got") as told:
        SECRET.resolve({})
    assert not isinstance(told.value, KeyHidden)

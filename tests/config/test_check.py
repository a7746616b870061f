"""Warnings, and conflicts that show only when secrets are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from satmachine.config import check_secrets, key_problems, wallet_conflicts, warnings
from testkit.config_files import ENVIRON, SECOND, VALID, changed, load_text


def test_a_good_file_has_no_warnings_and_no_conflicts(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    assert (warnings(config), check_secrets(config), wallet_conflicts(config)) == ([], [], [])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("wss://relay.two", "ws://relay.two", "relay ws://relay.two.example is not encrypted"),
        ("https://lnbits", "http://lnbits", "[lnbits]: http://lnbits.example.org is not encrypted"),
        ("[nostr]", "[lnurl]\nallow_private_hosts = true\n[nostr]", "[lnurl]: allow_private_hosts is true"),
        ("[nostr]", "[payouts]\npaused = true\n[nostr]", "[payouts]: paused is true"),
        ("[nostr]", "[payouts]\nrequire_payment_proof = false\n[nostr]", "on the machine's word alone"),
        ('payee = { invoice_key = { env = "SUPER_KEY" } }', "", "[super]: fee_pct is set, but no payee"),
        ('relays = ["wss://relay.one.example", "wss://relay.two.example"]', "relays = []", "it has no relay"),
        ("fallback_commission_pct = 0.05", "fallback_commission_pct = 0.3", "is above max_commission_pct"),
    ],
)
def test_what_deserves_a_second_look_is_a_warning(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    [warning] = warnings(load_text(tmp_path, changed(old, new)))
    assert sentence in warning


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "relay.localhost"])
def test_nobody_listens_on_the_loopback(host: str, tmp_path: Path) -> None:
    text = changed("wss://relay.two.example", f"ws://{host}:7000")
    assert warnings(load_text(tmp_path, changed("https://lnbits.example.org", f"http://{host}:5000", text))) == []


def test_a_machine_without_splits_and_a_file_without_machines_are_warned_about(tmp_path: Path) -> None:
    head, _, machine = VALID.partition("[[machines]]")
    before, _, _ = head.partition("[[operators]]")
    no_splits = before + '[[operators]]\nid = "atitlan"\nname = "A"\n[[machines]]' + machine
    assert "neither it nor its operator has splits" in warnings(load_text(tmp_path, no_splits))[0]
    assert "there is nothing to do" in warnings(load_text(tmp_path, before))[0]


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o644, 1)])
def test_plain_secrets_in_an_open_file_come_with_the_chmod(mode: int, count: int, tmp_path: Path) -> None:
    config = load_text(tmp_path, changed('{ env = "OWNER_KEY" }', '"abc"'))
    config.path.chmod(mode)
    found = warnings(config)
    assert [warning.rpartition(": ")[2] for warning in found] == [f"chmod 600 {config.path}"] * count


def test_an_open_file_without_plain_secrets_is_all_right(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID)
    config.path.chmod(0o644)
    assert warnings(config) == []


def test_a_file_or_folder_that_others_may_write_comes_with_the_chmod(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID)
    config.path.chmod(0o646)
    [warning] = warnings(config)
    assert warning.endswith(f"chmod o-w {config.path}")
    config.path.chmod(0o600)
    tmp_path.chmod(0o777)
    [warning] = warnings(config)
    assert warning.endswith(f"chmod o-w {tmp_path}")


def test_two_references_to_one_wallet_key_are_a_conflict(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    [problem] = wallet_conflicts(config, ENVIRON | {"WALLET_2": ENVIRON["WALLET_1"]})
    assert problem.startswith('[[machines]] "solola-1": key "wallet.admin_key" is the same wallet key as that of ')
    assert ENVIRON["WALLET_1"] not in problem


@pytest.mark.parametrize("payee", ["SUPER_KEY", "OWNER_KEY"])
def test_a_payee_that_is_a_machines_wallet_is_a_conflict(payee: str, tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    [problem] = wallet_conflicts(config, ENVIRON | {payee: ENVIRON["WALLET_2"]})
    assert 'is the admin key of machine "solola-1"' in problem


def test_secrets_that_cannot_be_read_are_no_conflict(tmp_path: Path) -> None:
    assert wallet_conflicts(load_text(tmp_path, VALID + SECOND), {}) == []


def test_the_keys_are_looked_at_for_both_at_once(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    shared = ENVIRON | {"WALLET_2": ENVIRON["WALLET_1"]}
    assert key_problems(config, ENVIRON) == []
    assert key_problems(config, shared) == wallet_conflicts(config, shared)
    missing = {name: key for name, key in shared.items() if name != "SUPER_KEY"}
    assert key_problems(config, missing) == check_secrets(config, missing) != []

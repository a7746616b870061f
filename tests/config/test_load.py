"""What a file may say, and what is said about a file that is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.config import find_config, load
from satmachine.config.crosscheck import cross_problems
from satmachine.config.load import _validate
from satmachine.config.model import Super
from satmachine.errors import ConfigError
from testkit.config_files import LNURL, SECOND, VALID, changed, load_text, npub, problems_of

MACHINE = '[[machines]] "panajachel-1": key '

#: What is replaced in VALID, by what, and the whole sentence (or its beginning) that must come of it.
BAD_VALUES = [
    # unknown and missing keys
    ('currency = "GTQ"', 'curency = "GTQ"', MACHINE + '"curency" is unknown; did you mean "currency"?'),
    ('currency = "GTQ"', "", MACHINE + '"currency" is missing: add it, as config.example.toml shows it'),
    ("[super]", "[supper]", 'table "supper" at the top level is unknown; did you mean "super"?'),
    ("[database]", "x = 1\n[database]", 'key "x" at the top level is unknown; known are database, nostr, '),
    ("[database]", 'path = "x"\n[database]', 'key "path" at the top level is unknown; '),
    ("path =", "pathh =", '[database]: key "pathh" is unknown; did you mean "path"?'),
    ('label = "owner"', 'lable = "owner"', '[[operators.splits]] number 1 of "atitlan": key "label" is missing: '),
    ('[lnbits]\nurl = "https://lnbits.example.org"', "", "table [lnbits] is missing: add it, "),
    ("fee_pct = 0.30", "", '[super]: key "fee_pct" is missing: '),
    ("{ lightning_address =", "{ lightning =", 'key "payee.lightning" is unknown; did you mean "lightning_address"?'),
    # types
    ('path = "satmachine.db"', "path = 5", '[database]: key "path" must be the name of a file in quotes, '),
    ("relays = [", 'relays = "wss://x.example" #',
     '[nostr]: key "relays" must be a list in square brackets, not text'),
    ('"wss://relay.two.example"', "5", '[nostr]: key "relays", entry 2 must be text in quotes, not a whole number'),
    ('name = "Panajachel market"', "name = true", MACHINE + '"name" must be text in quotes, not true or false'),
    ('wallet = {', 'wallet = "x" # {', MACHINE + '"wallet" must be a table, not text'),
    ("[[operators]]", "[operators]",
     '[operators] must be written with double brackets, because there can be several: [[operators]]'),
    ("[lnbits]", "[payouts]\npaused = 1\n[lnbits]",
     '[payouts]: key "paused" must be true or false, without quotes, '),
    ("[lnbits]", "[lnbits]\ntimeout_s = 1.5", '[lnbits]: key "timeout_s" must be a whole number, not a number with '),
    ("[lnbits]", "[lnbits]\ntimeout_s = true", '[lnbits]: key "timeout_s" must be a whole number, not true or false'),
    # bounds
    ("[lnbits]", "[lnbits]\npay_timeout_s = 59", '[lnbits]: key "pay_timeout_s" must be at least 60, not 59'),
    ("[lnbits]", "[reconcile]\ninterval_s = 4\n[lnbits]", '[reconcile]: key "interval_s" must be at least 5, not 4'),
    ("[lnbits]", "[payouts]\ninvoice_expiry_s = 60\n[lnbits]",
     '[payouts]: key "invoice_expiry_s" must be at least 3600'),
    ("[nostr]", "[nostr]\nmax_event_bytes = 1", '[nostr]: key "max_event_bytes" must be at least 16384'),
    ("[nostr]", f"[nostr]\nmax_future_s = {10**30}", '[nostr]: key "max_future_s" must be at most '),
    ("[nostr]", '[payouts]\nrouting_fees = "me"\n[nostr]',
     '[payouts]: key "routing_fees" must be one of "payee" or '),
    # pcts
    ("fee_pct = 0.30", "fee_pct = 30", '[super]: key "fee_pct" must be between 0 and 1; 5 percent is written as'),
    ("fee_pct = 0.30", "fee_pct = -0.1", '[super]: key "fee_pct" must be between 0 and 1'),
    ("fee_pct = 0.30", "fee_pct = nan", '[super]: key "fee_pct" must be between 0 and 1'),
    ("fee_pct = 0.30", "fee_pct = 1e999999", '[super]: key "fee_pct" must be between 0 and 1'),
    ("fee_pct = 0.30", "fee_pct = 1e-19", '[super]: key "fee_pct" must have at most 18 decimals'),
    ("fee_pct = 0.30", 'fee_pct = "0.3"', '[super]: key "fee_pct" must be a number between 0 and 1 without quotes'),
    ("fee_pct = 0.30", "fee_pct = true", '[super]: key "fee_pct" must be a number between 0 and 1 without quotes'),
    ("pct = 0.3\n", "pct = 0.29999\n", '[[operators]] "atitlan": key "splits" must have pcts that sum to exactly 1, '
     "but they sum to 0.99999"),
    ("pct = 0.3\n", "pct = 0.31\n",
     '[[operators]] "atitlan": key "splits" must have pcts that sum to exactly 1, but '),
    # names
    ('id = "atitlan"', 'id = "Atitlan"',
     '[[operators]] "Atitlan": key "id" must be at most 64 small letters, digits'),
    ('id = "panajachel-1"', f'id = "{"a" * 65}"', 'key "id" must be at most 64 small letters'),
    ('id = "panajachel-1"', 'id = "-a"', 'key "id" must be at most 64 small letters'),
    ('id = "panajachel-1"', 'id = "a\\n"', 'key "id" must be at most 64 small letters'),
    ('label = "technician"', 'label = "owner"',
     '[[operators]] "atitlan": key "splits" has the label "owner" more than '),
    ('name = "Panajachel market"', 'name = " "', MACHINE + '"name" must be a name on one line'),
    ('currency = "GTQ"', 'currency = "gtq"',
     'key "currency" must be a currency code of ISO 4217 like "GTQ" or "USD", '
     'not "gtq"; write "GTQ"'),
    ('currency = "GTQ"', 'currency = "XXX"', 'key "currency" must be a currency code of ISO 4217'),
    # keys and payees
    (npub(1), npub(1)[:-1] + "x", MACHINE + '"npub" must be the public key that the machine shows, "npub1..."'),
    (npub(1), "nsec1abc", MACHINE + '"npub" is a SECRET key: take it out of this file'),
    ('payee = { lightning_address = "tech@example.org" }', "payee = {}",
     '"technician" of "atitlan": key "payee" must have exactly one of "invoice_key", "lightning_address" and "lnurl"'),
    ("{ lightning_address =", f'{{ lnurl = "{LNURL}", lightning_address =', 'key "payee" must have exactly one of '),
    ("tech@example.org", "tech", 'key "payee.lightning_address" must be a Lightning address like "name@example.org"'),
    ("tech@example.org", "tech@example", 'key "payee.lightning_address" must be a Lightning address'),
    ('lightning_address = "tech@example.org"', f'lnurl = "{LNURL[:-1]}"', 'key "payee.lnurl" must be an LNURL'),
    # secrets
    ('{ env = "OWNER_KEY" }', '{ fil = "x" }',
     'key "payee.invoice_key" is a secret and cannot have "fil"; did you mean '
     '"file"?'),
    ('{ env = "OWNER_KEY" }', '{ env = "A", file = "b" }', "must name one place where the secret is"),
    ('{ env = "OWNER_KEY" }', "{ env = 5 }", 'key "payee.invoice_key" needs a name in quotes after "env ="'),
    ('{ env = "OWNER_KEY" }', '{ env = "A=B" }', "needs just the name of the environment variable"),
    ('{ env = "OWNER_KEY" }', '{ credential = "../x" }', 'names a credential with a path: write only the name'),
    ('{ env = "OWNER_KEY" }', "{}", "must name one place where the secret is"),
    ('{ env = "OWNER_KEY" }', "5", 'key "payee.invoice_key" must be a secret: '),
    ('{ env = "OWNER_KEY" }', '""', 'key "payee.invoice_key" is an empty text'),
    # addresses
    ("wss://relay.two.example", "https://relay.example",
     '[nostr]: key "relays", entry 2 must be an address like "wss://'),
    ("wss://relay.two.example", "wss://", '[nostr]: key "relays", entry 2 must be an address'),
    ("wss://relay.two.example", "wss://a.example:99999", '[nostr]: key "relays", entry 2 must be an address'),
    ("wss://relay.two.example", "wss://[::1", '[nostr]: key "relays", entry 2 must be an address'),
    ("wss://relay.two.example", "wss://me:pw@a.example", "entry 2 must not contain a user name or password"),
    ("https://lnbits.example.org", "lnbits.example.org", '[lnbits]: key "url" must be an address like "https://'),
    ("https://lnbits.example.org", "https://lnbits.example.org?x=1", '[lnbits]: key "url" must be the plain address'),
    ("https://lnbits.example.org", "https://lnbits.example.org#x", '[lnbits]: key "url" must not contain a "#"'),
    # times
    ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00",
     MACHINE + '"payouts_since" must have a time zone: end it with "Z"'),
    ("2026-11-22T00:00:00Z", "2026-11-22", MACHINE + '"payouts_since" must be a full date and time'),
    ("2026-11-22T00:00:00Z", '"2026-11-22T00:00:00Z"',
     MACHINE + '"payouts_since" must be a date and time without quotes'),
    ("2026-11-22T00:00:00Z", "1795305600", MACHINE + '"payouts_since" must be a date and time without quotes'),
    ("2026-11-22T00:00:00Z", "1969-01-01T00:00:00Z", MACHINE + '"payouts_since" must not be before 1970'),
    # between tables
    ('operator = "atitlan"', 'operator = "atitlam"',
     MACHINE + '"operator" names "atitlam", but there is no such operator'
     '; did you mean "atitlan"?'),
    ('currency = "GTQ"', 'currency = "GTQ"\nencrypted = true',
     MACHINE + '"encrypted" is true, which needs a "secret_key"'),
    ('env = "OWNER_KEY"', 'env = "WALLET_1"',
     '[[operators.splits]] "owner" of "atitlan": key "payee.invoice_key" is the '
     'admin key of [[machines]] "panajachel-1": a payee cannot be a machine\'s own wallet'),
    ('env = "SUPER_KEY"', 'env = "WALLET_1"', '[super]: key "payee.invoice_key" is the admin key of [[machines]] '),
]  # fmt: skip

#: What is replaced in SECOND, so that it contradicts the first machine.
BAD_SECOND = [
    ('id = "solola-1"', 'id = "panajachel-1"', 'key "id" is the same as that of [[machines]] number 1: it must be '),
    (npub(2), npub(1), '[[machines]] "solola-1": key "npub" is the same as that of [[machines]] number 1'),
    (npub(2), npub(1).upper(), '[[machines]] "solola-1": key "npub" is the same as that of [[machines]] number 1'),
    ("WALLET_2", "WALLET_1", '[[machines]] "solola-1": key "wallet.admin_key" is the same as that of [[machines]] '
     '"panajachel-1": two machines never share a wallet'),
]  # fmt: skip

NOT_TOML = [
    (b"x = ", "the file is not valid TOML: Invalid value (at end of document)"),
    (b"[a]\nb = 1\nb = 2\nc = 3", "(at line 3, column 6)"),
    (b"a = \xff", "the file is not UTF-8 text (byte 5)"),
    (b"a = 1e99999999999999999999999", "a number or a date that is far too large"),
    (b"a = " + b"1" * 5000, "a number or a date that is far too large"),
    (b"a = 2026-02-30T00:00:00Z", "Invalid date or datetime"),
    (b"a = " + b"[" * 100_000, "the file is not valid TOML: "),
]


@pytest.mark.parametrize(("old", "new", "sentence"), BAD_VALUES)
def test_a_bad_value_is_named_with_table_key_and_remedy(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, changed(old, new))
    assert any(sentence in problem for problem in problems), problems


@pytest.mark.parametrize(("old", "new", "sentence"), BAD_SECOND)
def test_machines_that_contradict_each_other_are_refused(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, VALID + changed(old, new, SECOND))
    assert len(problems) == 1
    assert sentence in problems[0]


@pytest.mark.parametrize(("content", "sentence"), NOT_TOML)
def test_what_is_not_toml_is_named_with_its_position(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert sentence in caught.value.problems[0]


def test_all_problems_come_at_once_even_across_tables(tmp_path: Path) -> None:
    text = changed("fee_pct = 0.30", "fee_pct = 30")
    text = changed('operator = "atitlan"', 'operator = "x"', text)
    text = changed('currency = "GTQ"', 'curency = "GTQ"', text)
    assert len(problems_of(tmp_path, text)) == 4  # the key that is unknown is also one that is missing


def test_no_sentence_speaks_pydantic(tmp_path: Path) -> None:
    said = " ".join(" ".join(problems_of(tmp_path, changed(old, new))) for old, new, _ in BAD_VALUES)
    for word in ("Input should", "valid dict", "Value error", "pydantic", "NoneType", "something else"):
        assert word not in said


def test_values_arrive_exactly(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    assert config.path == tmp_path / "config.toml"
    assert config.database.path == tmp_path / "satmachine.db"
    assert config.super_.fee_pct == Decimal("0.30")
    assert type(config.machines[1].fallback_commission_pct) is Decimal
    assert config.machines[0].payouts_since == 1_795_305_600
    assert config.machines[1].payouts_since == 1_795_305_600 + 6 * 3600
    assert config.machines[0].wallet.admin_key.where == "environment variable WALLET_1"


def test_only_lnbits_and_relays_are_required(tmp_path: Path) -> None:
    config = load_text(tmp_path, '[nostr]\nrelays = []\n[lnbits]\nurl = "https://lnbits.example.org/"')
    assert config.machines == ()
    assert config.super_ == Super(fee_pct=Decimal(0))
    assert config.lnbits.url == "https://lnbits.example.org"
    assert config.database.path == Path("/var/lib/satmachine/satmachine.db")


def test_machines_and_operators_are_found_by_id_and_key(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID + SECOND)
    machine = config.machines[1]
    assert config.machine("solola-1") is machine
    assert config.machine_by_pubkey(machine.pubkey) is machine
    assert config.operator("atitlan") is config.operators[0]
    assert config.machine("x") is None
    assert config.machine_by_pubkey("00" * 32) is None
    assert config.operator("x") is None


def test_the_machines_own_splits_come_before_the_operators(tmp_path: Path) -> None:
    own = '[[machines.splits]]\nlabel = "shop"\npct = 1\npayee = { lnurl = "' + LNURL.upper() + '" }\n'
    second_operator = '[[operators]]\nid = "other"\nname = "Other"\n'
    text = VALID + own + changed('operator = "atitlan"', 'operator = "other"', SECOND) + second_operator
    config = load_text(tmp_path, text)
    first, second = (config.ruleset(machine) for machine in config.machines)
    assert (first.source, [split.label for split in first.splits]) == ("machine", ["shop"])
    assert first.splits[0].payee.lnurl == LNURL
    assert (second.source, second.splits) == ("none", ())
    default = load_text(tmp_path, VALID)
    assert default.ruleset(default.machines[0]).source == "operator"


def test_the_same_relay_written_differently_is_one_relay(tmp_path: Path) -> None:
    text = changed('"wss://relay.two.example"', '"WSS://Relay.One.Example:443/"')
    text += 'relays = ["wss://relay.one.example", "ws://relay:7777/path/"]'
    config = load_text(tmp_path, text)
    assert config.nostr.relays == ("wss://relay.one.example",)
    assert config.relays_of(config.machines[0]) == ("wss://relay.one.example", "ws://relay:7777/path")


def test_two_loads_of_one_file_are_equal_and_a_change_shows(tmp_path: Path) -> None:
    assert load_text(tmp_path, VALID) == load_text(tmp_path, VALID)
    assert load_text(tmp_path, VALID) != load_text(tmp_path, changed("0.30", "0.31"))


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_text(tmp_path, VALID).super_.fee_pct = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "environ", "found"),
    [
        ("a.toml", {"SATMACHINE_CONFIG": "b.toml"}, "a.toml"),
        (None, {"SATMACHINE_CONFIG": "b.toml"}, "b.toml"),
    ],
)
def test_the_option_comes_before_the_environment(
    option: str | None, environ: dict[str, str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / found).touch()
    assert find_config(Path(option) if option else None, environ) == Path(found)


@pytest.mark.parametrize(
    ("option", "environ", "named"),
    [
        (Path("/nowhere/a.toml"), {}, "named by --config"),
        (None, {"SATMACHINE_CONFIG": "/nowhere/b.toml"}, "named by $SATMACHINE_CONFIG"),
    ],
)
def test_a_missing_file_is_an_error_that_says_what_to_do(
    option: Path | None, environ: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=r"init` asks for what it needs and writes it") as caught:
        find_config(option, environ)
    assert named in caught.value.problems[0]
    assert caught.value.exit_code == 3


def test_without_option_and_environment_it_is_the_file_in_etc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: path == Path("/etc/satmachine/config.toml"))
    assert find_config(None, {"SATMACHINE_CONFIG": ""}) == Path("/etc/satmachine/config.toml")


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


# ---- Whatever is in the file, the only exception is ConfigError ----

KEY_NAMES = """
    database nostr lnbits super payouts telemetry operators machines splits payee wallet admin_key invoice_key
    lightning_address lnurl env file credential url relays path id name label pct npub operator currency
    fee_pct payouts_since active encrypted secret_key daily_limit_sats x
"""
KEYS = st.sampled_from(KEY_NAMES.split())
SCALARS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["a", "wss://a", "http://[", "a@b.c", "lnurl1", "nsec1", npub(3), "GTQ"]),
    st.integers(),
    st.booleans(),
    st.decimals(),
    st.datetimes(),
    st.just(datetime.max.replace(tzinfo=UTC)),
    st.just(date.min),
    st.just(time()),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=40
)


@given(st.dictionaries(KEYS | st.text(max_size=5), VALUES, max_size=8))
def test_any_document_gives_a_configuration_or_sentences(document: dict[str, object]) -> None:
    config, problems = _validate(document, Path("/etc"))
    problems += cross_problems(document)
    assert config is not None or problems
    for problem in problems:
        assert problem.isprintable()


@given(st.text() | st.binary().map(lambda octets: octets.decode("latin-1")))
def test_any_text_gives_a_configuration_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    with pytest.raises(ConfigError):
        load(path)

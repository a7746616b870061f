"""The one TOML file: registry of operators and machines, and every setting (SPEC section 3).

formats.py     pure   slugs, currencies, URLs, addresses
secrets.py            a reference to a key, read only when it is needed
credentials.py        where systemd keeps the keys, for the service and for root
model.py       pure   the frozen models
key_places.py  pure   where something stands in the file, in words
crosscheck.py  pure   checks between tables
load.py               file -> Config, or every problem at once
check.py              secrets, permissions, warnings
as_text.py     pure   the effective values as text
"""

from satmachine.config.check import check_secrets, hidden_credentials, key_problems, wallet_conflicts, warnings
from satmachine.config.load import find_config, load, named_config
from satmachine.config.model import Config, Machine, Operator, Payee, Ruleset, Split
from satmachine.config.secrets import Secret

__all__ = [
    "Config",
    "Machine",
    "Operator",
    "Payee",
    "Ruleset",
    "Secret",
    "Split",
    "check_secrets",
    "find_config",
    "hidden_credentials",
    "key_problems",
    "load",
    "named_config",
    "wallet_conflicts",
    "warnings",
]

"""The real parts of a day: relay, LNbits, machines."""

from tests.integration.conftest import build_system as build_system

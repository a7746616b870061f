"""kit/output.py under its former name."""

from __future__ import annotations

from satmachine.cli.kit.output import *  # noqa: F403
from satmachine.cli.kit.output import Row as Row

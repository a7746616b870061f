"""Install what is missing, then play tests/interop; arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys

from testkit.interop import install

install()
pytest = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "", "tests/interop", *sys.argv[1:]]
sys.exit(subprocess.run(pytest, check=False).returncode)

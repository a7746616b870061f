"""Keeps secrets out of core dumps (SPEC section 3). Touches this process's own limits, nothing else."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # from <linux/prctl.h>


def forbid_core_dumps() -> None:
    """No memory image of this process is ever written, and no other process of the same user may read its memory.

    The limit alone is not enough: Linux ignores it if `core_pattern` is a pipe (apport does not check it), so the
    process is also marked as not dumpable.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

"""Keeps secrets out of core dumps (SPEC section 3). Touches this process's own limits, nothing else."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # from <linux/prctl.h>


def forbid_core_dumps() -> None:
    """No memory image of this process is ever written, nor may another process of the same user read one.

    The limit alone is not enough: Linux ignores it where `core_pattern` is a pipe (apport does not look at it), so the
    process is marked as not dumpable as well.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

"""A file system that never answers, as a dead network mount: real, made of the kernel's FUSE and nobody behind it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DETACH = 2


@contextmanager
def hanging(folder: Path) -> Iterator[Callable[[], None]]:
    """Mount it on a folder, which must exist; call what is given to take it away. Raises PermissionError where this
    user may not mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except FileNotFoundError:
        raise PermissionError(0, "there is no /dev/fuse") from None
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"nobody", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        os.close(device)
        raise PermissionError(ctypes.get_errno(), "this user may not mount")
    mounted = [device]

    def end() -> None:
        """Whoever waits gets an error; what is below the mount is there again."""
        if mounted:
            os.close(mounted.pop())
            assert libc.umount2(os.fsencode(folder), _DETACH) == 0, os.strerror(ctypes.get_errno())

    try:
        yield end
    finally:
        end()

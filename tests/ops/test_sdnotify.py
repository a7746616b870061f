"""What systemd is told, and a watchdog that nothing but progress feeds."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from satmachine.ops.sdnotify import Notifier, Pulse
from satmachine.store.database import Store, connect, open_store
from tests.ops.notify_socket import NotifySocket

PERIOD_S = 0.05


def test_what_is_sent_is_what_sd_notify_says(systemd: NotifySocket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(systemd.path)})
    before = time.monotonic_ns() // 1000
    notifier.ready()
    notifier.reloading()
    notifier.status("2 in work.")
    notifier.status("2 in work.")
    notifier.feed_watchdog()
    notifier.stopping()
    ready, reloading, *rest = systemd.receive()
    assert ready == "READY=1"
    state, usec = reloading.split("\n")
    assert state == "RELOADING=1"
    assert before <= int(usec.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert rest == ["STATUS=2 in work.", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0satmachine-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@satmachine-test-{os.getpid()}"}).ready()
        assert line.recv(100) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    Notifier(environ).ready()


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_this_process_s_own(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(environ).watchdog_s == interval_s


@asynccontextmanager
async def pulse(folder: Path) -> AsyncIterator[tuple[Store, list[float]]]:
    """A running pulse on a real database, and the times of its beats."""
    beats: list[float] = []
    async with open_store(folder / "books.db", busy_timeout_s=1) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(Pulse(store, PERIOD_S, lambda: beats.append(time.monotonic())).run)
        await anyio.sleep(6 * PERIOD_S)
        assert beats
        yield store, beats
        tasks.cancel_scope.cancel()


def longest_gap(beats: list[float]) -> float:
    return max(b - a for a, b in pairwise(beats))


async def test_beats_go_on_while_loop_and_database_do(tmp_path: Path) -> None:
    async with pulse(tmp_path) as (_, beats):
        count = len(beats)
        await anyio.sleep(10 * PERIOD_S)
        assert len(beats) > count + 3


async def test_no_beat_while_the_loop_hangs(tmp_path: Path) -> None:
    async with pulse(tmp_path) as (_, beats):
        time.sleep(0.6)  # noqa: ASYNC251 - this is the fault
        await anyio.sleep(4 * PERIOD_S)
        assert longest_gap(beats) >= 0.6


@pytest.mark.parametrize("side", ["write", "read"])
async def test_no_beat_while_a_connection_of_the_database_hangs(tmp_path: Path, side: str) -> None:
    def hang(_conn: sqlite3.Connection) -> None:
        time.sleep(0.8)

    async with pulse(tmp_path) as (store, beats):
        await (store.write if side == "write" else store.read)(hang)
        await anyio.sleep(4 * PERIOD_S)
        assert longest_gap(beats) >= 0.6


async def test_a_database_that_answers_busy_is_alive(tmp_path: Path) -> None:
    async with pulse(tmp_path) as (store, beats):
        other = connect(store.path)
        other.execute("BEGIN IMMEDIATE")
        count = len(beats)
        await anyio.sleep(2.6)  # the busy timeout is 1 s
        other.execute("ROLLBACK")
        other.close()
        assert len(beats) > count

"""Ten thousand machines: how long the daemon takes to start, what it holds, what it does while nothing happens.

The daemon is `satmachine run` as a process of its own, seen from outside: its log, its database, and /proc. Beside it
run a real relay and, in place of an LNbits, a small server that answers as one with empty wallets does: a real one
would be the bottleneck, and here only the daemon's own cost counts. See bench/fleet_parts.py.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.report import Figure, Section, median, spread
from satmachine.nostr.event import BEACON_KIND, sign
from satmachine.nostr.keys import hex_to_npub, public_key_of
from testkit.config_files import machine_table

Say = Callable[[str], None]

PATIENCE_S = 180.0
#: A machine says how it is once a minute.
BEACON_EVERY_S = 60
#: How far the daemon may be behind when the last beacon has been sent.
LAG_TARGET_S = 2.0

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Size:
    """How many machines; how often the daemon is started; for how long it is watched while it sweeps and while it idles
    (seconds); how many beacons each machine sends, and how many times faster than one a minute."""

    machines: int
    starts: int
    sweeping_s: float
    idle_s: float
    beacons_each: int
    beacon_speed: int

    @property
    def beacons_per_s(self) -> float:
        return self.beacon_speed * self.machines / BEACON_EVERY_S


FULL = Size(machines=10_000, starts=5, sweeping_s=10, idle_s=60, beacons_each=4, beacon_speed=10)
QUICK = Size(machines=100, starts=1, sweeping_s=0.5, idle_s=1, beacons_each=2, beacon_speed=120)


def run(quick: bool, say: Say) -> list[Section]:
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        say(f"making the keys and the configuration of {size.machines:,} machines")
        fleet = Fleet.make(Path(folder), size.machines)
        with part("relay") as relay, part("wallets") as wallets:
            fleet.write_config(relay.url, wallets.url)
            starts = _starts(fleet, size, say)
            ids = _a_million_ids(say)
            beacons = _beacons(fleet, size, wallets.url, say)
            fleet.write_config(relay.url, wallets.url)
            idle = _idle(fleet, size, wallets.url, say)
    return [starts, idle, beacons, ids]


# --- the fleet


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines with real keys, in a folder: config.toml, a file for each wallet's key, the database, the log."""

    folder: Path
    secrets: tuple[bytes, ...]

    @classmethod
    def make(cls, folder: Path, machines: int) -> Fleet:
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        for name in ("super", "owner", *(machine_id(number) for number in range(machines))):
            (keys / name).write_text(os.urandom(16).hex())
            (keys / name).chmod(0o600)
        return cls(folder, tuple(os.urandom(32) for _ in range(machines)))

    @property
    def config_path(self) -> Path:
        return self.folder / "config.toml"

    @property
    def database_path(self) -> Path:
        return self.folder / "satmachine.db"

    def write_config(self, relay_url: str, lnbits_url: str) -> None:
        key = {name: f'{{ file = "{self.folder}/keys/{name}" }}' for name in ("super", "owner")}
        text = (
            f'[database]\npath = "{self.database_path}"\n\n[nostr]\nrelays = ["{relay_url}"]\n\n'
            # Answers that are held back must not end in errors that are retried: see `_idle`.
            f'[lnbits]\nurl = "{lnbits_url}"\ntimeout_s = 3600\n\n'
            f"[super]\nfee_pct = 0.30\npayee = {{ invoice_key = {key['super']} }}\n\n"
            '[[operators]]\nid = "bench"\nname = "Bench"\n\n'
            f'[[operators.splits]]\nlabel = "owner"\npct = 1.0\npayee = {{ invoice_key = {key["owner"]} }}\n\n'
        )
        self.config_path.write_text(text + "".join(map(self._machine, range(len(self.secrets)))))
        self.config_path.chmod(0o600)

    def _machine(self, number: int) -> str:
        npub, name = hex_to_npub(public_key_of(self.secrets[number])), machine_id(number)
        return machine_table(number, name, npub, f'{{ file = "{self.folder}/keys/{name}" }}')

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """`satmachine run`, stopped when the block ends."""
        log = self.folder / "daemon.log"
        log.write_bytes(b"")
        with log.open("ab") as handle:
            began_at = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "satmachine", "--config", str(self.config_path), "run"],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Daemon(process, log, began_at)
        finally:
            _end(process)

    def rows(self, sql: str) -> int:
        """A count from the daemon's database."""
        with closing(sqlite3.connect(f"{self.database_path.as_uri()}?mode=ro", uri=True, timeout=30)) as conn:
            return int(conn.execute(sql).fetchone()[0])


def machine_id(number: int) -> str:
    return f"machine-{number:05}"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon, from outside."""

    process: subprocess.Popen[bytes]
    log: Path
    began_at: float

    def subscribed_s(self, machines: int) -> float:
        """Wait until it is subscribed for all machines; seconds since its process was started."""
        wanted = f"subscribed for {machines} machines"
        while time.monotonic() - self.began_at < PATIENCE_S and self.process.poll() is None:
            if wanted in self.log.read_text(errors="replace"):
                return time.monotonic() - self.began_at
            time.sleep(0.01)
        raise RuntimeError(f"the daemon never said {wanted!r}:\n{self.log.read_text(errors='replace')[-2_000:]}")

    def cpu_s(self) -> float:
        """Its processor time so far."""
        return cpu_s(self.process.pid)

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """A process's processor time so far, user and system together, in seconds; it advances in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


# --- what is measured


def _starts(fleet: Fleet, size: Size, say: Say) -> Section:
    """The first start writes the registry into an empty database, later ones find it there."""
    times_s = []
    for number in range(1 + size.starts):
        with fleet.daemon() as daemon:
            times_s.append(daemon.subscribed_s(size.machines))
        say(f"start {number + 1}: subscribed for all after {times_s[-1]:.2f} s")
    laps = _laps(fleet, size.starts)
    again_s = median(times_s[1:])
    steps = ("modules", "load", "warnings", "keys", "relays", "mirror_again")
    rest_s = again_s - sum(laps[step] for step in steps)
    return Section(
        f"Start with {size.machines:,} machines",
        "From the start of the process to the subscription for every machine, with one relay; each machine's wallet "
        "key is in a file of its own. The steps below it were timed one by one in another process, so that they need "
        "not add up to a hair.",
        [
            Figure("first start, empty database", f"{times_s[0]:.2f} s", "", "< 3 s", times_s[0] < 3),
            Figure(f"start, median of {size.starts}", f"{spread(times_s[1:])} s", "", "< 3 s", again_s < 3),
            Figure("  Python's modules", f"{laps['modules']:.2f} s"),
            Figure("  reading and checking the file", f"{laps['load']:.2f} s"),
            Figure("    of which the TOML", f"{laps['toml']:.2f} s"),
            Figure("  warnings", f"{laps['warnings']:.2f} s"),
            Figure("  reading the wallets' keys, two machines with one wallet", f"{laps['keys']:.2f} s"),
            Figure("  who publishes where", f"{laps['relays']:.2f} s"),
            Figure("  registry into the database, the first time", f"{laps['mirror_first']:.2f} s"),
            Figure("  registry into the database, later", f"{laps['mirror_again']:.2f} s"),
            Figure("  interpreter, connecting, subscribing, the first sweeps beside it", f"{rest_s:.2f} s"),
        ],
    )


def _laps(fleet: Fleet, runs: int) -> dict[str, float]:
    """The steps of a start, seconds, medians."""
    found = []
    for _ in range(runs):
        with part("start", str(fleet.config_path)) as steps:
            found.append({name: float(str(value)) for name, value in steps.first.items()})
        for path in fleet.folder.glob("mirror.db*"):
            path.unlink()
    return {name: median([one[name] for one in found]) for name in found[0]}


def _idle(fleet: Fleet, size: Size, wallets_url: str, say: Say) -> Section:
    """First its sweeps, as they come; then with every answer held back, so that none is under way: the rest is idling.

    The database has a state for each machine by now (`_beacons`), so that there is something to look at.
    """
    with fleet.daemon() as daemon:
        daemon.subscribed_s(size.machines)
        at_start_mib = daemon.resident_mib()
        sweeping = _spent(daemon, wallets_url, size.sweeping_s)
        say(f"sweeping for {size.idle_s:.0f} s")
        later = _spent(daemon, wallets_url, size.idle_s)
        _ask(f"{wallets_url}/bench/hold")
        time.sleep(min(5, size.idle_s))
        say(f"idling for {size.idle_s:.0f} s")
        idling = _spent(daemon, wallets_url, size.idle_s)
        after_mib = daemon.resident_mib()
        _ask(f"{wallets_url}/bench/release")
    idle_pct = 100 * idling.cpu_s / idling.wall_s
    per_sweep_ms = _per_sweep_ms(sweeping, idling)
    biggest_mib = max(at_start_mib, after_mib)
    small, lean = biggest_mib < 150, idle_pct < 1
    return Section(
        f"Idling with {size.machines:,} machines",
        "The daemon's own processor time (user and system, of one core) and resident memory. Idling: no sale, no "
        "beacon, and every answer of the wallets is held back, so that no sweep begins or ends. Sweeping: as the "
        "daemon does it after its start. The wallets are those of a small server in place of an LNbits, which "
        "answers at once; a real one sets a slower pace.",
        [
            Figure("memory, subscribed for all", f"{at_start_mib:.0f} MiB"),
            Figure("memory at the end", f"{after_mib:.0f} MiB"),
            Figure("memory, the greater of them", f"{biggest_mib:.0f} MiB", "", "< 150 MiB", small),
            Figure(f"processor while idle, over {size.idle_s:.0f} s", f"{idle_pct:.2f} %", "", "< 1 %", lean),
            Figure("processor for a sweep of one wallet", f"{per_sweep_ms:.1f} ms"),
            Figure("sweeps a second, right after the start", f"{sweeping.sweeps / sweeping.wall_s:.1f}"),
            Figure("sweeps a second, later", f"{later.sweeps / later.wall_s:.1f}"),
            Figure("processor with these later sweeps", f"{100 * later.cpu_s / later.wall_s:.2f} %"),
        ],
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What the daemon did in a while: seconds of processor time, seconds on the clock, wallets swept."""

    cpu_s: float
    wall_s: float
    sweeps: int


def _spent(daemon: Daemon, wallets_url: str, seconds: float) -> Spent:
    sweeps, cpu_s, began = _ask(f"{wallets_url}/bench/count"), daemon.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return Spent(daemon.cpu_s() - cpu_s, time.monotonic() - began, _ask(f"{wallets_url}/bench/count") - sweeps)


def _per_sweep_ms(sweeping: Spent, idling: Spent) -> float:
    idle_s = sweeping.wall_s * idling.cpu_s / idling.wall_s
    return 1_000 * max(0.0, sweeping.cpu_s - idle_s) / max(1, sweeping.sweeps)


def _ask(url: str) -> int:
    """A question to the server of the wallets; how many sweeps have begun so far."""
    return int(httpx.get(url, trust_env=False, timeout=30).json()["sweeps"])


def _beacons(fleet: Fleet, size: Size, wallets_url: str, say: Say) -> Section:
    """The sweeps are held back meanwhile: what is asked is whether beacons are taken in as fast as they come."""
    wanted = size.machines * size.beacons_each
    say(f"signing {wanted:,} beacons")
    path = fleet.folder / "beacons.jsonl"
    path.write_text("\n".join(_signed_beacons(fleet, size.beacons_each)))
    log_before = fleet.rows("SELECT count(*) FROM dca_telemetry_log")
    with part("beacons", str(path), "--per-s", str(size.beacons_per_s)) as sender:
        fleet.write_config(sender.url, wallets_url)
        _ask(f"{wallets_url}/bench/hold")
        with fleet.daemon() as daemon:
            daemon.subscribed_s(size.machines)
            began_at = float(str(sender.line()["began_at"]))
            cpu_s = daemon.cpu_s()
            say(f"sending {size.beacons_per_s:,.0f} a second for {wanted / size.beacons_per_s:.0f} s")
            ended = sender.line()
            ended_at, cpu_s = float(str(ended["ended_at"])), daemon.cpu_s() - cpu_s
            stored_at, stored = _all_stored(fleet, log_before + wanted)
            mib = daemon.resident_mib()
        _ask(f"{wallets_url}/bench/release")
    lag_s, share = max(0.0, stored_at - ended_at), cpu_s / (ended_at - began_at)
    latest = fleet.rows("SELECT count(*) FROM dca_telemetry")
    stored -= log_before
    kept_up = stored == wanted and lag_s < LAG_TARGET_S
    return Section(
        f"Beacons of {size.machines:,} machines",
        f"A machine sends one a minute; here they come {size.beacon_speed} times as fast, from a relay that only sends "
        "what was signed before. Each is verified, logged, and merged into its machine's state.",
        [
            Figure("beacons a second", f"{wanted / (ended_at - began_at):,.0f}"),
            Figure("sent", f"{wanted:,}"),
            Figure("stored", f"{stored:,}", "", "all", stored == wanted),
            Figure("machines with a state", f"{latest:,}", "", "all", latest == size.machines),
            Figure("behind when the last was sent", f"{lag_s:.2f} s", "", f"< {LAG_TARGET_S:.0f} s", kept_up),
            Figure("processor meanwhile, of one core", f"{100 * share:.0f} %"),
            Figure("processor at a beacon a minute", f"{100 * share / size.beacon_speed:.1f} %"),
            Figure("memory after it", f"{mib:.0f} MiB"),
        ],
    )


def _signed_beacons(fleet: Fleet, each: int) -> Iterator[str]:
    """Machine by machine, round by round, each a minute after its last."""
    newest = int(time.time())
    for round_ in range(each):
        for number, secret in enumerate(fleet.secrets):
            at = newest - (each - 1 - round_) * BEACON_EVERY_S
            yield sign(BEACON_KIND, _content(number, round_), [["d", "bench"]], at, secret).to_json()


def _content(number: int, round_: int) -> str:
    cassettes = [{"denomination": 100, "count": 150 + number % 300, "capacity": 500}]
    return json.dumps({"status": "online", "software_version": "10.1.2", "cassettes": cassettes, "uptime": round_})


def _all_stored(fleet: Fleet, wanted: int) -> tuple[float, int]:
    """When the log had them all (or had stopped growing), and how many it has."""
    stored, grew_at = -1, time.monotonic()
    while time.monotonic() - grew_at < 10:
        now = fleet.rows("SELECT count(*) FROM dca_telemetry_log")
        if now != stored:
            stored, grew_at = now, time.monotonic()
        if stored >= wanted:
            break
        time.sleep(0.05)
    return grew_at, stored


def _a_million_ids(say: Say) -> Section:
    say("a million event ids")
    with part("seen") as seen:
        added_mib, held = float(str(seen.first["added_mib"])), int(str(seen.first["held"]))
    return Section(
        "Memory for a million event ids",
        "What telling known events from new ones costs: the ids of the latest ones are kept in memory, older ones are "
        "looked up in the database. Resident memory of a process that takes in a million ids, at its highest.",
        [
            Figure("memory added", f"{added_mib:.0f} MiB", "", "<= 30 MiB", added_mib <= 30),
            Figure("ids held at the end", f"{held:,}"),
        ],
    )


# --- processes


class Part:
    """A process of bench/fleet_parts.py and the lines that it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.first = self.line()

    @property
    def url(self) -> str:
        return str(self.first["url"])

    def line(self) -> dict[str, object]:
        """Its next line. Raises RuntimeError where none comes."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            text = self.process.stdout.readline() if selector.select(PATIENCE_S) else b""
        if not text:
            raise RuntimeError(f"{self.process.args!r} says nothing")
        found: dict[str, object] = json.loads(text)
        return found


@contextmanager
def part(*arguments: str) -> Iterator[Part]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fleet_parts", *arguments],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield Part(process)
    finally:
        _end(process)
        assert process.stdout is not None
        process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""Let atheris loose on the targets: `python -m fuzz.campaign --runs N [TARGET ...]` (make fuzz RUNS=.. TARGETS=..).

libFuzzer ends its process, so each target gets one of its own. What was found interesting is kept in
$SATMACHINE_CACHE_DIR/fuzz and is where the next campaign goes on. Ends with 1 where a target was surprised.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

_LONGEST_INPUT = 8192
_PACKAGES = ["satmachine"]
_CHILD = "--in-this-process"


def main() -> int:
    """Every target that was asked for, one after the other."""
    if sys.argv[1:2] == [_CHILD]:
        _fuzz(*sys.argv[2:])
    options = _options()
    from fuzz.targets import TARGETS

    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        print(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    results = [_campaign(name, options.runs, options.seconds) for name in options.targets or TARGETS]
    print(f"{sum(runs for runs, _ in results):,} inputs, {sum(failed for _, failed in results)} target(s) surprised")
    return int(any(failed for _, failed in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which; all without")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seconds", type=int, default=0, help="stop a target after this long; 0: never")
    return parser.parse_args()


def _campaign(name: str, runs: int, seconds: int) -> tuple[int, bool]:
    """One target in a process of its own; how many inputs it saw, and whether it was surprised."""
    folder = _prepared(name)
    arguments = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST_INPUT}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder}/surprise-",
        "-rss_limit_mb=4096",
        "-timeout=20",
        "-print_final_stats=1",
        str(folder / "corpus"),
    ]
    log = folder / "log"
    began = time.monotonic()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "fuzz.campaign", _CHILD, name, *arguments]
        failed = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode != 0
    text = log.read_text(errors="replace")
    done = _figure(r"number_of_executed_units: (\d+)", text)
    covered = _figure(r"cov: (\d+)", text)
    state = f"SURPRISED, see {log}" if failed else "no surprise"
    print(f"{name:20} {done:>12,} inputs  {covered:>6,} edges  {time.monotonic() - began:>7.0f} s  {state}", flush=True)
    return done, failed


def _prepared(name: str) -> Path:
    """The target's folder, with seeds and dictionary."""
    from fuzz.seeds import SEEDS, words

    cache = Path(os.environ.get("SATMACHINE_CACHE_DIR", ".cache"))
    folder = (cache / "fuzz" / name).absolute()
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    lines = ['"' + "".join(f"\\x{octet:02x}" for octet in word.encode()) + '"' for word in words()]
    (folder / "words").write_text("\n".join(lines) + "\n")
    return folder


def _figure(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _fuzz(name: str, *arguments: str) -> None:
    """In the child: instrument what is imported, and hand over to libFuzzer, which does not come back."""
    import atheris

    with atheris.instrument_imports(include=_PACKAGES):
        from fuzz.targets import TARGETS
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

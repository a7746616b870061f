"""`make bench`: measure, print the tables, and keep them in bench/RESULTS.md.

make bench                     everything (about half an hour, on a machine that does nothing else)
make bench ONLY="ingest cli"   these only
python -m bench ingest --quick a small run that shows that it works; its figures mean nothing
"""

from __future__ import annotations

import argparse
import importlib
import sys

from rich.console import Console

from bench import report

#: Name, mostly the module's -> what it measures. Each has `run(quick, say) -> Iterable[Section]`; `say` takes a line of
#: progress.
BENCHMARKS = {
    "ingest": "events from relays to durable rows, beside other clients",
    "settlements": "from a sale's event to its last paid leg, beside a bare loop of the same calls",
    "wallet": "from a sale's event to its last paid leg, beside two bare calls a leg, on LNbits small and large",
    "unannounced": "from a payment that nobody announces to its last paid leg, with LNbits' websocket and without",
    "lnbits-settings": "what LNbits' own settings cost a payment, one by one",
    "fleet": "ten thousand machines: start, memory, idling, beacons",
    "queries": "the CLI's first pages over millions of rows",
    "books": "a month's report, export and close among a million sales, beside a bare aggregate of the same rows",
    "pages": "the pages over a hundred thousand sales, and what two hundred viewers cost the daemon",
    "growth": "what a sale costs when there are many, and when its providers are many",
    "telemetry": "five million beacons: the present, the past, retention",
    "cli": "how long a person waits for a command",
}
#: bench/books.py makes what is measured.
MODULES = {"books": "ledger"}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure satmachine; " + "; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items()),
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small and soon done; nothing is kept")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    console.print(report.machine(), highlight=False)
    met = True
    for name in args.names or BENCHMARKS:
        sections = importlib.import_module(f"bench.{MODULES.get(name, name.replace('-', '_'))}").run(
            args.quick, lambda line, name=name: console.print(f"[dim]{name}: {line}[/dim]", highlight=False)
        )
        for section in sections:  # as they come: what is there is kept
            report.show(section, console)
            met = met and section.met
            if not args.quick:
                report.save([section])
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())

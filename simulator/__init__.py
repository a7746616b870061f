"""A simulated world: the real payer, worker, sweeper and orders, with time that jumps, seeded chance, every fault
and every order of a person. Never imported by the daemon.

clock.py       an event loop whose time is made up; nothing in it ever waits
lnbits.py      the LNbits they talk to, held to the real one by tests/simulator; with faults.py, filters.py,
               database.py and invoices.py, and lnurl.py and outside.py for payees elsewhere
bank.py        how the world speaks to that LNbits
store.py       the books in memory, with crashes around each commit
daemon.py      the parts of a daemon, wired as in satmachine/wiring.py; the one place that builds them
registry.py    machines, payees and keys: a file that is loaded again and again
sales.py       customers, and what is known of each sale from outside
operators.py   what people do: everything that the command line offers
happenings.py  what happens to daemons, LNbits, clocks and books; and customers
person.py      who clears up at the end, by the daemon's own advice
last_customer.py  one more sale when everything works again, which has to go its way
world.py       all of it together
judge.py       what must hold, read from the wallets' own ledger
coverage.py    which action met which state
run.py         seeds, replays, shrinking, campaigns (`make simulate`)
defect.py      how one line of the real code is changed for a defect
planted.py     defects that are put in to see whether they are found; planted_unseen.py has those of a stranger
"""

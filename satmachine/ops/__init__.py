"""What makes the daemon pleasant to run: it tells systemd, people and monitors how it is (issue 8).

sdnotify.py   READY, RELOADING, STATUS and a watchdog that is fed by real progress
standing.py   one look at everything that is told: the books, the relays, the disk
doctor.py     is everything this daemon needs in order? `satmachine doctor`
backup.py     a consistent, verified copy while the daemon writes
metrics.py    Prometheus
alerts/       what the operator is told of, once per change

Nothing here decides about money. What fails here is logged, and the payer goes on.
"""

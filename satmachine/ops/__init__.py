"""What makes the daemon pleasant to run: it tells systemd, people and monitors how it is.

sdnotify.py   READY, RELOADING, STATUS and a watchdog that is fed by real progress
watch.py      the tasks of the running daemon that tell of it
doctor.py     is everything that this daemon needs in order? With host_check, relay_check, wallet_check, findings
backup.py     a consistent, verified copy while the daemon writes
metrics.py    Prometheus
alerts/       what the operator is told of, once per change

Nothing here decides about money. What fails here is logged, and the payer goes on.
"""

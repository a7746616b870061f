"""Running the daemon: it tells systemd, people and monitors how it is.

sdnotify.py   READY, RELOADING, STATUS and a watchdog that needs real progress
watch.py      the tasks of the running daemon that report its state
doctor.py     is everything that this daemon needs in order? With host_check, relay_check, wallet_check, findings
backup.py     a consistent, verified copy while the daemon writes
metrics.py    Prometheus
alerts/       what the operator is told, once per change

Nothing here decides about money. An error here is logged, and the payer continues.
"""

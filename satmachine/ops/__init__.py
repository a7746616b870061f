"""Running the daemon: it tells systemd, people and monitors its state.

sdnotify.py   READY, RELOADING, STATUS and a watchdog that needs real progress watch.py      the tasks of the running
daemon that report its state doctor.py     checks whether everything that the daemon needs is in order; with host_check,
relay_check, wallet_check, findings backup.py     a consistent, verified copy while the daemon writes metrics.py
Prometheus alerts/       messages to the operator, one for each change

Nothing here decides about money. An error here is logged, and the payer continues.
"""

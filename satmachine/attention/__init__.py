"""What needs a person: one list. Everything that tells of trouble is a view of it.

    items.py   pure   an item: what is wrong, since when, and a command that runs as it is printed
    words.py   pure   reasons and causes as sentences, and which command leads on
    look.py           reads the books, and what the daemon wrote of relays, wallets and itself, into the list
    (store/attention.py: the statements)

Views: `status` and `alerts list` (also their exit codes), the alarms (ops/alerts), the metrics, the line of `systemctl
status`. An item that a person has judged is silenced (`alerts silence`) or dismissed where it lies (`quarantine
dismiss`, `settlements dismiss`); what is silenced is counted, never hidden.
"""

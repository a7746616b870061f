"""What needs a person: one list. Everything that reports a problem is a view of it.

    items.py   pure   an item: what is wrong, since when, and a command that can be run as it is printed
    words.py   pure   reasons and causes as sentences, and which command helps
    look.py           makes the list from the books, and from what the daemon wrote about relays, wallets and itself
    (store/attention.py: the statements)

Views: `status` and `alerts list` (also their exit codes), the alarms (ops/alerts), the metrics, the line of `systemctl
status`. An item about which a person has decided is silenced (`alerts silence`) or dismissed (`quarantine dismiss`,
`settlements dismiss`); silenced items are counted, never hidden.
"""

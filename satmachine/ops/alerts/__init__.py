"""Alarms: one message when something starts, one when it has ended for good, whatever happens in between.

conditions.py   what is wrong right now, from the books and the relays
judge.py        pure   what of it is news (delays, hysteresis)
message.py      pure   the words
channels.py     how it is told: webhook, command, Nostr direct message
desk.py         the task: look, judge, write down, deliver
"""

"""Alarms: one message when something starts, one when it has really ended, whatever happens in between.

conditions.py   what is wrong right now, from the books and the relays
judge.py        pure   what is new about it (delays, hysteresis)
message.py      pure   the words
channels.py     how it is sent: webhook, command, Nostr direct message
alarm_desk.py   the task: look, judge, store, deliver
"""

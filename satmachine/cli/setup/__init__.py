"""The first hour: `satmachine init` writes the configuration, `machines add` adds a machine to it.

asking.py    a question with a default, whose answer is tested before the next question; or a flag instead
live.py      the tests: whether LNbits answers, the key is an admin key, the relay lets us listen
writing.py   files: whole or not at all, with the permissions that the daemon needs
init.py      `init`                 machine.py   what `machines add` asks
"""

"""The first hour: `satmachine init` writes the configuration, `machines add` adds a machine to it.

asking.py    a question with a default, whose answer is tested before the next question; or a flag instead
tested.py    the tests: does LNbits answer, is it an admin key, does the relay let us listen
writing.py   files: whole or not at all, with the permissions that the daemon needs
init.py      `init`                 machine.py   what `machines add` asks
"""

"""The parts from which every noun of the command line is built.

commands.py   the three kinds of command as decorators: a list, a read, a change; look there to add one
books.py      the database as one caller sees it: scope, times, and the names that a person may use
requests.py   requests to the daemon, and its answers
options.py    options that many commands have
numbers.py    amounts and rates as people type them, in every form in which they are printed
values.py     how one value is shown: sats, fiat, percent, times, and what strangers wrote
output.py     rows as table, plain text, JSON or CSV
screen.py     how a terminal shows them: tables, stacks on a narrow screen, a pager on a short one
complete.py   what the Tab key offers
"""

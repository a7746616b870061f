"""What every noun of the command line is made of.

commands.py   the three kinds of command as decorators: a list, a read, a change; look there to add one
books.py      the database as one caller sees it: scope, times, and what a person may name things by
requests.py   what is asked of the daemon, and its answer
options.py    options that recur
numbers.py    amounts and rates as people type them, in every form in which they are printed
output.py     rows as table, plain text, JSON or CSV
screen.py     how a terminal shows them: tables, stacks where it is narrow, a pager where it is short
complete.py   what the Tab key offers
"""

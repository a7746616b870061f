"""The books for people: reports, ledgers for accountants, LPs' statements, what would have been (SPEC section 13).

Everything here reads the books and never changes what is paid. In the order in which it is built:

They begin with the entries of satmachine/ledger.

export.py      pure   entries -> beancount, hledger, CSV
summary.py     pure   entries -> the report of a time: by machine, operator, payee, LP
reading.py            the same, out of the books
statement.py   pure   an LP's statement as a document that is always written the same way
signed.py      pure   a document that its reader can prove, without us
html.py        pure   the pages of both, for screen and paper (chart.py draws)
make.py               a statement out of the books, and its signature
whatif.py             history planned again under other rules
letters.py     pure   the words of messages to LPs
desk.py               the daemon's part: signing what is asked for, messages to LPs
"""

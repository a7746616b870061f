"""The books for people: reports, ledgers for accountants, LPs' statements, what-if plans (SPEC section 13).

Everything here reads the books and never changes what is paid.

All of it is made from the entries of satmachine/ledger:

export.py              pure   entries -> beancount, hledger, CSV
summary.py             pure   entries -> the report of a period: by machine, operator, payee, LP
reading.py                    the same, read from the books
statement_document.py  pure   an LP's statement as a document that is always written in the same way
signed.py              pure   a document that its reader can check without us
html.py                pure   the pages of both, for screen and paper (chart.py draws)
make.py                       a statement from the books, and its signature
whatif.py                     history planned again under other rules
letters.py             pure   the words of messages to LPs
report_desk.py                the daemon's part: signing on request, messages to LPs
"""

"""Payments that are missing in the books are entered again, after a person accepts it.

reconcile_rules.py   pure   how a sale accounts for a payment that is missing in the books
machine_case.py             what was looked up, what is decided, and what is reported
wallet_look.py              what the machine's wallet is asked; only reads
sale.py                     one sale: its payments become legs, and replace what was planned
balance.py                  payouts of LPs' balances
foreign_marks.py            marks that another life of these books has written
proposal.py                 the transaction: the proposal for a machine, shown or carried out
"""

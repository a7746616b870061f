"""The ledger of these books: everything that moved sats or cash, in double entry (SPEC section 13). Pays nothing.

postings.py   pure   a fact (models/facts.py) -> a balanced entry; the meaning of the accounts
entries.py           the entries of a period; the balances of the accounts at a moment
periods.py           closing a month: its totals, its digest, and the chain; whether a closed month was altered
"""

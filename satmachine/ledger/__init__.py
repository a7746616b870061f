"""The ledger of these books: everything that moved sats or cash, in double entry (SPEC section 13). Pays nothing.

postings.py   pure   a fact (models/facts.py) -> a balanced entry; what the accounts mean
entries.py           the entries of a span of time; what the accounts come to at a moment
periods.py           closing a month: its totals, its digest, and the chain; whether a closed month was altered
"""

"""What people change. Nothing here pays; what may continue is paid like everything else.

Transactions that the command line runs itself, because no wallet is asked:

stops.py                  hold and release a sale, pause and resume payouts
retries.py                try failed payments again
unmatched.py              a payment into a wallet is a sale, or is none: land, dismiss

Corrections of a sale, which the daemon carries out:

correction_rules.py  pure what may be corrected when, and to which figures
changes.py                transactions: figures scaled, a sale closed, a refund planned
redistribute.py           transaction: retained sats planned as legs after all
repoint.py                transaction: open payments sent to the payee that the file names now
shortfall.py              cash that a customer did not get in a sale that is paid: the rules, booking, undoing
vouched.py                transactions: a person says that a payment is paid, or its invoice dead
cancelled.py              transaction: a payment that is proven unpaid is given up
audited.py                the audit rows of all these
proven_unpaid.py          asks both wallets, before a person's decision replaces the daemon's
carries_out.py            what all of these share who carry out orders in the daemon:
sale_orders.py            .. for a sale's figures
shortfall_orders.py       .. about a shortfall
leg_orders.py             .. for single payments
"""

"""What people change. Nothing here pays; what may continue is paid like everything else.

ways_out.py              transactions without a wallet: hold, release, retry, land, dismiss, pause
rules.py          pure   corrections: what may be corrected when, and to which figures
changes.py               transactions: figures scaled, a sale closed, a refund planned
redistribute.py          transaction: retained sats planned as legs after all
repoint.py               transaction: open payments sent to the payee that the file names now
shortfall.py             cash that a customer did not get in a sale that is paid: the rules, booking, undoing
proven_unpaid.py         asks both wallets, before a person's decision replaces the daemon's
sale_orders.py           carries out what people order for a sale's figures
shortfall_orders.py      carries out what people order about a shortfall
leg_orders.py            carries out what people order for single payments
"""

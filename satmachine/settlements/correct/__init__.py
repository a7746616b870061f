"""What people change. None of it pays; what is let go on is paid like everything else.

ways_out.py              transactions that need no wallet: hold, release, retry, land, dismiss, pause
rules.py          pure   corrections: what may be corrected when, and to which figures
changes.py               transactions: figures scaled, a sale closed, a refund planned
redistribute.py          transaction: retained sats planned as legs after all
repoint.py               transaction: open payments sent to whom the file names now
shortfall.py             what a customer did not get of a sale that is paid: the rules, booking it, taking it back
proven_unpaid.py         asks both wallets, before a person's word takes a leg off the daemon's hands
sale_orders.py           carries out what people order for a sale's figures
shortfall_orders.py      carries out what people order about a shortfall
leg_orders.py            carries out what people order for single payments
"""

"""The second witness: the machines' wallets are read, and what the relays never delivered is landed.

hints.py                 LNbits' websocket reports that something came in
looks.py                 when a wallet is read before its turn
sweeper.py               when each wallet is read, in turn
one_sweep.py             one wallet, read: its balance, what came in, what went out, its marks
arrivals.py              what came in is matched to sales, landed, or listed
unannounced.py    pure   is this payment a sale that nobody announced?
own_wallets.py           whose wallet made a payment
topups.py         pure   invoices that fund a wallet: how to distinguish them from a sale
wallet_orders.py         what people ask of a wallet: sweep it now, make an invoice that funds it
"""

"""Books that lack payments take them in again, as a person accepts it.

rules.py         pure   how a sale bears a payment that the books lack
shared.py               what was looked up, what is decided, and what is told of it
wallet_look.py          what the machine's wallet is asked; only reads
sale.py                 one sale: its payments become legs, and what was planned gives way
proposal.py             the transaction: the proposal for a machine, shown or carried out
"""

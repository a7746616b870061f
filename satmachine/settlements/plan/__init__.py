"""Who gets what of a proven sale.

amounts.py        pure   settlement + rules + LPs' balances -> legs and retained sats, to the last sat
rate_guard.py     pure   is the sale's exchange rate believable?
named_payees.py          the payee of a leg, by the configuration or by the client's row
planning.py              the transaction: why a sale is held before it is planned, then all of its legs
shortfall_refund.py      the transaction: a top-up for a customer who got too little cash has come: refund it
"""

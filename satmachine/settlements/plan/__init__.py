"""Who gets what of a proven sale.

amounts.py        pure   settlement + rules + LPs' balances -> legs and retained sats, to the last sat
planning.py              the transaction: why a sale is held before it is planned, then all of its legs
shortfall_refund.py      the transaction: a top-up for a customer who got too little cash has come: refund it
"""

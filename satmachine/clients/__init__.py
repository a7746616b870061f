"""Liquidity providers: the rules of SPEC section 8.

statement.py  pure   what moved a balance -> lines, running balance, totals, average cost
shares.py     pure   a sale's dca legs -> the arithmetic of every sat
terms.py      pure   what the operator typed -> amounts, rates, mode and limit, changes
typed_payee.py       what the operator typed -> a payee, checked
removal.py           when a client may be removed
payout.py            a balance paid out at a given rate
forward.py           a completed dca leg -> its autoforward
"""

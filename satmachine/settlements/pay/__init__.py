"""Each leg is paid exactly once.

transition.py     pure   what both wallets show about a leg -> the next step; a table
adoption.py       pure   does a payment in a wallet belong to this leg? a table
seal_check.py            reads: did the daemon itself order this payment?
jobs.py                  a leg with everything needed to pay it, and who is its payee now
invoicing.py             where its invoice comes from, whether it is taken, and whose wallet it is of
forward_check.py         is this really the LP's own wallet?
marker.py                marks in the paying wallet: which invoices may be paid
both_sides.py            what both wallets show about an invoice
waiting.py               a leg that is not paid now: when it is tried again, or why a person must act
payer.py                 the two acts, from the top: prepare legs, and pay them; read this file first
sealed_since.py          from which time are a machine's payments sealed?
"""

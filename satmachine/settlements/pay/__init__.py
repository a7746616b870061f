"""Each leg is paid exactly once.

transition.py     pure   what both wallets show about a leg -> the next step; a table
adoption.py       pure   does a payment in a wallet belong to this leg? a table
seal_check.py            reads: did the daemon itself order this payment?
completion.py            transaction: a leg is paid, and what follows from it
jobs.py                  a leg with everything needed to pay it
invoicing.py             where its invoice comes from
forward_check.py         is this really the LP's own wallet?
marker.py                marks in the paying wallet: which invoices may be paid
sealed_since.py          from which time are a machine's payments sealed?
payer.py                 prepares legs and pays them; decides when a failed one is tried again
"""

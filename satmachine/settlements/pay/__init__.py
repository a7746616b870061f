"""Each leg is paid exactly once.

transition.py     pure   what both wallets show of a leg -> the next step; a table
adoption.py       pure   is a payment that a wallet shows this leg's? a table
seal_check.py            reads: has the daemon itself ordered this payment?
completion.py            transaction: a leg is paid, and what follows from it
jobs.py                  a leg with all that is needed to pay it
invoicing.py             where its invoice comes from
forward_check.py         is this really the LP's own wallet?
marker.py                marks in the paying wallet: which invoices may be paid
sealed_since.py          since when are a machine's payments sealed?
payer.py                 prepares legs and pays them; when a failed one is tried again
"""

"""A sale's way through the daemon: a folder for each stage, in the order in which a sale passes them.

claim/         what was said of a sale, by an event or by a payment: read strictly, believed by nobody yet
land/          a claim becomes a settlement, each sale once; or joins one, revises it, or goes into quarantine
prove/         the customer's payment must be in the machine's wallet
plan/          who gets what: guards first, then every leg at once; the amounts never change afterwards
pay/           each leg is paid exactly once, whatever crashes, hangs or lies
worker.py      takes what is due through prove, plan and pay; read this file first

Beside the way:

sweep/         the second witness: the machines' wallets are read, and what the relays never delivered is landed
correct/       what people change: ways out, corrections, payments sent elsewhere
reconcile/     books that were lost or restored take in again what a wallet shows
explain.py     where every sat of a sale went, and by which arithmetic

Each folder's `__init__` says which of its modules are rules (pure), which are transactions, and which ask wallets. A
stage knows only stages above it in the first list, and those beside the way know these; `make lint` checks it.
"""

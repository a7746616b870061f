"""The stages of a sale in the daemon: a folder for each stage, in the order in which a sale passes them.

claim/         what an event or a payment says about a sale: read strictly, not trusted yet
land/          a claim becomes a settlement, each sale once; or joins one, revises it, or goes into quarantine
prove/         the customer's payment must be in the machine's wallet
plan/          who gets what: guards first, then every leg at once; the amounts never change afterwards
pay/           each leg is paid exactly once, whatever crashes, hangs or lies
worker.py      takes what is due through prove, plan and pay; read this file first

Outside these stages:

sweep/         the second witness: reads the machines' wallets, and lands what the relays never delivered
correct/       what people change: ways out, corrections, payments sent to another payee
reconcile/     books that were lost or restored are completed with what a wallet shows
explain.py     where every sat of a sale went, and how it was calculated

Each folder's `__init__` says which of its modules are rules (pure), which are transactions, and which ask wallets. A
stage imports only the stages above it in the first list; the folders outside may import all stages. `make lint` checks
this.
"""

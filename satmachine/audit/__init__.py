"""The proof that every sat is where the books say (SPEC sections 5 and 9). Only reads; nothing here can pay or write.

remedies.py pure   what can be wrong, in words, and the command that resolves it
proof.py           the proof from the database alone: `check_books`, also run after store tests
wallets.py         the proof against the machines' and the payees' wallets
"""

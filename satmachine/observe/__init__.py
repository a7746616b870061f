"""`satmachine observe`: what a fleet really sends, and which settings fit it. It pays nothing and writes nothing.

facts.py   one event, one incoming payment, as what they are; pure
fit.py     from facts to settings, each with its reason; pure
watch.py   listens to relays and reads wallets for a while
"""

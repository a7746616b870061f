"""`satmachine observe`: what the machines really send, and which settings fit. It pays nothing and writes nothing.

sightings.py   what one event or one incoming payment is; pure
fit.py         from these to settings, each with its reason; pure
listening.py   listens to relays and reads wallets for a while
"""

"""The proof that nothing is lost and nothing is paid twice: a seeded campaign of faults against real parts.

world.py     the system under attack, and every sale that a customer has paid for
facts.py     collects what LNbits' own records and the books say
check.py     pure: facts -> violations in words
faults.py    what can be done to the system, each fault one function
campaign.py  the runs: seeded, replayable, resumable (`make chaos`)
"""

"""Did the customer's payment really arrive? The worker asks the wallet, and holds or postpones what is not proven.

proof.py       pure   what the wallet shows, judged
"""

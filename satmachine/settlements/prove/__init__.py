"""Did the customer's payment really arrive? The worker asks the wallet, and holds or postpones what is not proven.

verdict.py       pure   what the wallet shows, judged
"""

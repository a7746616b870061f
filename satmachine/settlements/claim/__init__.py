"""What was said of a sale -> `Claim`, or `Rejection` with the reason in words.

envelope.py    pure   a verified event: is it for us, of our time, and can it be read?
content.py     pure   the words in it, or in the `extra` of a payment -> the claim
sale_rate.py   pure   the exchange rate of a sale that does not say it
"""

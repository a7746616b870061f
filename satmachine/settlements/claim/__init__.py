"""What an event or a payment says about a sale -> `Claim`, or `Rejection` with the reason in words.

envelope.py    pure   a verified event: is it for us, is its time right, and can it be read?
content.py     pure   its content, or the `extra` of a payment -> the claim
sale_rate.py   pure   the exchange rate of a sale that does not state it
"""

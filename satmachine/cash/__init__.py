"""The notes in a machine: how much should be there, how much was, since when it differs, and how long it lasts
(SPEC section 12).

Three witnesses tell of the same notes, and each can be wrong: the *sales* (what left the machine by the books), the
machine's *beacons* (what it believes to hold) and *people* who count. Only people have seen the notes, so a difference
is what they counted less what the sales leave; the beacons only help to say since when.

What they speak in is models/cash.py and models/banknotes.py.

cycles.py     pure   from one count to the next: opening + loaded - taken - sold = expected, beside counted
narrow.py     pure   a difference, narrowed down to a window of sales by what the machine told
forecast.py   pure   how long the cash lasts: weekdays for the middle, its own past errors for the range
providers.py  pure   which LP's balance ends when
book.py              transactions: entries, corrections, bookings, deposits that come from loads
look.py              what is shown of a machine: the books read, the rules applied
outlook.py           how long it lasts: the books read, the forecast applied
renew.py             the daemon's task that keeps every machine's forecast fresh
"""

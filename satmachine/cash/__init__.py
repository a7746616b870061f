"""The banknotes in a machine: how much should be there, how much was, since when it differs, and how long it lasts
(SPEC section 12).

Three witnesses report on the same notes, and each can be wrong: the *sales* (what left the machine by the books), the
machine's *beacons* (how much cash it believes it has) and *people* who count. Only people have seen the notes, so a
difference is the counted cash minus the cash that should be left after the sales; the beacons only help to find out
since when.

Their values are in models/cash_values.py and models/banknotes.py.

cycles.py       pure   from one count to the next: opening + loaded - taken - sold = expected, compared with counted
narrow.py       pure   a difference, narrowed down to a few sales by what the machine reported
forecast.py     pure   how long the cash lasts: weekdays for the middle, its earlier errors for the range
balance_end.py  pure   when each LP's balance will be empty
book.py                transactions: entries, corrections, bookings, deposits that come from loads
shown.py               what is shown about a machine: reads the books, applies the rules
outlook.py             how long it lasts: reads the books, applies the forecast
renew.py               the daemon's task that keeps every machine's forecast up to date
"""

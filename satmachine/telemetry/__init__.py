"""Beacons and fleet snapshots (SPEC section 7).

exact_json.py  pure   JSON in and out without binary floats
parse.py       pure   a beacon's content -> typed fields, the rest as `extra`
beacons.py     pure   a verified event -> a record to store, or why not
merge.py       pure   beacons, in any order -> the present state of a machine
trouble.py     pure   does a machine say that it cannot work?
draw.py        pure   bars, sparklines and ages for the terminal
"""

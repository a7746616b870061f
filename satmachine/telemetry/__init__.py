"""Beacons and fleet snapshots (SPEC section 7).

exact_json.py  pure   JSON in and out without binary floats
parse.py       pure   a beacon's content -> typed fields, the rest as `extra`
beacons.py     pure   a verified event -> a record to store, or why not
merge.py       pure   beacons, in any order -> the present state of a machine
draw.py        pure   bars, sparklines and ages for the terminal
retention.py          what is older than keep_days is deleted in small steps, and its space given back
"""

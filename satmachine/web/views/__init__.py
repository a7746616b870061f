"""What is on each page: functions of a `Look` that return a `PageView`, which is shown as HTML or as JSON.

base.py       the input and output of every page
operators.py  for people of an operator
providers.py  for liquidity providers (a position is also shown to its operator)
programs.py   the read-only addresses for programs, under /api/v1/dca/
"""

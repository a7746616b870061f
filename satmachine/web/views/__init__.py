"""What is on each page: functions of a `Look` that return a `View`, which is shown as HTML or as JSON.

base.py       what every page gets and gives
operators.py  for people of an operator
providers.py  for liquidity providers (a position is also shown to its operator)
programs.py   the read routes for programs, under /api/v1/dca/
"""

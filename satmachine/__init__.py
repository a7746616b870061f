"""satmachine shares out the sales of Bitcoin ATMs: each sat exactly once, through LNbits.

The flow is one line, ``relay -> verify -> land -> prove -> plan -> pay -> report``; `satmachine.wiring` connects the
parts, ARCHITECTURE.md explains them.
"""

__version__ = "0.2.0"

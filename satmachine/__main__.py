"""`python -m satmachine` is `satmachine`."""

from satmachine.cli.main import main

main()

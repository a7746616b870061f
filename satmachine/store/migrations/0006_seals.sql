-- What the daemon itself has ordered is told from what anybody wrote into this file (seals.py). What is open already is
-- sealed by the daemon that makes this change, in the same transaction.

ALTER TABLE dca_payments ADD COLUMN seal TEXT;
ALTER TABLE dca_invoices ADD COLUMN seal TEXT;

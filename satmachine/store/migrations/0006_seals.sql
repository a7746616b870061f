-- What the daemon itself has ordered is told from what anybody wrote into this file (seals.py). What is open already is
-- sealed at the first sweep of its machine's wallet, which keeps in mind that this was done (settlements/pay/sealed_since.py).

ALTER TABLE dca_payments ADD COLUMN seal TEXT;
ALTER TABLE dca_invoices ADD COLUMN seal TEXT;
ALTER TABLE intents ADD COLUMN seal TEXT;
ALTER TABLE dca_wallets ADD COLUMN sealed_at INTEGER;

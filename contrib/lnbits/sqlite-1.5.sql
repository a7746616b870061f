-- LNbits 1.5 and later on SQLite: the payments of one sale, and the payment of one hash, are found by an index.
--
-- What it does   satmachine asks a wallet for everything that bears a sale's key before it pays the sale, and once more
--                after its mark. SQLite reads all rows of the wallet for that, twice a question; with these two indexes it
--                reads their keys only. The second one also keeps LNbits from walking through everything that is pending when it
--                pays an invoice. Nothing else is changed.
-- For            LNbits 1.5 and 1.6 (1.4 has no external_id, and says so: nothing is done then). Some 200 bytes a payment.
-- How            Stop LNbits. In its data folder:  sqlite3 -bail database.sqlite3 < sqlite-1.5.sql   Start LNbits.
--                After `sqlite.sql`, which matters more; both at once:
--                satmachine doctor --tuning sqlite-1.5 | sqlite3 -bail database.sqlite3
--                It may be run again at any time.
-- How to undo    DROP INDEX IF EXISTS satmachine_payment_hash; DROP INDEX IF EXISTS satmachine_external_id;

BEGIN IMMEDIATE;
-- In this order: of two that are equally good by its estimates, SQLite takes the later one.
CREATE INDEX IF NOT EXISTS satmachine_payment_hash ON apipayments (payment_hash, wallet_id);
CREATE INDEX IF NOT EXISTS satmachine_external_id ON apipayments (wallet_id, external_id);
COMMIT;

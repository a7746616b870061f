-- LNbits on SQLite: what a wallet has is added up from that wallet's payments alone.
--
-- What it does   LNbits asks its view `balances` several times in every call and again after every payment, and the view adds
--                up all payments of all wallets each time. After this file it adds up those of the one wallet that is
--                asked for, from an index that holds nothing else. No payment and no balance is changed: the file compares
--                all balances before and after, and where one differs it takes back everything and says "CHECK constraint failed".
-- For            LNbits 1.4 to 1.6, from about 10,000 payments on (`satmachine doctor` says when). The index takes some 70 bytes a payment.
-- How            Stop LNbits. Copy its database. In its data folder:  sqlite3 -bail database.sqlite3 < sqlite.sql
--                (or: satmachine doctor --tuning sqlite | sqlite3 -bail database.sqlite3). Start LNbits.
--                It may be run again at any time, and should be after an update of LNbits (one that makes its view anew only
--                becomes slow again, nothing worse).
-- How to undo    Stop LNbits, and run the lines below between "undo" and "end of undo", without their dashes.

BEGIN IMMEDIATE;

CREATE TEMP TABLE satmachine_before AS
SELECT wallet_id, balance FROM balances WHERE balance <> 0;

DROP VIEW balances;

-- The conditions are LNbits' own, letter for letter those of the index: otherwise SQLite would not use it. It has every column that
-- the view reads, so that SQLite prefers it to others of the same wallet.
CREATE INDEX IF NOT EXISTS satmachine_balances ON apipayments (wallet_id, amount, fee, status)
WHERE (status = 'success' AND amount > 0) OR (status IN ('success', 'pending') AND amount < 0);

CREATE VIEW balances AS
SELECT wallets.id AS wallet_id,
       (
           SELECT SUM(apipayments.amount - ABS(apipayments.fee))
           FROM apipayments
           WHERE apipayments.wallet_id = wallets.id
           AND (
               (apipayments.status = 'success' AND apipayments.amount > 0)
               OR (apipayments.status IN ('success', 'pending') AND apipayments.amount < 0)
           )
       ) AS balance
FROM wallets
WHERE wallets.deleted = false OR wallets.deleted IS NULL;

CREATE TEMP TABLE satmachine_differences (wallets INTEGER CHECK (wallets = 0));
INSERT OR ROLLBACK INTO satmachine_differences
SELECT count(*) FROM (SELECT * FROM satmachine_before EXCEPT SELECT wallet_id, balance FROM balances);
INSERT OR ROLLBACK INTO satmachine_differences
SELECT count(*) FROM (SELECT wallet_id, balance FROM balances WHERE balance <> 0 EXCEPT SELECT * FROM satmachine_before);
DROP TABLE satmachine_differences;
DROP TABLE satmachine_before;

COMMIT;

-- undo
-- BEGIN IMMEDIATE;
-- DROP INDEX IF EXISTS satmachine_balances;
-- DROP VIEW balances;
-- CREATE VIEW balances AS
--         SELECT apipayments.wallet_id,
--                SUM(apipayments.amount - ABS(apipayments.fee)) AS balance
--         FROM wallets
--         LEFT JOIN apipayments ON apipayments.wallet_id = wallets.id
--         WHERE (wallets.deleted = false OR wallets.deleted is NULL)
--         AND (
--             (apipayments.status = 'success' AND apipayments.amount > 0)
--             OR (apipayments.status IN ('success', 'pending') AND apipayments.amount < 0)
--         )
--         GROUP BY apipayments.wallet_id;
-- COMMIT;
-- end of undo

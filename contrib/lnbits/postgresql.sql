-- LNbits on PostgreSQL: what a wallet has is added up from that wallet's payments alone, and payments are found by part of their key.
--
-- What it does   LNbits asks its view `balances` several times in every call and again after every payment, and the view adds
--                up the payments from the table itself. After this file an index has all that it needs. A second index (if
--                the extension pg_trgm, of PostgreSQL itself, may be created) finds the payments of one sale, from LNbits 1.5
--                on. The table is vacuumed, and will be more often. No payment and no balance is changed: all balances
--                are compared before and after, and where one differs nothing is done but to say so.
-- For            LNbits 1.4 to 1.6, PostgreSQL 12 or newer, from about 10,000 payments on (`satmachine doctor` says when). The
--                indexes take some 150 bytes a payment.
-- How            Stop LNbits. Back its database up (pg_dump). As the owner of the database:  psql -d lnbits -f postgresql.sql
--                (or: satmachine doctor --tuning postgresql | psql "$LNBITS_DATABASE_URL").
--                Start LNbits. It may be run again at any time, and should be after an update of LNbits (one that makes its
--                view anew only becomes slow again, nothing worse).
-- How to undo    Stop LNbits, and run the lines below between "undo" and "end of undo", without their dashes.

\set ON_ERROR_STOP on

BEGIN;

CREATE TEMP TABLE satmachine_before AS
SELECT wallet_id, balance FROM balances WHERE balance <> 0;

DROP VIEW balances;

CREATE INDEX IF NOT EXISTS satmachine_balances ON apipayments (wallet_id, amount, fee)
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

DO $$
BEGIN
    IF EXISTS (SELECT * FROM satmachine_before EXCEPT SELECT wallet_id, balance FROM balances)
    OR EXISTS (SELECT wallet_id, balance FROM balances WHERE balance <> 0 EXCEPT SELECT * FROM satmachine_before) THEN
        RAISE EXCEPTION 'this LNbits adds balances up in another way than this file knows: nothing was changed';
    END IF;
END
$$;

DROP TABLE satmachine_before;

ALTER TABLE apipayments SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

COMMIT;

DO $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'apipayments' AND column_name = 'external_id'
    ) THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS satmachine_external_id ON apipayments USING gin (external_id gin_trgm_ops);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'without the index for finding payments by part of their key: %', SQLERRM;
END
$$;

VACUUM (ANALYZE) apipayments;

-- undo
-- BEGIN;
-- DROP INDEX IF EXISTS satmachine_balances;
-- DROP INDEX IF EXISTS satmachine_external_id;
-- ALTER TABLE apipayments RESET (autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
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

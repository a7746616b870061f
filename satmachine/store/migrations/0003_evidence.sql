-- What a payment is and what proves it, in columns instead of in sentences: who a leg is paid to, why it waits, what
-- completed it, the marks that name the invoices which may be paid, and what a person has decided about payments and
-- marks that the books lacked.

ALTER TABLE dca_payments ADD COLUMN payee_kind TEXT NOT NULL DEFAULT 'wallet' CHECK (payee_kind IN ('wallet', 'lightning_address', 'lnurl', 'invoice'));
ALTER TABLE dca_payments ADD COLUMN payee_ref TEXT;
ALTER TABLE dca_payments ADD COLUMN payee_scope TEXT;
ALTER TABLE dca_payments ADD COLUMN cause TEXT;
ALTER TABLE dca_payments ADD COLUMN proof TEXT CHECK (proof IN ('both_sides', 'answer', 'preimage', 'person', 'booked'));
ALTER TABLE dca_payments ADD COLUMN vouched_by TEXT;
UPDATE dca_payments SET payee_kind = CASE
    WHEN payee LIKE 'LNbits wallet%' THEN 'wallet'
    WHEN payee LIKE '%@%' THEN 'lightning_address'
    WHEN leg_type = 'refund' THEN 'invoice'
    ELSE 'lnurl' END;
UPDATE dca_payments SET payee_scope = CASE leg_type
    WHEN 'super_fee' THEN 'super'
    WHEN 'dca' THEN 'client:' || client_id
    WHEN 'settlement' THEN 'client:' || client_id
    WHEN 'operator_split' THEN (
        SELECT CASE s.ruleset_source WHEN 'machine' THEN 'machine:' || m.id ELSE 'operator:' || m.operator_id END
        FROM dca_settlements s JOIN dca_machines m ON m.id = s.machine_id WHERE s.id = dca_payments.settlement_id
    ) || ':' || label END;
UPDATE dca_payments SET payee_ref = payee WHERE payee_kind IN ('lightning_address', 'invoice');
UPDATE dca_payments SET proof = CASE
    WHEN coalesce(error, '') LIKE 'declared paid by %' THEN 'person'
    WHEN payee_kind = 'wallet' THEN 'both_sides' ELSE 'preimage' END WHERE status = 'completed';
UPDATE dca_payments SET vouched_by = substr(error, 18) WHERE proof = 'person';
UPDATE dca_payments SET error = NULL WHERE proof = 'person';

ALTER TABLE dca_invoices ADD COLUMN wallet_id TEXT;
ALTER TABLE dca_invoices ADD COLUMN mark_id TEXT;
ALTER TABLE dca_invoices ADD COLUMN marked_at INTEGER;

ALTER TABLE dca_settlements ADD COLUMN person_acted_at INTEGER;
UPDATE dca_settlements SET person_acted_at = (
    SELECT max(at) FROM audit_log a WHERE a.subject = 'settlement ' || dca_settlements.id
    AND a.action IN ('settlement.partial_dispense', 'settlement.close', 'settlement.redistribute', 'settlement.refund',
                     'settlement.land', 'settlement.release', 'leg.declare_paid', 'leg.declare_unpaid')
);

ALTER TABLE dca_wallets ADD COLUMN reconcile_since INTEGER;
ALTER TABLE dca_wallets ADD COLUMN reconcile_why TEXT;

-- The last known identity of each payee, by where it is named.
CREATE TABLE dca_payees (
    scope      TEXT PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('wallet', 'lightning_address', 'lnurl')),
    reference  TEXT    NOT NULL,
    learnt_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE dca_marks (
    id          TEXT PRIMARY KEY,
    machine_id  TEXT    NOT NULL REFERENCES dca_machines (id),
    bundle      TEXT    NOT NULL,
    content     TEXT    NOT NULL CHECK (json_valid(content)),
    written_at  INTEGER NOT NULL,
    seen_at     INTEGER
) STRICT;
CREATE INDEX dca_marks_bundle ON dca_marks (machine_id, bundle);

CREATE TABLE dca_foreign_marks (
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    id             TEXT    NOT NULL,
    bundle         TEXT    NOT NULL,
    content        TEXT    NOT NULL CHECK (json_valid(content)),
    first_seen_at  INTEGER NOT NULL,
    decided_at     INTEGER,
    decided_by     TEXT,
    PRIMARY KEY (machine_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dca_foreign_marks_open ON dca_foreign_marks (machine_id, bundle) WHERE decided_at IS NULL;

ALTER TABLE dca_foreign_payments ADD COLUMN fee_sats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dca_foreign_payments ADD COLUMN payment_id INTEGER REFERENCES dca_payments (id);
ALTER TABLE dca_foreign_payments ADD COLUMN decided_at INTEGER;
ALTER TABLE dca_foreign_payments ADD COLUMN reason TEXT;
CREATE INDEX dca_foreign_payments_payment ON dca_foreign_payments (payment_id);
UPDATE dca_foreign_payments SET payment_id = (SELECT p.id FROM dca_payments p
    WHERE p.payment_hash = dca_foreign_payments.payment_hash) WHERE settled_by = 'adopted';

-- Retained sats may also be of a balance payout, which has no sale.
CREATE TEMP TABLE former_retained AS SELECT * FROM dca_retained;
DROP TABLE dca_retained;
CREATE TABLE dca_retained (
    id             INTEGER PRIMARY KEY,
    settlement_id  INTEGER REFERENCES dca_settlements (id),
    revision       INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    leg            TEXT    NOT NULL DEFAULT '',
    amount_sats    INTEGER NOT NULL CHECK (amount_sats <> 0),
    created_at     INTEGER NOT NULL,
    payment_id     INTEGER REFERENCES dca_payments (id),
    CHECK (settlement_id IS NOT NULL OR payment_id IS NOT NULL)
) STRICT;
INSERT INTO dca_retained (id, settlement_id, revision, reason, leg, amount_sats, created_at)
SELECT id, settlement_id, revision, reason, leg, amount_sats, created_at FROM former_retained;
DROP TABLE former_retained;
CREATE INDEX dca_retained_settlement ON dca_retained (settlement_id);
CREATE INDEX dca_retained_payment ON dca_retained (payment_id);
CREATE TRIGGER dca_retained_sum AFTER INSERT ON dca_retained
BEGIN UPDATE dca_settlements SET retained_sats = retained_sats + NEW.amount_sats WHERE id = NEW.settlement_id; END;
CREATE TRIGGER dca_retained_no_update BEFORE UPDATE ON dca_retained
BEGIN SELECT RAISE(ABORT, 'dca_retained is append-only'); END;
CREATE TRIGGER dca_retained_no_delete BEFORE DELETE ON dca_retained
BEGIN SELECT RAISE(ABORT, 'dca_retained is append-only'); END;
INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at, payment_id)
SELECT NULL, revision, 'unused_fee_reserve', leg, amount_sats - sent_sats - coalesce(fee_sats, 0), completed_at, id
FROM dca_payments WHERE leg_type = 'settlement' AND status = 'completed'
AND amount_sats > sent_sats + coalesce(fee_sats, 0);

-- Deposits count from a time of their own, and are reversed and withdrawn by rows of their own.
CREATE TEMP TABLE former_deposits AS SELECT * FROM dca_deposits;
DROP TABLE dca_deposits;
CREATE TABLE dca_deposits (
    id            INTEGER PRIMARY KEY,
    client_id     INTEGER NOT NULL,
    machine_id    TEXT    NOT NULL,
    amount_minor  INTEGER NOT NULL CHECK (amount_minor <> 0),
    currency      TEXT    NOT NULL,
    status        TEXT    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'confirmed', 'rejected')),
    notes         TEXT    NOT NULL DEFAULT '',
    recorded_by   TEXT    NOT NULL,
    recorded_at   INTEGER NOT NULL,
    decided_by    TEXT,
    decided_at    INTEGER,
    kind          TEXT    NOT NULL DEFAULT 'deposit' CHECK (kind IN ('deposit', 'reversal', 'withdrawal')),
    effective_at  INTEGER,
    reverses      INTEGER REFERENCES dca_deposits (id),
    CHECK ((status = 'pending') = (decided_at IS NULL)),
    CHECK (status <> 'confirmed' OR effective_at IS NOT NULL),
    CHECK ((kind = 'deposit') = (amount_minor > 0)),
    CHECK (kind = 'deposit' OR status = 'confirmed'),
    CHECK ((kind = 'reversal') = (reverses IS NOT NULL)),
    FOREIGN KEY (client_id, machine_id) REFERENCES dca_clients (id, machine_id),
    FOREIGN KEY (machine_id, currency) REFERENCES dca_machines (id, currency)
) STRICT;
CREATE INDEX dca_deposits_client ON dca_deposits (client_id, effective_at);
CREATE INDEX dca_deposits_machine ON dca_deposits (machine_id, recorded_at);
CREATE INDEX dca_deposits_time ON dca_deposits (recorded_at);
CREATE UNIQUE INDEX dca_deposits_reverses ON dca_deposits (reverses) WHERE reverses IS NOT NULL;
INSERT INTO dca_deposits (id, client_id, machine_id, amount_minor, currency, status, notes, recorded_by, recorded_at,
    decided_by, decided_at, effective_at)
SELECT id, client_id, machine_id, amount_minor, currency, status, notes, recorded_by, recorded_at, decided_by, decided_at,
    CASE status WHEN 'confirmed' THEN decided_at END FROM former_deposits;
DROP TABLE former_deposits;
CREATE TRIGGER dca_deposits_no_update BEFORE UPDATE ON dca_deposits WHEN OLD.status <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a confirmed or rejected deposit is an audit record: it never changes'); END;
CREATE TRIGGER dca_deposits_no_delete BEFORE DELETE ON dca_deposits WHEN OLD.status <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a confirmed or rejected deposit is an audit record: it is never deleted'); END;
CREATE TRIGGER dca_clients_confirmed_insert AFTER INSERT ON dca_deposits WHEN NEW.status = 'confirmed'
BEGIN UPDATE dca_clients SET confirmed_minor = confirmed_minor + NEW.amount_minor WHERE id = NEW.client_id; END;
CREATE TRIGGER dca_clients_confirmed_update AFTER UPDATE OF status ON dca_deposits WHEN NEW.status = 'confirmed'
BEGIN UPDATE dca_clients SET confirmed_minor = confirmed_minor + NEW.amount_minor WHERE id = NEW.client_id; END;

-- A jam that was seen when everything was paid: what the customer did not get, and the top-up that pays it back.

ALTER TABLE dca_settlements ADD COLUMN shortfall_minor INTEGER NOT NULL DEFAULT 0 CHECK (shortfall_minor >= 0);
ALTER TABLE dca_settlements ADD COLUMN topped_up_sats INTEGER NOT NULL DEFAULT 0 CHECK (topped_up_sats >= 0);

CREATE TABLE dca_shortfalls (
    id             INTEGER PRIMARY KEY,
    settlement_id  INTEGER NOT NULL,
    machine_id     TEXT    NOT NULL,
    number         INTEGER NOT NULL CHECK (number >= 1),              -- of the sale's
    short_minor    INTEGER NOT NULL CHECK (short_minor > 0),          -- in the sale's currency
    refund_sats    INTEGER NOT NULL CHECK (refund_sats >= 0),         -- what the customer is owed
    topup_sats     INTEGER NOT NULL CHECK (topup_sats >= refund_sats),  -- with the reserve for routing fees
    payee          TEXT,
    topup_hash     TEXT UNIQUE,
    refund_number  INTEGER NOT NULL DEFAULT 1,                        -- the least that no wallet has seen
    deposit_id     INTEGER REFERENCES dca_deposits (id),
    reason         TEXT    NOT NULL,
    actor          TEXT    NOT NULL,
    booked_at      INTEGER NOT NULL,
    funded_at      INTEGER,                                           -- the top-up is here, and the refund is planned
    payment_id     INTEGER REFERENCES dca_payments (id),              -- the refund
    undone_at      INTEGER,
    undone_by      TEXT,
    UNIQUE (settlement_id, number),
    CHECK ((payee IS NULL) = (topup_hash IS NULL)),
    CHECK ((funded_at IS NULL) = (payment_id IS NULL)),
    CHECK (funded_at IS NULL OR payee IS NOT NULL),
    CHECK ((undone_at IS NULL) = (undone_by IS NULL)),
    FOREIGN KEY (settlement_id, machine_id) REFERENCES dca_settlements (id, machine_id)
) STRICT;
CREATE INDEX dca_shortfalls_open ON dca_shortfalls (booked_at)
    WHERE payee IS NOT NULL AND funded_at IS NULL AND undone_at IS NULL;
CREATE INDEX dca_shortfalls_deposit ON dca_shortfalls (deposit_id) WHERE deposit_id IS NOT NULL;
CREATE INDEX dca_shortfalls_payment ON dca_shortfalls (payment_id) WHERE payment_id IS NOT NULL;
CREATE TRIGGER dca_shortfalls_keep BEFORE UPDATE OF settlement_id, machine_id, number, short_minor, refund_sats, topup_sats,
    payee, topup_hash, deposit_id, booked_at ON dca_shortfalls
BEGIN SELECT RAISE(ABORT, 'a shortfall is undone, never changed'); END;
CREATE TRIGGER dca_shortfalls_no_delete BEFORE DELETE ON dca_shortfalls
BEGIN SELECT RAISE(ABORT, 'a shortfall is undone, never deleted'); END;

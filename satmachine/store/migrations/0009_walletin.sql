-- The wallet as a way in of equal rank: payments that nobody announced, top-ups, what else machines publish.

ALTER TABLE dca_settlements ADD COLUMN rate_source TEXT CHECK (rate_source IN ('lnbits', 'beacon'));

CREATE INDEX dca_settlements_unknown_rate ON dca_settlements (machine_id) WHERE exchange_rate = '0' AND retained_sats > 0;

ALTER TABLE dca_unmatched_payments ADD COLUMN kind TEXT NOT NULL DEFAULT 'unknown'
    CHECK (kind IN ('unknown', 'top_up', 'transfer', 'credit', 'own'));
ALTER TABLE dca_unmatched_payments ADD COLUMN dismissed_at INTEGER;
ALTER TABLE dca_unmatched_payments ADD COLUMN dismissed_by TEXT;
ALTER TABLE dca_unmatched_payments ADD COLUMN dismissed_reason TEXT;
CREATE INDEX dca_unmatched_payments_open ON dca_unmatched_payments (machine_id, settled_at)
    WHERE kind = 'unknown' AND dismissed_at IS NULL;

CREATE TABLE dca_topups (
    machine_id    TEXT    NOT NULL REFERENCES dca_machines (id),
    payment_hash  TEXT    NOT NULL,
    id            TEXT    NOT NULL UNIQUE,
    amount_sats   INTEGER NOT NULL CHECK (amount_sats > 0),
    made_at       INTEGER NOT NULL,
    made_by       TEXT    NOT NULL,
    note          TEXT    NOT NULL DEFAULT '',
    expires_at    INTEGER NOT NULL,
    bolt11        TEXT    NOT NULL,
    paid_at       INTEGER,
    PRIMARY KEY (machine_id, payment_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE dca_transport_events (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    events        INTEGER NOT NULL,
    old_nip44     INTEGER NOT NULL DEFAULT 0,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    addressee     TEXT    NOT NULL
) STRICT;

CREATE TABLE dca_relay_lists (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    event_id      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    relays        TEXT    NOT NULL CHECK (json_valid(relays)),
    refused       TEXT    NOT NULL CHECK (json_valid(refused))
) STRICT;

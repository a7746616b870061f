-- Books for people: closed months, signed statements, messages to LPs; indexes that the ledger is read along.

CREATE INDEX dca_settlements_late ON dca_settlements (proven_at) WHERE proven_at > occurred_at + 240;
CREATE INDEX dca_payments_completed ON dca_payments (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX dca_retained_created ON dca_retained (created_at);

-- A month that was closed: what every account of the ledger came to, and a digest of its entries, chained to the month
-- before. What is landed or corrected later counts in the open month (store/ledger.py).
CREATE TABLE dca_periods (
    name       TEXT PRIMARY KEY,                        -- '2026-11'
    start_at   INTEGER NOT NULL,                        -- the end of the one before; 0: everything up to then
    end_at     INTEGER NOT NULL UNIQUE,
    tz         TEXT    NOT NULL,                        -- the zone whose month it is
    closed_at  INTEGER NOT NULL,                        -- what the books learnt after that counts later
    actor      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    entries    INTEGER NOT NULL,
    totals     TEXT    NOT NULL CHECK (json_valid(totals)),           -- {account: {unit: balance}} at its end
    digest     TEXT    NOT NULL CHECK (length(digest) = 64),          -- of its entries
    previous   TEXT    NOT NULL DEFAULT '',             -- the hash of the one before
    hash       TEXT    NOT NULL UNIQUE CHECK (length(hash) = 64),
    CHECK (start_at < end_at AND end_at <= closed_at)
) STRICT;
CREATE TRIGGER dca_periods_no_update BEFORE UPDATE ON dca_periods
BEGIN SELECT RAISE(ABORT, 'a closed month never changes'); END;
CREATE TRIGGER dca_periods_no_delete BEFORE DELETE ON dca_periods
BEGIN SELECT RAISE(ABORT, 'a closed month stays closed'); END;

-- Statements as the daemon has signed them, for whoever hands them out. `event` is the Nostr event that proves `html`.
CREATE TABLE dca_statements (
    id         TEXT PRIMARY KEY CHECK (length(id) = 64),              -- the event's
    client_id  INTEGER NOT NULL REFERENCES dca_clients (id),
    since_at   INTEGER,                                 -- NULL: from the beginning
    until_at   INTEGER,
    made_at    INTEGER NOT NULL,
    asked_by   TEXT    NOT NULL,
    event      TEXT    NOT NULL CHECK (json_valid(event)),
    html       TEXT    NOT NULL
) STRICT;
CREATE INDEX dca_statements_client ON dca_statements (client_id, made_at);

-- How an LP wants to be told by Nostr messages (NIP-17), who has asked for it. No row: not at all.
CREATE TABLE dca_client_messages (
    client_id  INTEGER PRIMARY KEY REFERENCES dca_clients (id),
    npub       TEXT    NOT NULL,
    relays     TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(relays)),  -- where they read; [] those of the daemon
    receipts   INTEGER NOT NULL CHECK (receipts IN (0, 1)),           -- one for each payout
    monthly    INTEGER NOT NULL CHECK (monthly IN (0, 1)),            -- a statement after each month
    since_at   INTEGER NOT NULL                         -- what was before is not told
) STRICT;

-- Each message once: made with the payout, sealed once, kept until a relay took it.
CREATE TABLE dca_messages (
    id               INTEGER PRIMARY KEY,
    client_id        INTEGER NOT NULL REFERENCES dca_clients (id),
    kind             TEXT    NOT NULL CHECK (kind IN ('receipt', 'monthly')),
    subject          TEXT    NOT NULL,                  -- the leg's key, or the month
    created_at       INTEGER NOT NULL,
    event            TEXT CHECK (event IS NULL OR json_valid(event)), -- sealed for its reader; the same at every try
    attempts         INTEGER NOT NULL DEFAULT 0,
    next_attempt_at  INTEGER NOT NULL DEFAULT 0,
    error            TEXT,
    taken_at         INTEGER,
    taken_by         TEXT,                              -- the relay
    UNIQUE (client_id, kind, subject)
) STRICT;
CREATE INDEX dca_messages_open ON dca_messages (next_attempt_at) WHERE taken_at IS NULL;
-- A payout and its receipt are one transaction: neither is there without the other.
CREATE TRIGGER dca_messages_receipt AFTER UPDATE OF status ON dca_payments
WHEN NEW.status = 'completed' AND NEW.leg_type IN ('dca', 'settlement') AND NEW.amount_sats > 0
BEGIN
    INSERT INTO dca_messages (client_id, kind, subject, created_at)
    SELECT client_id, 'receipt', NEW.leg_key, NEW.completed_at FROM dca_client_messages
    WHERE client_id = NEW.client_id AND receipts = 1 ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER dca_messages_receipt_booked AFTER INSERT ON dca_payments
WHEN NEW.status = 'completed' AND NEW.leg_type IN ('dca', 'settlement') AND NEW.amount_sats > 0
BEGIN
    INSERT INTO dca_messages (client_id, kind, subject, created_at)
    SELECT client_id, 'receipt', NEW.leg_key, NEW.completed_at FROM dca_client_messages
    WHERE client_id = NEW.client_id AND receipts = 1 ON CONFLICT DO NOTHING;
END;

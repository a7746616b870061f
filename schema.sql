-- satmachine: the whole database, as a new file gets it.
--
-- Conventions
--   .._sats     INTEGER  satoshis
--   .._minor    INTEGER  minor units (cents) of the row's currency; the CLI shows major units without the suffix
--   .._pct, exchange_rate  TEXT  exact decimals; a pct is a fraction 0..1, a rate is sats per major unit of fiat
--   .._at       INTEGER  Unix seconds, UTC
--   JSON        TEXT     kept as it came
-- No binary floating point is stored anywhere. No secret is stored anywhere: payees that need a key are
-- described by where the key is kept.
--
-- What each version has changed stands in satmachine/store/migrations, for databases that are older.

-- ---------------------------------------------------------------------------------------------------------
-- The daemon's own state
-- ---------------------------------------------------------------------------------------------------------

-- One row per applied version; written in the same transaction as the change itself.
CREATE TABLE schema_migrations (
    version     INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    applied_at  INTEGER NOT NULL
) STRICT;

-- Small facts about this database, such as its random instance id.
CREATE TABLE daemon_state (
    key         TEXT PRIMARY KEY,
    value       TEXT NOT NULL
) STRICT;

-- What the CLI asks of the daemon. The CLI never pays: it writes an intent, the daemon carries it out.
CREATE TABLE intents (
    id          INTEGER PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,                       -- "settlement 12", "machine panajachel-1"
    params      TEXT    NOT NULL CHECK (json_valid(params)),
    status      TEXT    NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'done', 'refused')),
    result      TEXT,                                   -- a sentence for the person who asked
    done_at     INTEGER,
    seal        TEXT,                                   -- by who has [payouts] order_key (seals.py)
    CHECK ((status = 'open') = (done_at IS NULL))
) STRICT;
CREATE INDEX intents_open ON intents (id) WHERE status = 'open';

-- The red button: no payouts for one machine, or for all of them (scope '*').
CREATE TABLE payout_pauses (
    scope       TEXT PRIMARY KEY,                       -- a machine id, or '*'
    paused_at   INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    reason      TEXT    NOT NULL
) STRICT;

-- What each relay connection was last seen doing; `last_created_at` is where a new subscription resumes.
CREATE TABLE relay_health (
    url              TEXT PRIMARY KEY,
    state            TEXT    NOT NULL,
    state_since      INTEGER NOT NULL,
    latency_ms       INTEGER,
    last_event_at    INTEGER,
    last_created_at  INTEGER,
    events           INTEGER NOT NULL DEFAULT 0,
    duplicates       INTEGER NOT NULL DEFAULT 0,
    faults           TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(faults)),  -- {kind of fault: count}
    quiet            INTEGER NOT NULL DEFAULT 0 CHECK (quiet IN (0, 1)),
    error            TEXT,
    updated_at       INTEGER NOT NULL,
    named            INTEGER NOT NULL DEFAULT 0 CHECK (named IN (0, 1))         -- by machines, not by the file
) STRICT;

-- Alarms by what they concern and what is wrong. A row that is not `raised` is being watched, or has ended.
CREATE TABLE alerts (
    subject      TEXT    NOT NULL,                      -- a machine's id, a relay's URL, or '' for the whole daemon
    condition    TEXT    NOT NULL,                      -- 'settlement_held', 'machine_silent', ..
    raised       INTEGER NOT NULL DEFAULT 0 CHECK (raised IN (0, 1)),          -- what the operator was last told
    since        INTEGER,                               -- since when it has looked otherwise; NULL: it does not
    changed_at   INTEGER NOT NULL,                      -- when the operator was last told
    detail       TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (subject, condition)
) STRICT, WITHOUT ROWID;

-- Items of the list of what needs a person that a person knows of: told again after `until`, NULL: never.
CREATE TABLE silences (
    item    TEXT PRIMARY KEY,                           -- condition:subject or condition:subject:ref, as `alerts list` shows it
    until   INTEGER,
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One message per change of an alarm and way of telling; kept until it is delivered or given up.
CREATE TABLE alert_messages (
    id               INTEGER PRIMARY KEY,
    created_at       INTEGER NOT NULL,
    channel          TEXT    NOT NULL CHECK (channel IN ('webhook', 'command', 'nostr')),
    subject          TEXT    NOT NULL,
    condition        TEXT    NOT NULL,
    raised           INTEGER NOT NULL CHECK (raised IN (0, 1)),
    detail           TEXT    NOT NULL,
    attempts         INTEGER NOT NULL DEFAULT 0,
    next_attempt_at  INTEGER NOT NULL DEFAULT 0,
    error            TEXT,
    done_at          INTEGER
) STRICT;
CREATE INDEX alert_messages_open ON alert_messages (id) WHERE done_at IS NULL;

-- ---------------------------------------------------------------------------------------------------------
-- The registry, mirrored from the TOML file at every load so that SQL can join it
-- ---------------------------------------------------------------------------------------------------------

CREATE TABLE super_config (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    fee_pct     TEXT    NOT NULL,
    payee       TEXT,                                   -- described, never the key itself
    loaded_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE dca_operators (
    id          TEXT PRIMARY KEY,
    name        TEXT    NOT NULL,
    in_config   INTEGER NOT NULL CHECK (in_config IN (0, 1))
) STRICT;

CREATE TABLE dca_machines (
    id                       TEXT PRIMARY KEY,
    operator_id              TEXT    NOT NULL REFERENCES dca_operators (id),
    npub                     TEXT    NOT NULL,
    pubkey                   TEXT    NOT NULL CHECK (length(pubkey) = 64),
    name                     TEXT    NOT NULL,
    currency                 TEXT    NOT NULL CHECK (length(currency) = 3),
    fallback_commission_pct  TEXT    NOT NULL,
    payouts_since            INTEGER NOT NULL,
    active                   INTEGER NOT NULL CHECK (active IN (0, 1)),
    in_config                INTEGER NOT NULL CHECK (in_config IN (0, 1)),  -- 0: dropped from the file, history stays
    loaded_at                INTEGER NOT NULL,
    digits                   INTEGER NOT NULL DEFAULT 2 CHECK (digits BETWEEN 0 AND 3),  -- of the currency's minor unit
    UNIQUE (id, currency)
) STRICT;
CREATE INDEX dca_machines_operator ON dca_machines (operator_id);
CREATE UNIQUE INDEX dca_machines_pubkey ON dca_machines (pubkey) WHERE in_config = 1;

-- The rules by which an operator's part of the commission is shared. A machine's own set replaces its operator's.
CREATE TABLE dca_commission_splits (
    id           INTEGER PRIMARY KEY,
    operator_id  TEXT    NOT NULL REFERENCES dca_operators (id),
    machine_id   TEXT    REFERENCES dca_machines (id),  -- NULL: the operator's default set
    position     INTEGER NOT NULL,
    label        TEXT    NOT NULL,
    pct          TEXT    NOT NULL,
    payee        TEXT    NOT NULL                       -- described, never the key itself
) STRICT;
CREATE UNIQUE INDEX dca_commission_splits_label
    ON dca_commission_splits (operator_id, coalesce(machine_id, ''), label);

-- The last known identity of each payee, by where it is named: 'super', 'operator:<id>:<label>', 'machine:<id>:<label>',
-- 'client:<id>'. A wallet's is its id in LNbits, whichever key leads to it.
CREATE TABLE dca_payees (
    scope      TEXT PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('wallet', 'lightning_address', 'lnurl')),
    reference  TEXT    NOT NULL,
    learnt_at  INTEGER NOT NULL
) STRICT;

-- ---------------------------------------------------------------------------------------------------------
-- The machines' wallets, as LNbits tells
-- ---------------------------------------------------------------------------------------------------------

CREATE TABLE dca_wallets (
    machine_id      TEXT PRIMARY KEY REFERENCES dca_machines (id),
    wallet_id       TEXT,                               -- LNbits' id; a change of it is refused
    balance_sats    INTEGER,
    lnbits_version  TEXT,
    reachable       INTEGER NOT NULL DEFAULT 0 CHECK (reachable IN (0, 1)),
    error           TEXT,
    checked_at      INTEGER,
    swept_until     INTEGER NOT NULL DEFAULT 0,         -- incoming payments up to here (LNbits' updated_at) are landed or listed
    known_until     INTEGER NOT NULL DEFAULT 0,         -- outgoing payments up to here are known
    last_sweep_at   INTEGER,
    safe_mode       TEXT,                               -- why this machine pays nothing until a person has reconciled it
    reconcile_since INTEGER,                            -- payouts are paused since: these books are a restored copy
    reconcile_why   TEXT,
    sealed_at       INTEGER                             -- since when this machine's payments are sealed (seals.py)
) STRICT;
CREATE INDEX dca_wallets_wallet ON dca_wallets (wallet_id) WHERE wallet_id IS NOT NULL;

-- Incoming payments that belong to no settlement: top-ups, or sales whose split is not known.
CREATE TABLE dca_unmatched_payments (
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    payment_hash   TEXT    NOT NULL,
    amount_sats    INTEGER NOT NULL CHECK (amount_sats > 0),
    memo           TEXT    NOT NULL DEFAULT '',
    extra          TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(extra)),
    settled_at     INTEGER NOT NULL,
    first_seen_at  INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    kind           TEXT    NOT NULL DEFAULT 'unknown'   -- what it is; 'unknown' waits for a person
                   CHECK (kind IN ('unknown', 'top_up', 'transfer', 'credit', 'own')),
    dismissed_at   INTEGER,                             -- a person has said that it is no sale
    dismissed_by   TEXT,
    dismissed_reason TEXT,
    PRIMARY KEY (machine_id, payment_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX dca_unmatched_payments_open ON dca_unmatched_payments (machine_id, settled_at)
    WHERE kind = 'unknown' AND dismissed_at IS NULL;

-- Invoices that `machines top-up` made: whoever pays one funds the wallet, and nothing is sold.
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
    paid_at       INTEGER,                              -- when the wallet showed that it was paid
    PRIMARY KEY (machine_id, payment_hash)
) STRICT, WITHOUT ROWID;

-- Outgoing payments that carry satmachine's tag but that no leg of this database made: made in another life of
-- it (a restored or lost database) or by another daemon. `settled_by` says how a person or the daemon cleared it.
CREATE TABLE dca_foreign_payments (
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    payment_hash   TEXT    NOT NULL,
    leg_key        TEXT    NOT NULL,
    amount_sats    INTEGER NOT NULL,
    status         TEXT    NOT NULL CHECK (status IN ('success', 'pending', 'failure')),
    extra          TEXT    NOT NULL CHECK (json_valid(extra)),
    made_at        INTEGER NOT NULL,
    first_seen_at  INTEGER NOT NULL,
    settled_by     TEXT,                                -- 'adopted', or who decided
    fee_sats       INTEGER NOT NULL DEFAULT 0,
    payment_id     INTEGER REFERENCES dca_payments (id),              -- the leg that it was booked as
    decided_at     INTEGER,
    reason         TEXT,
    PRIMARY KEY (machine_id, payment_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX dca_foreign_payments_open ON dca_foreign_payments (machine_id, leg_key) WHERE settled_by IS NULL;
CREATE INDEX dca_foreign_payments_payment ON dca_foreign_payments (payment_id);

-- Marks (marks.py): rows in a machine's wallet that name the invoices which may be paid for a bundle of legs.
-- Written down here before they are written there. `seen_at`: it was seen there as the only head of its bundle.
CREATE TABLE dca_marks (
    id          TEXT PRIMARY KEY,
    machine_id  TEXT    NOT NULL REFERENCES dca_machines (id),
    bundle      TEXT    NOT NULL,
    content     TEXT    NOT NULL CHECK (json_valid(content)),
    written_at  INTEGER NOT NULL,
    seen_at     INTEGER
) STRICT;
CREATE INDEX dca_marks_bundle ON dca_marks (machine_id, bundle);
CREATE INDEX dca_marks_whole ON dca_marks (machine_id, written_at) WHERE length(content) > 100;

-- Genuine marks that these books did not write: of another life of them, or of another daemon.
CREATE TABLE dca_foreign_marks (
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    id             TEXT    NOT NULL,
    bundle         TEXT    NOT NULL,
    content        TEXT    NOT NULL CHECK (json_valid(content)),
    first_seen_at  INTEGER NOT NULL,
    decided_at     INTEGER,                             -- a person has reconciled it
    decided_by     TEXT,
    PRIMARY KEY (machine_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dca_foreign_marks_open ON dca_foreign_marks (machine_id, bundle) WHERE decided_at IS NULL;
CREATE INDEX dca_foreign_marks_decided ON dca_foreign_marks (bundle) WHERE decided_at IS NOT NULL;

-- ---------------------------------------------------------------------------------------------------------
-- Settlements: one row per sale
-- ---------------------------------------------------------------------------------------------------------

CREATE TABLE dca_settlements (
    id                       INTEGER PRIMARY KEY,
    bitspire_event_id        TEXT UNIQUE,               -- the first event; NULL while only the wallet has told of it
    payment_hash             TEXT,
    txid                     TEXT,
    machine_id               TEXT    NOT NULL REFERENCES dca_machines (id),
    source                   TEXT    NOT NULL CHECK (source IN ('event', 'wallet', 'operator')),
    status                   TEXT    NOT NULL DEFAULT 'pending'
                             CHECK (status IN ('pending', 'held', 'processed', 'errored', 'partial', 'refunded')),
    hold_reason              TEXT,                      -- one word, set exactly while held
    -- What the customer paid never changes; net + commission shrink only when cash was not dispensed.
    gross_sats               INTEGER NOT NULL CHECK (gross_sats > 0),
    net_sats                 INTEGER NOT NULL CHECK (net_sats >= 0),
    commission_sats          INTEGER NOT NULL CHECK (commission_sats >= 0),
    undispensed_sats         INTEGER NOT NULL DEFAULT 0 CHECK (undispensed_sats >= 0),
    platform_fee_sats        INTEGER CHECK (platform_fee_sats >= 0),   -- NULL until planned
    operator_fee_sats        INTEGER CHECK (operator_fee_sats >= 0),
    retained_sats            INTEGER NOT NULL DEFAULT 0 CHECK (retained_sats >= 0),  -- sum of dca_retained, kept by trigger
    super_fee_pct            TEXT,                      -- in force when it was planned
    ruleset_source           TEXT CHECK (ruleset_source IN ('machine', 'operator', 'none')),
    fee_pct                  TEXT,                      -- as the machine told; information
    discount_pct             TEXT,                      -- as the machine told, 0..100
    fallback_commission_pct  TEXT,                      -- what the split was derived with, if it was
    used_fallback_split      INTEGER NOT NULL DEFAULT 0 CHECK (used_fallback_split IN (0, 1)),
    exchange_rate            TEXT    NOT NULL DEFAULT '0',             -- 0: unknown
    fiat_amount_minor        INTEGER CHECK (fiat_amount_minor >= 0),
    currency                 TEXT    NOT NULL,
    bills                    TEXT CHECK (bills IS NULL OR json_valid(bills)),
    cassettes                TEXT CHECK (cassettes IS NULL OR json_valid(cassettes)),
    revision                 INTEGER NOT NULL DEFAULT 1 CHECK (revision >= 1),
    settlement_key           TEXT,                      -- what its legs' keys start with; set when it is proven
    proof                    TEXT    NOT NULL DEFAULT 'waiting' CHECK (proof IN ('waiting', 'proven', 'waived')),
    occurred_at              INTEGER NOT NULL,
    landed_at                INTEGER NOT NULL,
    proven_at                INTEGER,
    planned_at               INTEGER,                   -- of the current revision
    finished_at              INTEGER,
    attempts                 INTEGER NOT NULL DEFAULT 0,               -- to prove it
    next_attempt_at          INTEGER NOT NULL DEFAULT 0,
    overrides                TEXT    NOT NULL DEFAULT '',              -- guards that a person has released it from
    notes                    TEXT    NOT NULL DEFAULT '',              -- newest first; only ever added to
    error                    TEXT,
    person_acted_at          INTEGER,                   -- since then no event revises it (SPEC section 6.9)
    payment_seen             INTEGER NOT NULL DEFAULT 0 CHECK (payment_seen IN (0, 1)),  -- the customer's, proven or not
    rate_source              TEXT CHECK (rate_source IN ('lnbits', 'beacon')),  -- who told the rate; NULL: the sale itself
    shortfall_minor          INTEGER NOT NULL DEFAULT 0 CHECK (shortfall_minor >= 0),  -- taken off fiat_amount_minor since
    topped_up_sats           INTEGER NOT NULL DEFAULT 0 CHECK (topped_up_sats >= 0),   -- brought for it beside the gross
    twins                    TEXT    NOT NULL DEFAULT '',  -- sales that it may be, told again, as a person was told
    CHECK (gross_sats = net_sats + commission_sats + undispensed_sats),
    CHECK (platform_fee_sats IS NULL OR platform_fee_sats + operator_fee_sats = commission_sats),
    CHECK (bitspire_event_id IS NOT NULL OR payment_hash IS NOT NULL),
    CHECK ((status = 'held') = (hold_reason IS NOT NULL)),
    CHECK (planned_at IS NULL OR settlement_key IS NOT NULL),
    UNIQUE (id, machine_id),
    FOREIGN KEY (machine_id, currency) REFERENCES dca_machines (id, currency)
) STRICT;
CREATE UNIQUE INDEX dca_settlements_payment ON dca_settlements (machine_id, payment_hash) WHERE payment_hash IS NOT NULL;
CREATE UNIQUE INDEX dca_settlements_txid ON dca_settlements (machine_id, txid) WHERE txid IS NOT NULL;
CREATE UNIQUE INDEX dca_settlements_key ON dca_settlements (machine_id, settlement_key) WHERE settlement_key IS NOT NULL;
CREATE INDEX dca_settlements_open ON dca_settlements (next_attempt_at) WHERE status = 'pending' AND planned_at IS NULL;
CREATE INDEX dca_settlements_machine ON dca_settlements (machine_id, occurred_at);
CREATE INDEX dca_settlements_time ON dca_settlements (occurred_at);
CREATE INDEX dca_settlements_status ON dca_settlements (status) WHERE status NOT IN ('processed', 'partial', 'refunded');
CREATE INDEX dca_settlements_unknown_rate ON dca_settlements (machine_id) WHERE exchange_rate = '0' AND retained_sats > 0;
CREATE INDEX dca_settlements_rare ON dca_settlements (status, occurred_at) WHERE status IN ('partial', 'refunded');
CREATE INDEX dca_settlements_late ON dca_settlements (proven_at) WHERE proven_at > min(occurred_at, landed_at) + 240;
CREATE INDEX dca_settlements_ledger
    ON dca_settlements (machine_id, occurred_at, proven_at, gross_sats, fiat_amount_minor, proof)
    WHERE proof <> 'waiting';

CREATE TRIGGER dca_settlements_keep_notes BEFORE UPDATE OF notes ON dca_settlements
WHEN NEW.notes IS NOT OLD.notes AND substr(NEW.notes, -length(OLD.notes)) IS NOT OLD.notes AND OLD.notes <> ''
BEGIN SELECT RAISE(ABORT, 'notes are only ever added to'); END;

CREATE TRIGGER dca_settlements_keep_gross BEFORE UPDATE OF gross_sats, machine_id ON dca_settlements
WHEN NEW.gross_sats <> OLD.gross_sats OR NEW.machine_id <> OLD.machine_id
BEGIN SELECT RAISE(ABORT, 'what the customer paid, and where, never changes'); END;

CREATE TRIGGER dca_settlements_keep BEFORE DELETE ON dca_settlements
BEGIN SELECT RAISE(ABORT, 'settlements are never deleted'); END;

-- Every signed event that told of a sale, as it came. A sale may have several.
CREATE TABLE dca_settlement_events (
    event_id       TEXT PRIMARY KEY CHECK (length(event_id) = 64),
    settlement_id  INTEGER NOT NULL REFERENCES dca_settlements (id),
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    created_at     INTEGER NOT NULL,
    received_at    INTEGER NOT NULL,
    relay_url      TEXT    NOT NULL,
    raw            TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dca_settlement_events_settlement ON dca_settlement_events (settlement_id);

-- Sats of a sale that stay in the machine's wallet, with the reason. A negative row says that they were
-- planned as legs or refunded after all.
CREATE TABLE dca_retained (
    id             INTEGER PRIMARY KEY,
    settlement_id  INTEGER REFERENCES dca_settlements (id),           -- NULL: of a balance payout
    revision       INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    leg            TEXT    NOT NULL DEFAULT '',         -- the part of the plan it was meant for
    amount_sats    INTEGER NOT NULL CHECK (amount_sats <> 0),
    created_at     INTEGER NOT NULL,
    payment_id     INTEGER REFERENCES dca_payments (id),
    CHECK (settlement_id IS NOT NULL OR payment_id IS NOT NULL)
) STRICT;
CREATE INDEX dca_retained_settlement ON dca_retained (settlement_id);
CREATE INDEX dca_retained_payment ON dca_retained (payment_id);
CREATE INDEX dca_retained_created ON dca_retained (created_at);
CREATE TRIGGER dca_retained_sum AFTER INSERT ON dca_retained
BEGIN UPDATE dca_settlements SET retained_sats = retained_sats + NEW.amount_sats WHERE id = NEW.settlement_id; END;
CREATE TRIGGER dca_retained_no_update BEFORE UPDATE ON dca_retained
BEGIN SELECT RAISE(ABORT, 'dca_retained is append-only'); END;
CREATE TRIGGER dca_retained_no_delete BEFORE DELETE ON dca_retained
BEGIN SELECT RAISE(ABORT, 'dca_retained is append-only'); END;

-- ---------------------------------------------------------------------------------------------------------
-- Legs: every payment that satmachine plans. Amounts never change once they are written.
-- ---------------------------------------------------------------------------------------------------------

CREATE TABLE dca_payments (
    id               INTEGER PRIMARY KEY,
    settlement_id    INTEGER REFERENCES dca_settlements (id),         -- NULL: a balance paid out
    machine_id       TEXT    NOT NULL REFERENCES dca_machines (id),   -- whose wallet pays
    revision         INTEGER NOT NULL DEFAULT 1,
    position         INTEGER NOT NULL DEFAULT 0,                      -- order within the plan
    leg_type         TEXT    NOT NULL
                     CHECK (leg_type IN ('super_fee', 'operator_split', 'dca', 'settlement', 'autoforward', 'refund')),
    leg              TEXT    NOT NULL,                  -- 'super', 'split:owner', 'dca:maria', 'fwd:maria', 'refund:1', 'bal:maria:1'
    leg_key          TEXT    NOT NULL CHECK (length(leg_key) <= 256), -- what LNbits knows it by; the same for every generation
    label            TEXT,                              -- of an operator_split
    client_id        INTEGER REFERENCES dca_clients (id),
    pct              TEXT,                              -- the rule it was computed with
    amount_sats      INTEGER NOT NULL CHECK (amount_sats >= 0),
    fiat_amount_minor INTEGER CHECK (fiat_amount_minor >= 0),         -- dca and settlement legs: what the balance goes down by
    exchange_rate    TEXT,
    currency         TEXT,
    payee            TEXT    NOT NULL,                  -- described, never a key
    effective_at     INTEGER NOT NULL,                  -- when the cash left: the sale, or the payout of the balance
    status           TEXT    NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'invoiced', 'sending', 'completed', 'failed', 'held', 'voided', 'skipped')),
    generation       INTEGER NOT NULL DEFAULT 0,        -- how many invoices it has had
    payment_hash     TEXT UNIQUE,                       -- of the invoice that paid it, or the latest one
    sent_sats        INTEGER CHECK (sent_sats >= 0),    -- what the payee got
    fee_sats         INTEGER CHECK (fee_sats >= 0),     -- what routing cost
    preimage         TEXT,
    attempts         INTEGER NOT NULL DEFAULT 0,
    next_attempt_at  INTEGER DEFAULT 0,                 -- NULL: waits for a person
    hold_reason      TEXT,
    error            TEXT,
    evidence         TEXT CHECK (evidence IS NULL OR json_valid(evidence)),  -- what the wallets said, for a held leg
    explain          TEXT CHECK (explain IS NULL OR json_valid(explain)),    -- how the amount came about
    planned_at       INTEGER NOT NULL,
    completed_at     INTEGER,
    payee_kind       TEXT    NOT NULL DEFAULT 'wallet'
                     CHECK (payee_kind IN ('wallet', 'lightning_address', 'lnurl', 'invoice')),
    payee_ref        TEXT,                              -- who it is: wallet id, address, LNURL, invoice; NULL: not learnt yet
    payee_scope      TEXT,                              -- where the payee is named, as in dca_payees
    cause            TEXT,                              -- one word: why it is not paid yet (models.Cause)
    proof            TEXT                               -- what completed it
                     CHECK (proof IN ('both_sides', 'answer', 'preimage', 'person', 'booked')),
    vouched_by       TEXT,                              -- the person, and the reason, where a person did
    seal             TEXT,                              -- that the daemon ordered exactly this (seals.py)
    UNIQUE (settlement_id, revision, leg),
    UNIQUE (machine_id, leg_key),
    CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CHECK ((status = 'held') = (hold_reason IS NOT NULL)),
    CHECK (status <> 'completed' OR (payment_hash IS NOT NULL AND sent_sats IS NOT NULL)),
    CHECK (status <> 'skipped' OR amount_sats = 0),
    CHECK (leg_type NOT IN ('dca', 'settlement') OR (client_id IS NOT NULL AND fiat_amount_minor IS NOT NULL)),
    FOREIGN KEY (settlement_id, machine_id) REFERENCES dca_settlements (id, machine_id)
) STRICT;
CREATE INDEX dca_payments_due ON dca_payments (next_attempt_at) WHERE status IN ('pending', 'invoiced', 'sending', 'failed');
CREATE INDEX dca_payments_status ON dca_payments (status) WHERE status NOT IN ('completed', 'skipped', 'voided');
CREATE INDEX dca_payments_client ON dca_payments (client_id, effective_at) WHERE client_id IS NOT NULL;
CREATE INDEX dca_payments_machine ON dca_payments (machine_id, planned_at);
CREATE INDEX dca_payments_planned ON dca_payments (planned_at);
CREATE INDEX dca_payments_completed ON dca_payments (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX dca_payments_ledger ON dca_payments (machine_id, client_id, leg_type, label, leg, completed_at, amount_sats,
    sent_sats, fee_sats, fiat_amount_minor) WHERE completed_at IS NOT NULL;
CREATE INDEX dca_payments_rare_status ON dca_payments (status, planned_at) WHERE status IN ('skipped', 'voided');
CREATE INDEX dca_payments_rare_type ON dca_payments (leg_type, planned_at)
    WHERE leg_type IN ('settlement', 'autoforward', 'refund');

CREATE TRIGGER dca_payments_keep_amount
BEFORE UPDATE OF amount_sats, fiat_amount_minor, effective_at, settlement_id, machine_id, leg_key, leg_type, client_id
ON dca_payments
WHEN NEW.amount_sats <> OLD.amount_sats OR NEW.settlement_id IS NOT OLD.settlement_id
  OR NEW.fiat_amount_minor IS NOT OLD.fiat_amount_minor OR NEW.effective_at <> OLD.effective_at
  OR NEW.machine_id <> OLD.machine_id OR NEW.leg_key <> OLD.leg_key OR NEW.leg_type <> OLD.leg_type
  OR NEW.client_id IS NOT OLD.client_id
BEGIN SELECT RAISE(ABORT, 'a planned leg never changes its amount or its identity'); END;

CREATE TRIGGER dca_payments_completed BEFORE UPDATE OF status ON dca_payments
WHEN OLD.status IN ('completed', 'voided', 'skipped') AND NEW.status <> OLD.status
BEGIN SELECT RAISE(ABORT, 'a completed, voided or skipped leg never changes again'); END;

CREATE TRIGGER dca_payments_keep BEFORE DELETE ON dca_payments
BEGIN SELECT RAISE(ABORT, 'legs are never deleted'); END;

-- The invoices that were made for a leg, one per generation: stored before they are paid.
CREATE TABLE dca_invoices (
    payment_id    INTEGER NOT NULL REFERENCES dca_payments (id),
    generation    INTEGER NOT NULL CHECK (generation >= 1),
    amount_sats   INTEGER NOT NULL CHECK (amount_sats > 0),
    asked_at      INTEGER NOT NULL,                     -- committed before LNbits was asked for it
    bolt11        TEXT,
    payment_hash  TEXT UNIQUE,
    expires_at    INTEGER,
    internal      INTEGER NOT NULL CHECK (internal IN (0, 1)),        -- 1: of a wallet of the same LNbits
    adopted       INTEGER NOT NULL DEFAULT 0 CHECK (adopted IN (0, 1)),
    sent_at       INTEGER,                              -- the intent to pay, committed before the call
    dead_at       INTEGER,                              -- proven that it can no longer be paid
    wallet_id     TEXT,                                 -- of this LNbits, that it pays into
    mark_id       TEXT,                                 -- the mark that names it first
    marked_at     INTEGER,                              -- seen under the only head mark of its bundle: only now it may be paid
    seal          TEXT,                                 -- that the daemon was given exactly this one
    shown_at      INTEGER,                              -- of a payee elsewhere: when the paying wallet first showed a payment of it
    PRIMARY KEY (payment_id, generation)
) STRICT, WITHOUT ROWID;

-- Payees elsewhere whose servers are being asked right now, by the SHA-256 of their address. What a dead daemon leaves
-- here may be what killed it: it waits, longer with each death, before it is asked again.
CREATE TABLE dca_asked_payees (
    payee_digest  TEXT PRIMARY KEY CHECK (length(payee_digest) = 64),
    deaths        INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0),
    asked_at      INTEGER,                               -- NULL: not right now
    waits_until   INTEGER NOT NULL DEFAULT 0 -- after a death
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------------------------------------------------
-- Liquidity providers
-- ---------------------------------------------------------------------------------------------------------

CREATE TABLE dca_clients (
    id                 INTEGER PRIMARY KEY,
    machine_id         TEXT    NOT NULL REFERENCES dca_machines (id),
    label              TEXT    NOT NULL,                -- part of payment keys: never used again for somebody else
    person             TEXT    NOT NULL,                -- the same person may be a client at several machines
    mode               TEXT    NOT NULL CHECK (mode IN ('flow', 'fixed')),
    daily_limit_minor  INTEGER CHECK (daily_limit_minor > 0),
    status             TEXT    NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'removed')),
    payee_kind         TEXT    NOT NULL CHECK (payee_kind IN ('invoice_key_file', 'lightning_address', 'lnurl')),
    payee              TEXT    NOT NULL,                -- the address, or the file in which the key is kept
    autoforward        TEXT,                            -- a Lightning address
    autoforward_key_file TEXT,                          -- the file in which the admin key of the LP's wallet is kept
    -- Running totals, kept by trigger, so that planning a sale need not add up a machine's whole history.
    confirmed_minor    INTEGER NOT NULL DEFAULT 0 CHECK (confirmed_minor >= 0),  -- of confirmed deposits
    used_minor         INTEGER NOT NULL DEFAULT 0 CHECK (used_minor >= 0),       -- of dca and settlement legs that are not voided
    created_at         INTEGER NOT NULL,
    created_by         TEXT    NOT NULL,
    removed_at         INTEGER,
    UNIQUE (machine_id, label),
    UNIQUE (id, machine_id),
    CHECK ((mode = 'fixed') = (daily_limit_minor IS NOT NULL)),
    CHECK ((status = 'removed') = (removed_at IS NOT NULL)),
    CHECK ((autoforward IS NULL) = (autoforward_key_file IS NULL))
) STRICT;
CREATE TRIGGER dca_clients_keep BEFORE DELETE ON dca_clients
BEGIN SELECT RAISE(ABORT, 'clients are removed by status; their history stays'); END;
CREATE TRIGGER dca_clients_keep_identity BEFORE UPDATE OF machine_id, label ON dca_clients
WHEN NEW.machine_id <> OLD.machine_id OR NEW.label <> OLD.label
BEGIN SELECT RAISE(ABORT, 'a client keeps machine and label: they are part of payment keys'); END;

-- Cash: what LPs brought (pending until it is confirmed), and, as negative rows, what was recorded wrongly and what they
-- took home again. Confirmed rows are never changed.
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
    effective_at  INTEGER,                        -- from when on it counts: as stated, else when it was confirmed
    reverses      INTEGER REFERENCES dca_deposits (id),   -- of a reversal
    cash_id       INTEGER REFERENCES dca_cash (id),       -- the load that it was proposed with
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
CREATE INDEX dca_deposits_cash ON dca_deposits (cash_id) WHERE cash_id IS NOT NULL;
CREATE UNIQUE INDEX dca_deposits_reverses ON dca_deposits (reverses) WHERE reverses IS NOT NULL;
CREATE TRIGGER dca_deposits_no_update BEFORE UPDATE ON dca_deposits WHEN OLD.status <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a confirmed or rejected deposit is an audit record: it never changes'); END;
CREATE TRIGGER dca_deposits_no_delete BEFORE DELETE ON dca_deposits WHEN OLD.status <> 'pending'
BEGIN SELECT RAISE(ABORT, 'a confirmed or rejected deposit is an audit record: it is never deleted'); END;

CREATE TRIGGER dca_clients_confirmed_insert AFTER INSERT ON dca_deposits WHEN NEW.status = 'confirmed'
BEGIN UPDATE dca_clients SET confirmed_minor = confirmed_minor + NEW.amount_minor WHERE id = NEW.client_id; END;
CREATE TRIGGER dca_clients_confirmed_update AFTER UPDATE OF status ON dca_deposits WHEN NEW.status = 'confirmed'
BEGIN UPDATE dca_clients SET confirmed_minor = confirmed_minor + NEW.amount_minor WHERE id = NEW.client_id; END;
CREATE TRIGGER dca_clients_used_insert AFTER INSERT ON dca_payments
WHEN NEW.leg_type IN ('dca', 'settlement') AND NEW.status NOT IN ('voided', 'skipped')
BEGIN UPDATE dca_clients SET used_minor = used_minor + NEW.fiat_amount_minor WHERE id = NEW.client_id; END;
CREATE TRIGGER dca_clients_used_update AFTER UPDATE OF status ON dca_payments
WHEN NEW.leg_type IN ('dca', 'settlement') AND NEW.status IN ('voided', 'skipped')
 AND OLD.status NOT IN ('voided', 'skipped')
BEGIN UPDATE dca_clients SET used_minor = used_minor - NEW.fiat_amount_minor WHERE id = NEW.client_id; END;

-- Cash that a customer did not get of a sale that was paid out already: a jam that was seen too late. The sale's cash is
-- corrected at once. The customer gets sats back, which a top-up brings (dca_topups): when the machine's wallet shows it
-- paid, the refund is planned. `payee` NULL: the customer was paid by hand. `deposit_id`: whose the cash is now, NULL:
-- the operator's.
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

-- ---------------------------------------------------------------------------------------------------------
-- Books for people: closed months, signed statements, messages to LPs
-- ---------------------------------------------------------------------------------------------------------

-- A month that was closed: what every account of the ledger came to, and a digest of its entries, chained to the month
-- before. What is landed or corrected later counts in the open month (store/ledger.py).
CREATE TABLE dca_periods (
    name       TEXT PRIMARY KEY,                        -- '2026-11'
    start_at   INTEGER NOT NULL,                        -- the end of the one before; of the first, where it began
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

-- ---------------------------------------------------------------------------------------------------------
-- Cash: what people did with the notes (SPEC section 12)
-- ---------------------------------------------------------------------------------------------------------

-- What people did with the notes of a machine: they put some in (`load`), took some out (`take`) or all of them
-- (`collect`), or counted them (`count`). Rows are only ever added: a correction names the row that it replaces, a `void`
-- takes one back, and `root_id` is the first row of such a chain. A count or a collection closes a cycle.
CREATE TABLE dca_cash (
    id            INTEGER PRIMARY KEY,
    root_id       INTEGER NOT NULL REFERENCES dca_cash (id),
    corrects      INTEGER REFERENCES dca_cash (id),     -- the row that this one takes the place of
    machine_id    TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('load', 'take', 'collect', 'count', 'void')),
    at            INTEGER NOT NULL,                     -- when it was done, as the person says
    amount_minor  INTEGER NOT NULL CHECK (amount_minor >= 0),           -- the sum of its notes, kept right by `audit`
    currency      TEXT    NOT NULL,
    told_minor    INTEGER,                              -- what the machine said last before `at`: cash left, as a beacon told
    told_at       INTEGER,
    note          TEXT    NOT NULL DEFAULT '',
    actor         TEXT    NOT NULL,
    recorded_at   INTEGER NOT NULL,
    CHECK ((corrects IS NULL) = (root_id = id)),
    CHECK (kind <> 'void' OR (corrects IS NOT NULL AND amount_minor = 0)),
    FOREIGN KEY (machine_id, currency) REFERENCES dca_machines (id, currency)
) STRICT;
CREATE UNIQUE INDEX dca_cash_corrects ON dca_cash (corrects) WHERE corrects IS NOT NULL;
CREATE INDEX dca_cash_machine ON dca_cash (machine_id, at);
CREATE INDEX dca_cash_root ON dca_cash (root_id);
CREATE INDEX dca_cash_time ON dca_cash (recorded_at);
CREATE TRIGGER dca_cash_no_update BEFORE UPDATE ON dca_cash
BEGIN SELECT RAISE(ABORT, 'dca_cash is append-only: correct a row with another one'); END;
CREATE TRIGGER dca_cash_no_delete BEFORE DELETE ON dca_cash
BEGIN SELECT RAISE(ABORT, 'dca_cash is append-only: correct a row with another one'); END;

-- The notes of such a row: so many of a denomination, in a cassette where it is known; or money whose notes were not
-- counted one by one (denomination and notes NULL).
CREATE TABLE dca_cash_notes (
    cash_id             INTEGER NOT NULL REFERENCES dca_cash (id),
    position            INTEGER NOT NULL,
    cassette            INTEGER CHECK (cassette >= 1),
    denomination_minor  INTEGER CHECK (denomination_minor > 0),
    notes               INTEGER CHECK (notes >= 0),
    amount_minor        INTEGER NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (cash_id, position),
    CHECK ((denomination_minor IS NULL) = (notes IS NULL)),
    CHECK (notes IS NULL OR amount_minor = denomination_minor * notes)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER dca_cash_notes_no_update BEFORE UPDATE ON dca_cash_notes
BEGIN SELECT RAISE(ABORT, 'dca_cash_notes is append-only'); END;
CREATE TRIGGER dca_cash_notes_no_delete BEFORE DELETE ON dca_cash_notes
BEGIN SELECT RAISE(ABORT, 'dca_cash_notes is append-only'); END;

-- Why cash was missing (below 0) or too much: what a person has said about a cycle's difference. `cash_id` is the first
-- row of the count or collection that closed the cycle, so that a correction of that count keeps what was booked.
CREATE TABLE dca_cash_booked (
    id            INTEGER PRIMARY KEY,
    cash_id       INTEGER NOT NULL REFERENCES dca_cash (id),
    machine_id    TEXT    NOT NULL REFERENCES dca_machines (id),
    amount_minor  INTEGER NOT NULL CHECK (amount_minor <> 0),
    currency      TEXT    NOT NULL,
    since_at      INTEGER NOT NULL,                     -- it arose after then ..
    until_at      INTEGER NOT NULL,                     -- .. and not after then, as it looked when it was booked
    reason        TEXT    NOT NULL CHECK (reason <> ''),
    actor         TEXT    NOT NULL,
    recorded_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX dca_cash_booked_cash ON dca_cash_booked (cash_id);
CREATE TRIGGER dca_cash_booked_no_update BEFORE UPDATE ON dca_cash_booked
BEGIN SELECT RAISE(ABORT, 'dca_cash_booked is append-only: book the opposite amount'); END;
CREATE TRIGGER dca_cash_booked_no_delete BEFORE DELETE ON dca_cash_booked
BEGIN SELECT RAISE(ABORT, 'dca_cash_booked is append-only: book the opposite amount'); END;

-- When each machine runs out of cash, as the daemon last worked it out (cash/forecast.py). Figures of the past weeks,
-- no books: they are written over. NULL: not within the days that were looked at, or too little is known.
CREATE TABLE dca_cash_forecasts (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    computed_at   INTEGER NOT NULL,
    source        TEXT    NOT NULL CHECK (source IN ('book', 'beacon', 'none')),  -- where `cash_minor` is from
    cash_minor    INTEGER,                              -- in the machine when it was worked out
    currency      TEXT    NOT NULL,
    days_known    INTEGER NOT NULL,                     -- how many days of sales it rests on
    sure          TEXT    NOT NULL CHECK (sure IN ('good', 'fair', 'poor', 'none')),
    horizon_days  INTEGER NOT NULL,
    open_differences INTEGER NOT NULL DEFAULT 0, -- counts that were not as expected, and not booked
    early_at      INTEGER,                              -- with one chance in ten it is empty before
    likely_at     INTEGER,
    late_at       INTEGER                               -- with one chance in ten it is not empty yet
) STRICT;

-- ---------------------------------------------------------------------------------------------------------
-- Telemetry
-- ---------------------------------------------------------------------------------------------------------

-- The present state of each machine: every beacon merged field by field; NULL: no beacon has said it yet. `origins`
-- says which beacon each field is from, {column or "extra.key": [created_at, event id]}, so that the order of arrival
-- never matters. Cash is in the machine's currency (dca_machines.currency).
CREATE TABLE dca_telemetry (
    machine_id        TEXT PRIMARY KEY REFERENCES dca_machines (id),
    name              TEXT,
    location          TEXT,
    status            TEXT,
    software_version  TEXT,
    uptime_s          INTEGER,
    cassettes         TEXT CHECK (cassettes IS NULL OR json_valid(cassettes)),  -- [{denomination_minor, count, capacity}]
    cash_total_minor  INTEGER,                          -- as the machine adds it up
    cash_left_minor   INTEGER,                          -- of the newest beacon that tells: its total, else the sum of its cassettes
    currency          TEXT,                             -- as the machine says
    exchange_rate     TEXT,
    fee_pct           TEXT,                             -- as the machine says
    last_error        TEXT,
    extra             TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(extra)),  -- fields that have no column yet, merged alike
    raw               TEXT    NOT NULL,                 -- the content of the newest beacon
    origins           TEXT    NOT NULL CHECK (json_valid(origins)),
    beacon_at         INTEGER NOT NULL,                 -- created_at of the newest beacon
    beacon_id         TEXT    NOT NULL,
    received_at       INTEGER NOT NULL
) STRICT;

-- Every beacon, for keep_days. The key keeps a machine's history together and makes replays harmless.
CREATE TABLE dca_telemetry_log (
    machine_id        TEXT    NOT NULL REFERENCES dca_machines (id),
    created_at        INTEGER NOT NULL,
    event_id          BLOB    NOT NULL CHECK (length(event_id) = 32),
    d_tag             TEXT    NOT NULL,
    received_at       INTEGER NOT NULL,
    status            TEXT,                             -- as this beacon says, or NULL
    cash_left_minor   INTEGER,                          -- likewise
    raw               TEXT    NOT NULL,
    PRIMARY KEY (machine_id, created_at, event_id)
) STRICT, WITHOUT ROWID;

-- Fleet snapshots (kind 30079), for keep_days: their schema is not settled, so they are kept raw.
CREATE TABLE dca_fleet_snapshots (
    machine_id   TEXT    NOT NULL REFERENCES dca_machines (id),
    created_at   INTEGER NOT NULL,
    event_id     BLOB    NOT NULL CHECK (length(event_id) = 32),
    d_tag        TEXT    NOT NULL,
    received_at  INTEGER NOT NULL,
    raw          TEXT    NOT NULL,
    PRIMARY KEY (machine_id, created_at, event_id)
) STRICT, WITHOUT ROWID;

-- Kind 21000 that is not for this daemon: a machine's encrypted requests to its LNbits. Counted, never kept.
CREATE TABLE dca_transport_events (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    events        INTEGER NOT NULL,
    old_nip44     INTEGER NOT NULL DEFAULT 0,           -- of these, in the format before NIP-44 version 2
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    addressee     TEXT    NOT NULL                      -- the public key that the last one named
) STRICT;

-- Where machines say that they publish (NIP-65), for `discover_relays`; the newest list of each.
CREATE TABLE dca_relay_lists (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    event_id      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    relays        TEXT    NOT NULL CHECK (json_valid(relays)),        -- its write relays that are listened to
    refused       TEXT    NOT NULL CHECK (json_valid(refused))        -- {url: why it is not}
) STRICT;

-- ---------------------------------------------------------------------------------------------------------
-- Quarantine and audit
-- ---------------------------------------------------------------------------------------------------------

-- Signed events of known machines that could not be used, with the reason in words. Nothing is thrown away.
CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY,
    event_id       TEXT    NOT NULL UNIQUE,
    machine_id     TEXT    NOT NULL REFERENCES dca_machines (id),
    kind           INTEGER NOT NULL,
    reason         TEXT    NOT NULL,                    -- one word: bad_json, amounts, currency, conflict, too_old, ...
    detail         TEXT    NOT NULL,                    -- a sentence for the operator
    created_at     INTEGER NOT NULL,
    received_at    INTEGER NOT NULL,
    relay_url      TEXT    NOT NULL,
    raw            TEXT    NOT NULL,
    status         TEXT    NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'landed')),
    settlement_id  INTEGER REFERENCES dca_settlements (id),           -- the one it conflicts with, or became
    retried_at     INTEGER,
    whole          INTEGER NOT NULL DEFAULT 1 CHECK (whole IN (0, 1)), -- 0: `raw` was too long, this is its beginning
    dismissed_at   INTEGER,                             -- a person has judged it: it needs nobody any more
    dismissed_why  TEXT
) STRICT;
CREATE INDEX quarantine_machine ON quarantine (machine_id, received_at);
CREATE INDEX quarantine_reason ON quarantine (machine_id, reason) WHERE status = 'open';
CREATE INDEX quarantine_received ON quarantine (received_at);

-- Of a machine and a reason only so many messages are kept at a time; how many more there were.
CREATE TABLE quarantine_overflow (
    machine_id  TEXT    NOT NULL REFERENCES dca_machines (id),
    reason      TEXT    NOT NULL,
    events      INTEGER NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    PRIMARY KEY (machine_id, reason)
) STRICT, WITHOUT ROWID;

-- Every change of money or state that a person or the daemon decided.
CREATE TABLE audit_log (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,                       -- 'daemon', or who typed the command
    action      TEXT    NOT NULL,                       -- 'settlement.hold', 'deposit.confirm', ...
    subject     TEXT    NOT NULL,                       -- 'settlement 12'
    machine_id  TEXT,
    reason      TEXT    NOT NULL DEFAULT '',
    before      TEXT CHECK (before IS NULL OR json_valid(before)),
    after       TEXT CHECK (after IS NULL OR json_valid(after))
) STRICT;
CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX audit_log_actor ON audit_log (actor, at);
CREATE INDEX audit_log_action ON audit_log (action, at);
CREATE INDEX audit_log_subject ON audit_log (subject, at);
CREATE INDEX audit_log_machine ON audit_log (machine_id, at);
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;

-- Who can write this file can change whom an LP's sats go to. What no command of satmachine has announced in the log
-- right before it is noted here, and `satmachine audit` tells of it until a person has said which payee is right.
CREATE TRIGGER dca_clients_added_outside AFTER INSERT ON dca_clients
WHEN NOT EXISTS (
    SELECT 1 FROM (SELECT subject, action, after FROM audit_log ORDER BY id DESC LIMIT 1) a
    WHERE a.subject = 'client ' || NEW.id AND a.action = 'client.add'
      AND json_extract(a.after, '$.payee_kind') IS NEW.payee_kind AND json_extract(a.after, '$.payee') IS NEW.payee
      AND json_extract(a.after, '$.autoforward') IS NEW.autoforward
      AND json_extract(a.after, '$.autoforward_key_file') IS NEW.autoforward_key_file)
BEGIN
    INSERT INTO audit_log (at, actor, action, subject, machine_id, after)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'somebody with SQL', 'client.changed_outside',
            'client ' || NEW.id, NEW.machine_id,
            json_object('payee_kind', NEW.payee_kind, 'payee', NEW.payee, 'autoforward', NEW.autoforward,
                        'autoforward_key_file', NEW.autoforward_key_file));
END;

CREATE TRIGGER dca_clients_changed_outside
AFTER UPDATE OF payee_kind, payee, autoforward, autoforward_key_file ON dca_clients
WHEN (NEW.payee_kind <> OLD.payee_kind OR NEW.payee <> OLD.payee OR NEW.autoforward IS NOT OLD.autoforward
      OR NEW.autoforward_key_file IS NOT OLD.autoforward_key_file)
 AND NOT EXISTS (
    SELECT 1 FROM (SELECT subject, action, after FROM audit_log ORDER BY id DESC LIMIT 1) a
    WHERE a.subject = 'client ' || NEW.id AND a.action = 'client.update'
      AND coalesce(json_extract(a.after, '$.payee_kind'), OLD.payee_kind) = NEW.payee_kind
      AND coalesce(json_extract(a.after, '$.payee'), OLD.payee) = NEW.payee
      AND CASE WHEN json_type(a.after, '$.autoforward') IS NULL THEN OLD.autoforward
               ELSE json_extract(a.after, '$.autoforward') END IS NEW.autoforward
      AND CASE WHEN json_type(a.after, '$.autoforward_key_file') IS NULL THEN OLD.autoforward_key_file
               ELSE json_extract(a.after, '$.autoforward_key_file') END IS NEW.autoforward_key_file)
BEGIN
    INSERT INTO audit_log (at, actor, action, subject, machine_id, before, after)
    VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'somebody with SQL', 'client.changed_outside',
            'client ' || NEW.id, NEW.machine_id,
            json_object('payee_kind', OLD.payee_kind, 'payee', OLD.payee, 'autoforward', OLD.autoforward,
                        'autoforward_key_file', OLD.autoforward_key_file),
            json_object('payee_kind', NEW.payee_kind, 'payee', NEW.payee, 'autoforward', NEW.autoforward,
                        'autoforward_key_file', NEW.autoforward_key_file));
END;

-- ---------------------------------------------------------------------------------------------------------
-- Views: the usual questions (docs/telemetry.md), in SQL that any SQLite from 3.37 on can run
--
-- The present comes from dca_telemetry, one row a machine; the log is only ever read by machine and time, because a
-- GROUP BY over it would read all of it. Fiat stands twice: exact, as .._minor, and as text in major units.
-- ---------------------------------------------------------------------------------------------------------

-- Every configured machine with its currency, the decimals that amounts in it have, and how many minor units one major
-- unit has. An amount in major units is its text: sign, whole units, and, where there are digits, the rest.
CREATE VIEW telemetry_machines AS
SELECT id AS machine_id, operator_id, name AS machine, currency, digits,
       CASE digits WHEN 0 THEN 1 WHEN 1 THEN 10 WHEN 2 THEN 100 ELSE 1000 END AS unit
FROM dca_machines WHERE in_config = 1;

-- The latest known state of every configured machine; NULL: never said.
CREATE VIEW telemetry_latest AS
SELECT m.machine_id, m.operator_id, m.machine, t.name, t.location, t.status, t.software_version, t.uptime_s,
       t.cassettes, t.cash_left_minor,
       iif(t.cash_left_minor < 0, '-', '') || (abs(t.cash_left_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(t.cash_left_minor) % m.unit), '') AS cash_left,
       t.cash_total_minor, m.currency, t.currency AS told_currency, t.exchange_rate, t.fee_pct, t.last_error, t.extra,
       t.beacon_at, max(0, CAST(strftime('%s', 'now') AS INTEGER) - t.beacon_at) AS age_s, t.received_at
FROM telemetry_machines m LEFT JOIN dca_telemetry t ON t.machine_id = m.machine_id;

-- Who is there: online while the newest beacon is at most 15 minutes old. `age_s` serves other limits.
CREATE VIEW telemetry_online AS
SELECT machine_id, operator_id, machine,
       CASE WHEN age_s IS NULL THEN 'never' WHEN age_s <= 900 THEN 'online' ELSE 'offline' END AS state,
       age_s, datetime(beacon_at, 'unixepoch') AS last_beacon, status, last_error
FROM telemetry_latest;

-- Cash left in each cassette, and how full it is; percent is NULL where the machine has not said the capacity.
CREATE VIEW cash_by_cassette AS
WITH told AS (
    SELECT t.machine_id, c.key + 1 AS cassette, json_extract(c.value, '$.denomination_minor') AS denomination_minor,
           json_extract(c.value, '$.count') AS notes, json_extract(c.value, '$.capacity') AS capacity
    FROM dca_telemetry t, json_each(t.cassettes) c
), c AS (
    SELECT *, denomination_minor * notes AS cash_minor FROM told
)
SELECT m.machine_id, m.operator_id, m.machine, c.cassette, c.denomination_minor,
       iif(c.denomination_minor < 0, '-', '') || (abs(c.denomination_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(c.denomination_minor) % m.unit), '') AS denomination,
       c.notes, c.capacity, c.notes * 100 / nullif(c.capacity, 0) AS percent, c.cash_minor,
       iif(c.cash_minor < 0, '-', '') || (abs(c.cash_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(c.cash_minor) % m.unit), '') AS cash,
       m.currency
FROM telemetry_machines m JOIN c ON c.machine_id = m.machine_id;

-- Cassettes to refill: empty, or below 20 percent.
CREATE VIEW low_cassettes AS
SELECT * FROM cash_by_cassette WHERE notes = 0 OR percent < 20;

-- Cash left at every beacon that told of it. Ask for a machine and a span of `at` (Unix seconds).
CREATE VIEW cash_over_time AS
SELECT m.machine_id, m.operator_id, m.machine, l.created_at AS at, datetime(l.created_at, 'unixepoch') AS time,
       l.cash_left_minor,
       iif(l.cash_left_minor < 0, '-', '') || (abs(l.cash_left_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(l.cash_left_minor) % m.unit), '') AS cash_left,
       m.currency
FROM telemetry_machines m CROSS JOIN dca_telemetry_log l ON l.machine_id = m.machine_id
WHERE l.cash_left_minor IS NOT NULL;

-- Proven sales per machine and UTC day, next to what the machine told that day: beacons, and cash left at its end.
CREATE VIEW sales_per_day AS
WITH day AS (
    SELECT machine_id, occurred_at / 86400 * 86400 AS day_at, count(*) AS sales, sum(status = 'refunded') AS refunded,
           sum(gross_sats) AS gross_sats, sum(net_sats) AS net_sats, sum(commission_sats) AS commission_sats,
           sum(fiat_amount_minor) AS fiat_amount_minor
    FROM dca_settlements WHERE proof <> 'waiting' GROUP BY machine_id, occurred_at / 86400
), told AS (
    SELECT day.*,
           (SELECT count(*) FROM dca_telemetry_log l WHERE l.machine_id = day.machine_id
            AND l.created_at >= day.day_at AND l.created_at < day.day_at + 86400) AS beacons,
           (SELECT l.cash_left_minor FROM dca_telemetry_log l WHERE l.machine_id = day.machine_id
            AND l.created_at >= day.day_at AND l.created_at < day.day_at + 86400 AND l.cash_left_minor IS NOT NULL
            ORDER BY l.created_at DESC LIMIT 1) AS cash_left_minor
    FROM day
)
SELECT d.machine_id, m.operator_id, m.machine, date(d.day_at, 'unixepoch') AS day, d.sales, d.refunded, d.gross_sats,
       d.net_sats, d.commission_sats, d.fiat_amount_minor,
       iif(d.fiat_amount_minor < 0, '-', '') || (abs(d.fiat_amount_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(d.fiat_amount_minor) % m.unit), '') AS fiat_amount,
       d.beacons, d.cash_left_minor,
       iif(d.cash_left_minor < 0, '-', '') || (abs(d.cash_left_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(d.cash_left_minor) % m.unit), '') AS cash_left,
       m.currency
FROM told d JOIN telemetry_machines m ON m.machine_id = d.machine_id;

-- The latest proven sale of every configured machine, and how long ago it was; NULL: none yet.
CREATE VIEW last_sale AS
SELECT m.machine_id, m.operator_id, m.machine, s.id AS settlement_id, s.occurred_at AS last_sale_at,
       datetime(s.occurred_at, 'unixepoch') AS last_sale,
       max(0, CAST(strftime('%s', 'now') AS INTEGER) - s.occurred_at) AS since_s, s.gross_sats
FROM telemetry_machines m LEFT JOIN dca_settlements s ON s.id = (
    SELECT id FROM dca_settlements
    WHERE machine_id = m.machine_id AND proof <> 'waiting' ORDER BY occurred_at DESC, id DESC LIMIT 1
);

-- The cash book as it stands: what was corrected or taken back is not here any more.
CREATE VIEW cash_entries AS
SELECT c.* FROM dca_cash c
WHERE c.kind <> 'void' AND NOT EXISTS (SELECT 1 FROM dca_cash x WHERE x.corrects = c.id);

-- The cash that each proven sale took out of its machine; NULL: the sale does not say it.
CREATE VIEW cash_sales AS
SELECT id AS settlement_id, machine_id, occurred_at AS at, fiat_amount_minor AS sold_minor
FROM dca_settlements WHERE proof <> 'waiting';

-- From one count or collection to the next, and (closed_id NULL) what has been since the last one: opening + loaded
-- - taken - sold = expected, beside what was counted and what the machine said. A cycle is named by the row that closed it.
CREATE VIEW cash_cycles AS
WITH span AS (
    SELECT m.machine_id, m.id, m.root_id, m.at, m.amount_minor, m.told_minor, m.told_at,
           (SELECT p.id FROM cash_entries p WHERE p.machine_id = m.machine_id AND p.kind IN ('count', 'collect')
            AND p.at <= m.at AND (p.at < m.at OR p.root_id < m.root_id)
            ORDER BY p.at DESC, p.root_id DESC LIMIT 1) AS before_id
    FROM cash_entries m WHERE m.kind IN ('count', 'collect')
    UNION ALL
    SELECT m.id, NULL, NULL, NULL, NULL, NULL, NULL,
           (SELECT p.id FROM cash_entries p WHERE p.machine_id = m.id AND p.kind IN ('count', 'collect')
            ORDER BY p.at DESC, p.root_id DESC LIMIT 1)
    FROM dca_machines m WHERE EXISTS (SELECT 1 FROM cash_entries c WHERE c.machine_id = m.id)
), first AS (
    SELECT s.*, CASE WHEN s.before_id IS NULL THEN (
           SELECT min(e.at) FROM cash_entries e WHERE e.machine_id = s.machine_id AND e.kind IN ('load', 'take')
           AND (s.at IS NULL OR e.at < s.at OR (e.at = s.at AND e.root_id < s.root_id))) END AS first_at
    FROM span s
), begun AS (
    -- Before the first count the machine is taken for empty, from its first load on.
    SELECT f.machine_id, f.id, f.root_id, f.at, f.amount_minor, f.told_minor, f.told_at,
           coalesce(o.at, f.first_at) AS opened_at, coalesce(o.root_id, 0) AS opened_root,
           CASE WHEN o.kind = 'count' THEN o.amount_minor WHEN o.kind = 'collect' OR f.first_at IS NOT NULL THEN 0
                END AS opening_minor
    FROM first f LEFT JOIN dca_cash o ON o.id = f.before_id
), summed AS (
    -- Grouped, so that each sum is made once, however often it is named below.
    SELECT b.machine_id, b.id, b.root_id, b.at, b.amount_minor, b.told_minor, b.told_at, b.opened_at, b.opening_minor,
           (SELECT coalesce(sum(e.amount_minor), 0) FROM cash_entries e
            WHERE e.machine_id = b.machine_id AND e.kind = 'load' AND e.at >= b.opened_at
              AND (e.at, e.root_id) > (b.opened_at, b.opened_root)
              AND (b.at IS NULL OR (e.at, e.root_id) < (b.at, b.root_id))) AS loaded_minor,
           (SELECT coalesce(sum(e.amount_minor), 0) FROM cash_entries e
            WHERE e.machine_id = b.machine_id AND e.kind = 'take' AND e.at >= b.opened_at
              AND (e.at, e.root_id) > (b.opened_at, b.opened_root)
              AND (b.at IS NULL OR (e.at, e.root_id) < (b.at, b.root_id))) AS taken_minor,
           (SELECT coalesce(sum(k.amount_minor), 0) FROM dca_cash_booked k WHERE k.cash_id = b.root_id) AS booked_minor,
           coalesce(sum(s.fiat_amount_minor), 0) AS sold_minor, count(s.id) AS sales,
           count(s.id) - count(s.fiat_amount_minor) AS unknown_sales
    FROM begun b LEFT JOIN dca_settlements s ON s.machine_id = b.machine_id AND s.proof <> 'waiting'
     AND s.occurred_at > b.opened_at AND s.occurred_at <= coalesce(b.at, 9223372036854775807)
    GROUP BY b.machine_id, b.id
), compared AS (
    SELECT s.*, opening_minor + loaded_minor - taken_minor - sold_minor AS expected_minor,
           s.amount_minor - (opening_minor + loaded_minor - taken_minor - sold_minor) AS difference_minor
    FROM summed s
)
SELECT c.machine_id, m.operator_id, m.machine, c.id AS closed_id, c.root_id, c.opened_at, c.at AS closed_at,
       c.opening_minor, c.loaded_minor, c.taken_minor, c.sold_minor, c.sales, c.unknown_sales, c.expected_minor,
       c.told_minor, c.told_at, c.amount_minor AS counted_minor, c.difference_minor, c.booked_minor,
       c.difference_minor - c.booked_minor AS open_minor,
       CASE WHEN c.id IS NULL THEN 'open' WHEN c.opening_minor IS NULL THEN 'start'
            WHEN c.difference_minor = c.booked_minor THEN 'even' WHEN c.unknown_sales > 0 THEN 'unclear'
            WHEN c.difference_minor < c.booked_minor THEN 'short' ELSE 'over' END AS state,
       iif(c.expected_minor < 0, '-', '') || (abs(c.expected_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(c.expected_minor) % m.unit), '') AS expected,
       iif(c.amount_minor < 0, '-', '') || (abs(c.amount_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(c.amount_minor) % m.unit), '') AS counted,
       iif(c.difference_minor < 0, '-', '') || (abs(c.difference_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(c.difference_minor) % m.unit), '') AS difference,
       m.currency
FROM compared c JOIN telemetry_machines m ON m.machine_id = c.machine_id;

-- Cycles whose cash was not what it should have been, whether that is booked or not, with the first and the last sale
-- in which it can have arisen; `satmachine cash report` narrows that down by what the machine told.
CREATE VIEW cash_differences AS
SELECT c.machine_id, c.operator_id, c.machine, c.closed_id, c.state, c.opened_at, c.closed_at, c.expected_minor,
       c.counted_minor, c.difference_minor, c.booked_minor, c.open_minor, c.expected, c.counted, c.difference, c.currency,
       (SELECT s.settlement_id FROM cash_sales s WHERE s.machine_id = c.machine_id AND s.at > c.opened_at
        AND s.at <= c.closed_at ORDER BY s.at, s.settlement_id LIMIT 1) AS first_settlement_id,
       (SELECT s.settlement_id FROM cash_sales s WHERE s.machine_id = c.machine_id AND s.at > c.opened_at
        AND s.at <= c.closed_at ORDER BY s.at DESC, s.settlement_id DESC LIMIT 1) AS last_settlement_id,
       c.unknown_sales,
       (SELECT group_concat(k.reason, '; ') FROM dca_cash_booked k WHERE k.cash_id = c.root_id) AS reasons
FROM cash_cycles c WHERE c.difference_minor <> 0 OR c.booked_minor <> 0;

-- The cash that should be in each machine now, beside what it says itself, and whose it is. own_minor is the operator's,
-- below 0: LPs have more on the books than there is. Sales that are not shared out yet still stand in LPs' balances. A
-- book that is below 0 lacks a load; then the machine's word counts.
CREATE VIEW cash_now AS
WITH begun AS (
    SELECT m.machine_id, m.operator_id, m.machine, m.currency, m.digits, m.unit, coalesce(o.root_id, 0) AS opened_root,
           coalesce(o.at, (SELECT min(e.at) FROM cash_entries e WHERE e.machine_id = m.machine_id)) AS opened_at,
           CASE WHEN o.kind = 'count' THEN o.amount_minor ELSE 0 END AS opening_minor
    FROM telemetry_machines m LEFT JOIN dca_cash o ON o.id = (
        SELECT p.id FROM cash_entries p WHERE p.machine_id = m.machine_id AND p.kind IN ('count', 'collect')
        ORDER BY p.at DESC, p.root_id DESC LIMIT 1)
), book AS (
    SELECT b.machine_id, b.operator_id, b.machine, b.currency, b.digits, b.unit, b.opened_at,
           CASE WHEN b.opened_at IS NOT NULL THEN b.opening_minor - coalesce(sum(s.fiat_amount_minor), 0) + (
               SELECT coalesce(sum(CASE e.kind WHEN 'load' THEN e.amount_minor WHEN 'take' THEN -e.amount_minor END), 0)
               FROM cash_entries e WHERE e.machine_id = b.machine_id AND e.at >= b.opened_at
                 AND (e.at, e.root_id) > (b.opened_at, b.opened_root)) END AS expected_minor,
           count(s.id) - count(s.fiat_amount_minor) AS unknown_sales
    FROM begun b LEFT JOIN dca_settlements s ON s.machine_id = b.machine_id AND s.proof <> 'waiting'
     AND s.occurred_at > b.opened_at
    GROUP BY b.machine_id
), now AS (
    SELECT b.*, t.cash_left_minor AS told_minor,
           max(0, CAST(strftime('%s', 'now') AS INTEGER) - t.beacon_at) AS told_age_s,
           CASE WHEN b.expected_minor >= 0 OR t.cash_left_minor IS NULL THEN b.expected_minor
                ELSE t.cash_left_minor END AS cash_minor,
           (SELECT coalesce(sum(l.confirmed_minor - l.used_minor), 0) FROM dca_clients l
            WHERE l.machine_id = b.machine_id) AS providers_minor,
           (SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d
            WHERE d.machine_id = b.machine_id AND d.status = 'pending') AS pending_minor,
           (SELECT coalesce(sum(s.fiat_amount_minor), 0) FROM dca_settlements s WHERE +s.machine_id = b.machine_id
            AND s.status NOT IN ('processed', 'partial', 'refunded') AND s.planned_at IS NULL
            AND +s.proof <> 'waiting') AS unshared_minor
    FROM book b LEFT JOIN dca_telemetry t ON t.machine_id = b.machine_id
)
SELECT m.machine_id, m.operator_id, m.machine, m.cash_minor,
       iif(m.cash_minor < 0, '-', '') || (abs(m.cash_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(m.cash_minor) % m.unit), '') AS cash,
       CASE WHEN m.expected_minor >= 0 THEN 'book' WHEN m.told_minor IS NOT NULL THEN 'beacon'
            WHEN m.expected_minor IS NOT NULL THEN 'book' END AS source,
       m.opened_at AS counted_at, m.unknown_sales, m.expected_minor, m.told_minor, m.told_age_s,
       m.providers_minor, m.pending_minor,
       m.unshared_minor, m.cash_minor + m.unshared_minor - m.providers_minor AS own_minor, m.currency
FROM now m;

-- What the forecast is made from: the cash that each machine sold on each of the last 120 whole days (UTC). A day without
-- a row had no sale. Ask for a machine: the view reads all sales of that time.
CREATE VIEW cash_forecast_inputs AS
SELECT m.machine_id, m.operator_id, m.machine, date(s.at, 'unixepoch') AS day,
       CAST(strftime('%w', s.at, 'unixepoch') AS INTEGER) AS weekday, s.at / 86400 AS day_number,
       count(*) AS sales, coalesce(sum(s.sold_minor), 0) AS sold_minor, sum(s.sold_minor IS NULL) AS unknown_sales,
       m.currency
FROM telemetry_machines m JOIN cash_sales s ON s.machine_id = m.machine_id
WHERE s.at >= (CAST(strftime('%s', 'now') AS INTEGER) / 86400 - 120) * 86400
  AND s.at < CAST(strftime('%s', 'now') AS INTEGER) / 86400 * 86400
GROUP BY m.machine_id, s.at / 86400;

-- Machines that run out of cash within two days, with one chance in ten or more; `days_early` serves other limits on
-- dca_cash_forecasts. What the daemon has not renewed for six hours is not here.
CREATE VIEW cash_out_soon AS
SELECT m.machine_id, m.operator_id, m.machine, f.cash_minor,
       iif(f.cash_minor < 0, '-', '') || (abs(f.cash_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(f.cash_minor) % m.unit), '') AS cash,
       m.currency, f.source, f.sure,
       (coalesce(f.early_at, f.likely_at) - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_early,
       (f.likely_at - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_likely,
       (f.late_at - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_late,
       datetime(coalesce(f.early_at, f.likely_at), 'unixepoch') AS early, datetime(f.likely_at, 'unixepoch') AS likely,
       datetime(f.late_at, 'unixepoch') AS late, f.computed_at
FROM dca_cash_forecasts f JOIN telemetry_machines m ON m.machine_id = f.machine_id
WHERE coalesce(f.early_at, f.likely_at) < CAST(strftime('%s', 'now') AS INTEGER) + 172800
  AND f.computed_at > CAST(strftime('%s', 'now') AS INTEGER) - 21600;

-- What a person has judged: silenced items of the list of what needs a person, and messages that are dismissed.
CREATE TABLE silences (
    item    TEXT PRIMARY KEY,
    until   INTEGER,
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE quarantine ADD COLUMN dismissed_at INTEGER;
ALTER TABLE quarantine ADD COLUMN dismissed_why TEXT;

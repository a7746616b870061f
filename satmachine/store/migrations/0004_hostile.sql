-- What strangers and stolen keys can write is bounded, and a payee that changes behind satmachine's back leaves a row.

ALTER TABLE quarantine ADD COLUMN whole INTEGER NOT NULL DEFAULT 1 CHECK (whole IN (0, 1));

CREATE TABLE quarantine_overflow (
    machine_id  TEXT    NOT NULL REFERENCES dca_machines (id),
    reason      TEXT    NOT NULL,
    events      INTEGER NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    PRIMARY KEY (machine_id, reason)
) STRICT, WITHOUT ROWID;

CREATE INDEX quarantine_reason ON quarantine (machine_id, reason) WHERE status = 'open';
CREATE INDEX quarantine_received ON quarantine (received_at);

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

-- Payees elsewhere whose servers are being asked right now: what a dead daemon leaves here waits before it is asked again.
CREATE TABLE dca_asked_payees (
    payee_digest  TEXT PRIMARY KEY CHECK (length(payee_digest) = 64),
    deaths        INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0),
    asked_at      INTEGER,
    waits_until   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Cash: what people did with the notes of a machine, what they said about differences, and when it runs out.

CREATE TABLE dca_cash (
    id            INTEGER PRIMARY KEY,
    root_id       INTEGER NOT NULL REFERENCES dca_cash (id),
    corrects      INTEGER REFERENCES dca_cash (id),
    machine_id    TEXT    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind IN ('load', 'take', 'collect', 'count', 'void')),
    at            INTEGER NOT NULL,
    amount_minor  INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency      TEXT    NOT NULL,
    told_minor    INTEGER,
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

CREATE TABLE dca_cash_booked (
    id            INTEGER PRIMARY KEY,
    cash_id       INTEGER NOT NULL REFERENCES dca_cash (id),
    machine_id    TEXT    NOT NULL REFERENCES dca_machines (id),
    amount_minor  INTEGER NOT NULL CHECK (amount_minor <> 0),
    currency      TEXT    NOT NULL,
    since_at      INTEGER NOT NULL,
    until_at      INTEGER NOT NULL,
    reason        TEXT    NOT NULL CHECK (reason <> ''),
    actor         TEXT    NOT NULL,
    recorded_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX dca_cash_booked_cash ON dca_cash_booked (cash_id);
CREATE TRIGGER dca_cash_booked_no_update BEFORE UPDATE ON dca_cash_booked
BEGIN SELECT RAISE(ABORT, 'dca_cash_booked is append-only: book the opposite amount'); END;
CREATE TRIGGER dca_cash_booked_no_delete BEFORE DELETE ON dca_cash_booked
BEGIN SELECT RAISE(ABORT, 'dca_cash_booked is append-only: book the opposite amount'); END;

CREATE TABLE dca_cash_forecasts (
    machine_id    TEXT PRIMARY KEY REFERENCES dca_machines (id),
    computed_at   INTEGER NOT NULL,
    source        TEXT    NOT NULL CHECK (source IN ('book', 'beacon', 'none')),
    cash_minor    INTEGER,
    currency      TEXT    NOT NULL,
    days_known    INTEGER NOT NULL,
    sure          TEXT    NOT NULL CHECK (sure IN ('good', 'fair', 'poor', 'none')),
    horizon_days  INTEGER NOT NULL,
    open_differences INTEGER NOT NULL DEFAULT 0,
    early_at      INTEGER,
    likely_at     INTEGER,
    late_at       INTEGER
) STRICT;
CREATE INDEX dca_cash_forecasts_age ON dca_cash_forecasts (computed_at);

ALTER TABLE dca_deposits ADD COLUMN cash_id INTEGER REFERENCES dca_cash (id);
CREATE INDEX dca_deposits_cash ON dca_deposits (cash_id) WHERE cash_id IS NOT NULL;

CREATE VIEW cash_entries AS
SELECT c.* FROM dca_cash c
WHERE c.kind <> 'void' AND NOT EXISTS (SELECT 1 FROM dca_cash x WHERE x.corrects = c.id);

CREATE VIEW cash_sales AS
SELECT id AS settlement_id, machine_id, occurred_at AS at, fiat_amount_minor AS sold_minor
FROM dca_settlements WHERE proof <> 'waiting';

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
    SELECT f.machine_id, f.id, f.root_id, f.at, f.amount_minor, f.told_minor, f.told_at,
           coalesce(o.at, f.first_at) AS opened_at, coalesce(o.root_id, 0) AS opened_root,
           CASE WHEN o.kind = 'count' THEN o.amount_minor WHEN o.kind = 'collect' OR f.first_at IS NOT NULL THEN 0
                END AS opening_minor
    FROM first f LEFT JOIN dca_cash o ON o.id = f.before_id
), summed AS (
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
       CASE WHEN c.expected_minor < 0 THEN '-' ELSE '' END || CASE m.digits
           WHEN 2 THEN (abs(c.expected_minor) / 100) || printf('.%02d', abs(c.expected_minor) % 100)
           WHEN 3 THEN (abs(c.expected_minor) / 1000) || printf('.%03d', abs(c.expected_minor) % 1000)
           ELSE CAST(abs(c.expected_minor) AS TEXT) END AS expected,
       CASE WHEN c.amount_minor < 0 THEN '-' ELSE '' END || CASE m.digits
           WHEN 2 THEN (abs(c.amount_minor) / 100) || printf('.%02d', abs(c.amount_minor) % 100)
           WHEN 3 THEN (abs(c.amount_minor) / 1000) || printf('.%03d', abs(c.amount_minor) % 1000)
           ELSE CAST(abs(c.amount_minor) AS TEXT) END AS counted,
       CASE WHEN c.difference_minor < 0 THEN '-' ELSE '' END || CASE m.digits
           WHEN 2 THEN (abs(c.difference_minor) / 100) || printf('.%02d', abs(c.difference_minor) % 100)
           WHEN 3 THEN (abs(c.difference_minor) / 1000) || printf('.%03d', abs(c.difference_minor) % 1000)
           ELSE CAST(abs(c.difference_minor) AS TEXT) END AS difference,
       m.currency
FROM compared c JOIN telemetry_machines m ON m.machine_id = c.machine_id;

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

CREATE VIEW cash_now AS
WITH begun AS (
    SELECT m.machine_id, m.operator_id, m.machine, m.currency, m.digits, coalesce(o.root_id, 0) AS opened_root,
           coalesce(o.at, (SELECT min(e.at) FROM cash_entries e WHERE e.machine_id = m.machine_id)) AS opened_at,
           CASE WHEN o.kind = 'count' THEN o.amount_minor ELSE 0 END AS opening_minor
    FROM telemetry_machines m LEFT JOIN dca_cash o ON o.id = (
        SELECT p.id FROM cash_entries p WHERE p.machine_id = m.machine_id AND p.kind IN ('count', 'collect')
        ORDER BY p.at DESC, p.root_id DESC LIMIT 1)
), book AS (
    SELECT b.machine_id, b.operator_id, b.machine, b.currency, b.digits, b.opened_at,
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
            AND s.proof <> 'waiting') AS unshared_minor
    FROM book b LEFT JOIN dca_telemetry t ON t.machine_id = b.machine_id
)
SELECT m.machine_id, m.operator_id, m.machine, m.cash_minor,
       CASE WHEN m.cash_minor < 0 THEN '-' ELSE '' END || CASE m.digits
           WHEN 2 THEN (abs(m.cash_minor) / 100) || printf('.%02d', abs(m.cash_minor) % 100)
           WHEN 3 THEN (abs(m.cash_minor) / 1000) || printf('.%03d', abs(m.cash_minor) % 1000)
           ELSE CAST(abs(m.cash_minor) AS TEXT) END AS cash,
       CASE WHEN m.expected_minor >= 0 THEN 'book' WHEN m.told_minor IS NOT NULL THEN 'beacon'
            WHEN m.expected_minor IS NOT NULL THEN 'book' END AS source,
       m.opened_at AS counted_at, m.unknown_sales, m.expected_minor, m.told_minor, m.told_age_s, m.providers_minor, m.pending_minor,
       m.unshared_minor, m.cash_minor + m.unshared_minor - m.providers_minor AS own_minor, m.currency
FROM now m;

CREATE VIEW cash_forecast_inputs AS
SELECT m.machine_id, m.operator_id, m.machine, date(s.at, 'unixepoch') AS day,
       CAST(strftime('%w', s.at, 'unixepoch') AS INTEGER) AS weekday, s.at / 86400 AS day_number,
       count(*) AS sales, coalesce(sum(s.sold_minor), 0) AS sold_minor, sum(s.sold_minor IS NULL) AS unknown_sales,
       m.currency
FROM telemetry_machines m JOIN cash_sales s ON s.machine_id = m.machine_id
WHERE s.at >= (CAST(strftime('%s', 'now') AS INTEGER) / 86400 - 120) * 86400
  AND s.at < CAST(strftime('%s', 'now') AS INTEGER) / 86400 * 86400
GROUP BY m.machine_id, s.at / 86400;

CREATE VIEW cash_out_soon AS
SELECT m.machine_id, m.operator_id, m.machine, f.cash_minor,
       CASE WHEN f.cash_minor < 0 THEN '-' ELSE '' END || CASE m.digits
           WHEN 2 THEN (abs(f.cash_minor) / 100) || printf('.%02d', abs(f.cash_minor) % 100)
           WHEN 3 THEN (abs(f.cash_minor) / 1000) || printf('.%03d', abs(f.cash_minor) % 1000)
           ELSE CAST(abs(f.cash_minor) AS TEXT) END AS cash,
       m.currency, f.source, f.sure,
       (coalesce(f.early_at, f.likely_at) - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_early,
       (f.likely_at - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_likely,
       (f.late_at - CAST(strftime('%s', 'now') AS INTEGER)) / 86400 AS days_late,
       datetime(coalesce(f.early_at, f.likely_at), 'unixepoch') AS early, datetime(f.likely_at, 'unixepoch') AS likely,
       datetime(f.late_at, 'unixepoch') AS late, f.computed_at
FROM dca_cash_forecasts f JOIN telemetry_machines m ON m.machine_id = f.machine_id
WHERE coalesce(f.early_at, f.likely_at) < CAST(strftime('%s', 'now') AS INTEGER) + 172800
  AND f.computed_at > CAST(strftime('%s', 'now') AS INTEGER) - 21600;

-- The currency's digits are stored with the machine, where every load of the registry writes them.

ALTER TABLE dca_machines ADD COLUMN digits INTEGER NOT NULL DEFAULT 2 CHECK (digits BETWEEN 0 AND 3);

DROP VIEW cash_out_soon;
DROP VIEW cash_now;
DROP VIEW cash_cycles;
DROP VIEW sales_per_day;
DROP VIEW cash_over_time;
DROP VIEW cash_by_cassette;
DROP VIEW telemetry_latest;
DROP VIEW telemetry_machines;

CREATE VIEW telemetry_machines AS
SELECT id AS machine_id, operator_id, name AS machine, currency, digits,
       CASE digits WHEN 0 THEN 1 WHEN 1 THEN 10 WHEN 2 THEN 100 ELSE 1000 END AS unit
FROM dca_machines WHERE in_config = 1;

CREATE VIEW telemetry_latest AS
SELECT m.machine_id, m.operator_id, m.machine, t.name, t.location, t.status, t.software_version, t.uptime_s,
       t.cassettes, t.cash_left_minor,
       iif(t.cash_left_minor < 0, '-', '') || (abs(t.cash_left_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(t.cash_left_minor) % m.unit), '') AS cash_left,
       t.cash_total_minor, m.currency, t.currency AS told_currency, t.exchange_rate, t.fee_pct, t.last_error, t.extra,
       t.beacon_at, max(0, CAST(strftime('%s', 'now') AS INTEGER) - t.beacon_at) AS age_s, t.received_at
FROM telemetry_machines m LEFT JOIN dca_telemetry t ON t.machine_id = m.machine_id;

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

CREATE VIEW cash_over_time AS
SELECT m.machine_id, m.operator_id, m.machine, l.created_at AS at, datetime(l.created_at, 'unixepoch') AS time,
       l.cash_left_minor,
       iif(l.cash_left_minor < 0, '-', '') || (abs(l.cash_left_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(l.cash_left_minor) % m.unit), '') AS cash_left,
       m.currency
FROM telemetry_machines m CROSS JOIN dca_telemetry_log l ON l.machine_id = m.machine_id
WHERE l.cash_left_minor IS NOT NULL;

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
            AND s.proof <> 'waiting') AS unshared_minor
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

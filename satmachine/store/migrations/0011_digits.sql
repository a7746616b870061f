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
WITH mark AS (
    SELECT machine_id, id, root_id, at, amount_minor, told_minor, told_at,
           CASE kind WHEN 'count' THEN amount_minor ELSE 0 END AS after_minor
    FROM cash_entries WHERE kind IN ('count', 'collect')
), closed AS (
    SELECT machine_id, id, root_id, at, amount_minor, told_minor, told_at,
           lag(at) OVER w AS opened_at, lag(root_id) OVER w AS opened_root, lag(after_minor) OVER w AS opening_minor
    FROM mark WINDOW w AS (PARTITION BY machine_id ORDER BY at, root_id)
), last AS (
    SELECT machine_id, at, root_id, after_minor,
           row_number() OVER (PARTITION BY machine_id ORDER BY at DESC, root_id DESC) AS place FROM mark
), span AS (
    SELECT * FROM closed
    UNION ALL
    SELECT m.id, NULL, NULL, NULL, NULL, NULL, NULL, l.at, l.root_id, l.after_minor
    FROM dca_machines m LEFT JOIN last l ON l.machine_id = m.id AND l.place = 1
    WHERE EXISTS (SELECT 1 FROM cash_entries c WHERE c.machine_id = m.id)
), begun AS (
    -- Before the first count the machine is taken for empty, from its first load on.
    SELECT s.machine_id, s.id, s.root_id, s.at, s.amount_minor, s.told_minor, s.told_at,
           coalesce(s.opened_at, s.first_at) AS opened_at, coalesce(s.opened_root, 0) AS opened_root,
           CASE WHEN s.opened_at IS NOT NULL THEN s.opening_minor WHEN s.first_at IS NOT NULL THEN 0 END AS opening_minor
    FROM (
        SELECT p.*, CASE WHEN p.opened_at IS NULL THEN (
            SELECT min(e.at) FROM cash_entries e WHERE e.machine_id = p.machine_id AND e.kind IN ('load', 'take')
            AND (p.at IS NULL OR (e.at, e.root_id) < (p.at, p.root_id))) END AS first_at
        FROM span p
    ) s
), summed AS (
    SELECT b.*,
           (SELECT coalesce(sum(CASE e.kind WHEN 'load' THEN e.amount_minor END), 0) FROM cash_entries e
            WHERE e.machine_id = b.machine_id AND e.kind = 'load' AND (e.at, e.root_id) > (b.opened_at, b.opened_root)
              AND (b.at IS NULL OR (e.at, e.root_id) < (b.at, b.root_id))) AS loaded_minor,
           (SELECT coalesce(sum(e.amount_minor), 0) FROM cash_entries e
            WHERE e.machine_id = b.machine_id AND e.kind = 'take' AND (e.at, e.root_id) > (b.opened_at, b.opened_root)
              AND (b.at IS NULL OR (e.at, e.root_id) < (b.at, b.root_id))) AS taken_minor,
           (SELECT coalesce(sum(s.sold_minor), 0) FROM cash_sales s WHERE s.machine_id = b.machine_id
              AND s.at > b.opened_at AND s.at <= coalesce(b.at, 9223372036854775807)) AS sold_minor,
           (SELECT count(*) FROM cash_sales s WHERE s.machine_id = b.machine_id
              AND s.at > b.opened_at AND s.at <= coalesce(b.at, 9223372036854775807)) AS sales,
           (SELECT count(*) FROM cash_sales s WHERE s.machine_id = b.machine_id AND s.sold_minor IS NULL
              AND s.at > b.opened_at AND s.at <= coalesce(b.at, 9223372036854775807)) AS unknown_sales,
           (SELECT coalesce(sum(k.amount_minor), 0) FROM dca_cash_booked k WHERE k.cash_id = b.root_id) AS booked_minor
    FROM begun b
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
WITH now AS (
    SELECT m.machine_id, m.operator_id, m.machine, m.currency, m.digits, m.unit, c.opened_at AS counted_at,
           c.expected_minor, c.unknown_sales, t.cash_left_minor AS told_minor,
           max(0, CAST(strftime('%s', 'now') AS INTEGER) - t.beacon_at) AS told_age_s,
           coalesce(c.expected_minor, t.cash_left_minor) AS cash_minor,
           (SELECT coalesce(sum(l.confirmed_minor - l.used_minor), 0) FROM dca_clients l
            WHERE l.machine_id = m.machine_id) AS providers_minor,
           (SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d
            WHERE d.machine_id = m.machine_id AND d.status = 'pending') AS pending_minor,
           (SELECT coalesce(sum(s.fiat_amount_minor), 0) FROM dca_settlements s WHERE s.machine_id = m.machine_id
            AND s.status NOT IN ('processed', 'partial', 'refunded') AND s.planned_at IS NULL
            AND s.proof <> 'waiting') AS unshared_minor
    FROM telemetry_machines m LEFT JOIN cash_cycles c ON c.machine_id = m.machine_id AND c.closed_id IS NULL
    LEFT JOIN dca_telemetry t ON t.machine_id = m.machine_id
)
SELECT m.machine_id, m.operator_id, m.machine, m.cash_minor,
       iif(m.cash_minor < 0, '-', '') || (abs(m.cash_minor) / m.unit)
       || iif(m.digits, printf('.%0*d', m.digits, abs(m.cash_minor) % m.unit), '') AS cash,
       CASE WHEN m.expected_minor IS NOT NULL THEN 'book' WHEN m.told_minor IS NOT NULL THEN 'beacon' END AS source,
       m.counted_at, m.unknown_sales, m.expected_minor, m.told_minor, m.told_age_s, m.providers_minor, m.pending_minor,
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

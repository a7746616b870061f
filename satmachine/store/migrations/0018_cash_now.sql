-- Without statistics the view read every proven sale once for each machine, instead of the few that have not ended.

DROP VIEW cash_now;
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

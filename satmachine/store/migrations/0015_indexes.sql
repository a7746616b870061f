-- Indexes by the statements that are there: no statement asked for the age of a forecast, and messages that wait are
-- taken in the order in which they were written.

DROP INDEX dca_cash_forecasts_age;
DROP INDEX alert_messages_open;
CREATE INDEX alert_messages_open ON alert_messages (id) WHERE done_at IS NULL;

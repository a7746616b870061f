-- Whether the wallet was seen to have the customer's payment of a sale, so that a sale which a person closed
-- nevertheless stays closed.

ALTER TABLE dca_settlements ADD COLUMN payment_seen INTEGER NOT NULL DEFAULT 0 CHECK (payment_seen IN (0, 1));

-- Of marks of which nothing is open any more, only a digest is kept.
CREATE INDEX dca_marks_whole ON dca_marks (machine_id, written_at) WHERE length(content) > 100;

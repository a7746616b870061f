-- Large books: what is added up from their beginning on lies together, by machine. A sale is late behind when it landed, too.

DROP INDEX dca_settlements_late;
CREATE INDEX dca_settlements_late ON dca_settlements (proven_at) WHERE proven_at > min(occurred_at, landed_at) + 240;
CREATE INDEX dca_settlements_ledger
    ON dca_settlements (machine_id, occurred_at, proven_at, gross_sats, fiat_amount_minor, proof)
    WHERE proof <> 'waiting';
CREATE INDEX dca_payments_ledger ON dca_payments (machine_id, client_id, leg_type, label, leg, completed_at, amount_sats,
    sent_sats, fee_sats, fiat_amount_minor) WHERE completed_at IS NOT NULL;

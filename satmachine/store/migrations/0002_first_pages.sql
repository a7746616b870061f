-- Indexes along which the first page of each list is read, however many rows there are, and a wallet's machine found.

CREATE INDEX dca_settlements_rare ON dca_settlements (status, occurred_at) WHERE status IN ('partial', 'refunded');
CREATE INDEX dca_payments_rare_status ON dca_payments (status, planned_at) WHERE status IN ('skipped', 'voided');
CREATE INDEX dca_payments_rare_type ON dca_payments (leg_type, planned_at)
    WHERE leg_type IN ('settlement', 'autoforward', 'refund');
CREATE INDEX dca_deposits_time ON dca_deposits (recorded_at);
CREATE INDEX audit_log_machine ON audit_log (machine_id, at);
CREATE INDEX dca_wallets_wallet ON dca_wallets (wallet_id) WHERE wallet_id IS NOT NULL;

-- An LNbits that was restored from an older copy does not show what it showed before. Of a payee elsewhere, where no other
-- wallet can be asked, only these books can tell: when the paying wallet first showed a payment of an invoice.

ALTER TABLE dca_invoices ADD COLUMN shown_at INTEGER;

-- Relays that machines name themselves (NIP-65) are shown as such, and raise no alarm.

ALTER TABLE relay_health ADD COLUMN named INTEGER NOT NULL DEFAULT 0 CHECK (named IN (0, 1));

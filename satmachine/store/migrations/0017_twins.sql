-- Where nothing tells two sales apart, a person is asked whether this one is another one told again, and their word stands
-- for those that they were told of. Whatever else it may be is asked about anew.

ALTER TABLE dca_settlements ADD COLUMN twins TEXT NOT NULL DEFAULT '';

"""What has changed since schema.sql's first version: `NNNN_name.sql`, applied in order, one transaction each."""

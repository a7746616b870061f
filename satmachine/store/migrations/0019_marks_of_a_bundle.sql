-- Books that were lost have every mark of the wallet here: each sale reads those of its own bundle, not all of them.

CREATE INDEX dca_foreign_marks_decided ON dca_foreign_marks (bundle) WHERE decided_at IS NOT NULL;

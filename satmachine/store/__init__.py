"""All SQL, in functions that take a `sqlite3.Connection`; one module per table group."""

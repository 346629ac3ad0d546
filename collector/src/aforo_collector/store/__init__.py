"""Where it is kept: SQLite."""

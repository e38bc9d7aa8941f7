"""SQLite: one writer thread, group commit, WAL with full synchronisation. The default."""

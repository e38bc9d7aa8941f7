"""What shared state costs, and what it survives: one room of documents in process, and real daemons."""

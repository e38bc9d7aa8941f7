"""What the others do with the same work: a process that serves, and one that answers orders with figures."""

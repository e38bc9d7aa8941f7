"""What makes parts of the repository out of other parts of it."""

"""What should be where: placement without a leader, admission, claims, failover, stepping down."""

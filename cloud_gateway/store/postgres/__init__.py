"""PostgreSQL: for size and for several replicas of the gateway on one database."""

"""The life of an agent, as decisions; the host's supervisor acts."""

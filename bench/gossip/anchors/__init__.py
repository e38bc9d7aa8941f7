"""What is measured beside meshnode in the same run: serf agents, and zenoh peers in one process each."""

"""What a call, a stream and an object cost between daemons and between agents, beside C, zenoh, NATS and gRPC."""

"""Documents: durable shared state, written on any side of a cut, merged without loss."""

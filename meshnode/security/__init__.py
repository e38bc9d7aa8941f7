"""Trust: who is who, who is admitted, and what a role may do. Bytes in, bytes out."""

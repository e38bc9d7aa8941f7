"""The other host: virtual time, the same Core."""

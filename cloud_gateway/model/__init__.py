"""Words of the gateway: rows, what one commit holds, what may be asked of a store. Pure."""

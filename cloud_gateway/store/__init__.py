"""Where the gateway keeps what it saw: one protocol, two stores."""

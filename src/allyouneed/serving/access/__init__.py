"""Who may use the server: keys, quotas, addresses, and sites in browsers."""

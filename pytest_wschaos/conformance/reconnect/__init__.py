"""RECONNECT: a client finds out that its link has died, and comes back by itself."""

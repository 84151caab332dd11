"""HEARTBEAT: a client finds out in time that its link is dead, and takes no live one for dead."""

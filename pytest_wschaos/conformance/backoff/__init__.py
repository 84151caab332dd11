"""BACKOFF: a client waits before each retry, longer each time, and counts its failures rightly."""

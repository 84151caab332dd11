"""JITTER: the waits of many clients are spread, so that they do not come back as a herd."""

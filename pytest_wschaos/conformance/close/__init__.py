"""CLOSE: what a client makes of each way in which a server ends a connection, and how it ends one itself."""

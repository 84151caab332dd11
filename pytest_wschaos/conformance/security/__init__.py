"""SECURITY: what a server lets in, how fast, and what it does with bad input."""

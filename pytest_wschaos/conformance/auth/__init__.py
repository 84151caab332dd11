"""AUTH: credentials come first, on every connection, and go nowhere else."""

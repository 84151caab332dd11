"""Where the engine of a test runs: one file for each way that ``--wschaos-engine`` can name."""

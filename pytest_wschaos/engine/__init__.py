"""The embedded engine: a Toxiproxy in asyncio, with faults that the original does not have."""

"""Cases, how they are played, and what comes of them."""

"""MESSAGE: messages arrive whole, in order, and as what they are."""

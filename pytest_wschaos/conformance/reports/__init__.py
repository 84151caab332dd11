"""What comes of a run: for terminals, for programs, and as pages."""
